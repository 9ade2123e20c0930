"""Other forms of a program: non-centred variables, and arguments made random."""

import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core.distributions import make_random_variable
from ppl_core.random_variable import RandomVariable
from ppl_core.shapes import value_shape
from ppl_core.terms import deterministic
from ppl_core.trace import forward, trace
from ppl_core.tracers import Constructor, expecting, outside
from ppl_core.transformations import Program, label_of

_LOCATION_SCALE = (
    tfd.Normal,
    tfd.StudentT,
    tfd.Cauchy,
    tfd.Laplace,
    tfd.Logistic,
    tfd.Gumbel,
)
_Base = tuple[tfd.Distribution, Callable[[tf.Tensor], tf.Tensor]]


def reparam(program: Program, *names: str, centered: float = 0.0) -> Program:
    """Returns the program with the named variables non-centred.

    A variable x of location l and scale s becomes l + s x_base, where x_base has
    location 0 and scale 1.  The distribution of x is the same; in a posterior with few
    data, x_base depends less on l and s.  x is then `deterministic`.  A transformed
    distribution (LogNormal, the multivariate normals) becomes its bijector of a base.

    centered: between 0 (non-centred) and 1 (as the program has it), where x_base has
      location `centered` l and scale s to the power `centered`.  Papaspiliopoulos et
      al. (2007), "A general framework for the parametrization of hierarchical models".

    An `intervene` around it replaces x, which then has no base variable.

    The returned program raises ValueError for a name that no variable has, for a
    variable with a value (observed, or replayed without its base), for one whose log
    prob the program itself scales or masks, as that holds for its own density and not
    for the base's, and for a distribution that has no such form.

    >>> def model():
    ...     tau = ppl.HalfNormal(1.0, name="tau")
    ...     ppl.Normal(0.0, tau, name="theta")
    >>> with ppl.tape() as variables:
    ...     ppl.reparam(model, "theta")()
    >>> list(variables)
    ['tau', 'theta_base', 'theta']
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"reparam: given the names {names}, wanted some")
    if not isinstance(centered, numbers.Real) or not 0 <= centered <= 1:
        raise ValueError(f"reparam: given {centered=}, wanted a number from 0 to 1")

    @functools.wraps(program)
    def reparametrized(*args: Any, **kwargs: Any) -> Any:
        with expecting(names, "reparam") as present:

            def change(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
                if not hasattr(construct, "makes_random_variable"):
                    return forward(construct, *args, **kwargs)
                name: Any = kwargs.get("name")
                present.add(name)
                if name not in names or outside("replaces", name):
                    return forward(construct, *args, **kwargs)
                return _through_base(construct, args, kwargs, centered)

            with trace(change):
                return program(*args, **kwargs)

    return reparametrized


def lift(program: Program, **priors: Callable[..., Any]) -> Program:
    """Returns the program with the named arguments drawn from priors.

    priors: by argument, a function of `name=` that makes the random variable, such as
      a constructor or a functools.partial of one.

    Raises ValueError for a name that is no argument of the program.

    >>> def model(sigma):
    ...     return ppl.Normal(0.0, sigma, name="x")
    >>> lifted = ppl.lift(model, sigma=lambda name: ppl.HalfNormal(2.0, name=name))
    >>> round(float(ppl.make_log_joint_fn(lifted)(sigma=1.0, x=0.0)), 3)
    -1.963
    """
    parameters = inspect.signature(program).parameters
    takes_any = any(part.kind is part.VAR_KEYWORD for part in parameters.values())
    unknown = [name for name in priors if name not in parameters and not takes_any]
    if unknown or not priors:
        raise ValueError(
            f"lift: given priors for {unknown}, wanted some for the arguments of "
            f"{label_of(program)}, {list(parameters)}"
        )

    for name, prior in priors.items():
        if not callable(prior):
            raise TypeError(
                f"lift: given {prior!r} for {name!r}, wanted a function of name= that "
                "makes a random variable"
            )

    @functools.wraps(program)
    def lifted(*args: Any, **kwargs: Any) -> Any:
        drawn = {name: prior(name=name) for name, prior in priors.items()}
        return program(*args, **kwargs, **drawn)

    vars(lifted).pop("__wrapped__")  # whose signature is another one
    return lifted


def _constructor_of(distribution: tfd.Distribution) -> Callable[..., RandomVariable]:
    def make() -> tfd.Distribution:
        return distribution

    make.__name__ = type(distribution).__name__
    return make_random_variable(make)


def _through_base(
    construct: Constructor, args: tuple[Any, ...], kwargs: dict[str, Any], c: float
) -> RandomVariable:
    """The variable of one call as a function of its base variable."""
    name: Any = kwargs["name"]
    label = f"reparam: {construct.__name__}(name={name!r})"
    if hasattr(construct, "generator"):
        raise ValueError(f"{label}: given a variable over SciPy, wanted one of TFP")
    if kwargs.get("value") is not None:
        raise ValueError(
            f"{label}: given a value, wanted a latent variable; data need no base "
            "variable, so leave the name out"
        )
    _check_free(name, label)
    scale = kwargs.get("log_prob_scale")
    is_one = scale is None or (isinstance(scale, (int, float)) and scale == 1)
    if not is_one or kwargs.get("log_prob_mask") is not None:
        raise ValueError(
            f"{label}: given a scale or a mask of its log prob in the program, which "
            "hold for its own density and not for its base variable's; wanted none"
        )
    plain = construct(*args, **kwargs | {"value": _zeros})
    for option in ("bijector", "sample_shape", "plates"):
        kwargs.setdefault(option, None)
    if kwargs["bijector"] is not None:
        raise ValueError(f"{label}: given a bijector of its own, wanted none")
    base, to_value = _decompose(plain.distribution, c, label)
    variable = _constructor_of(base)(
        name=f"{name}_base",
        sample_shape=tuple(plain.sample_shape),
        dims=plain.dims,
        coords=plain.coords,
        seed=kwargs.get("seed"),
    )
    return deterministic(to_value(variable.value), name, dims=plain.dims)


def _check_free(name: str, label: str) -> None:
    """Raises ValueError if a tracer around this gives the variable a value.

    The base variable would be drawn nonetheless.
    """
    found = outside("fixes", name)
    if found is None:
        return
    tracer, whole = found
    if tracer.label == "replay" and f"{whole}_base" in tracer.fixes:
        return
    raise ValueError(
        f"{label} already has a value, by {tracer.label}; wanted its name left out of "
        f"`reparam`, or the value of its base variable, {whole + '_base'!r}"
    )


def _zeros(variable: RandomVariable) -> tf.Tensor:
    """A value to look at the variable's distribution by."""
    distribution = variable.distribution
    shape = value_shape(distribution, variable.sample_shape)
    return tf.zeros(shape, distribution.dtype)


def _decompose(distribution: tfd.Distribution, c: float, label: str) -> _Base:
    """The distribution as a function of a variable of its base distribution."""
    if isinstance(distribution, _LOCATION_SCALE):
        loc = tf.convert_to_tensor(distribution.loc)
        scale = tf.convert_to_tensor(distribution.scale)
        shape = distribution.batch_shape
        if c == 0.0:  # without 0 * loc, which would depend on it
            base_loc, base_scale = tf.zeros_like(loc), tf.ones_like(scale)
        else:
            base_loc, base_scale = c * loc, scale**c
        base = distribution.copy(
            loc=tf.broadcast_to(base_loc, shape),
            scale=tf.broadcast_to(base_scale, shape),
        )
        return base, lambda z: loc + scale ** (1.0 - c) * (z - base_loc)
    if isinstance(distribution, tfd.BatchBroadcast):  # a plate made it
        inner, to_value = _decompose(distribution.distribution, c, label)
        return tfd.BatchBroadcast(inner, distribution.batch_shape), to_value
    if isinstance(distribution, tfd.Independent):
        inner, to_value = _decompose(distribution.distribution, c, label)
        return distribution.copy(distribution=inner), to_value
    if isinstance(distribution, tfd.TransformedDistribution):
        inner = distribution.distribution
        to_inner: Callable[[tf.Tensor], tf.Tensor] = tf.identity
        if isinstance(inner, _LOCATION_SCALE):
            inner, to_inner = _decompose(inner, c, label)
        shapes = [
            part.batch_shape.concatenate(part.event_shape)
            for part in (inner, distribution)
        ]
        if shapes[0] == shapes[1]:
            return inner, lambda z: distribution.bijector.forward(to_inner(z))
    raise ValueError(
        f"{label}: given a {type(distribution).__name__}, wanted a distribution with "
        "a location and a scale, or a transformed one"
    )
