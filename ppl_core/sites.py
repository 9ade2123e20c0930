"""The variables of a program, found in one run whose graph is discarded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from ppl_core import data
from ppl_core.mending import event_space_bijector
from ppl_core.random_variable import RandomVariable
from ppl_core.repeats import traced_twice
from ppl_core.shapes import value_shape, without_plates
from ppl_core.supports import support_of
from ppl_core.terms import is_deterministic
from ppl_core.trace import (
    Tracer,
    add_tracers,
    drawn_variables,
    forward,
    only_tracers,
    trace,
)
from ppl_core.tracers import bind, taped
from ppl_core.transformations import Program, label_of


class Site(NamedTuple):
    """One latent variable."""

    name: str
    dtype: tf.DType
    shape: tuple[int, ...]  # of its unconstrained value
    log_det_shape: tuple[int, ...]
    size: int


class Sites(NamedTuple):
    """A program's latent variables, and what is known of the others."""

    latent: list[Site]  # in the program's order
    deterministic: tuple[str, ...]
    dims: dict[str, tuple[str, ...]]  # of the variables that name them
    coords: dict[str, Any]  # labels by dimension


def find_sites(
    program: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    observed: Mapping[str, Any],
    inherited: Sequence[Tracer],
    *,
    twice: bool = False,
) -> Sites:
    """The variables of `program(*args, **kwargs)`, none of them drawn.

    A latent variable stands in the middle of its support, at T(0), while it is looked
    at, so an improper one has its place too.

    inherited: tracers between the program and those that are needed here.
    twice: whether to look again, for numbers that each run of the program draws.

    Raises ValueError for a variable that `block` hides from these, for a latent one
    that has no bijector from R^k, for one whose value is set and no data, for one whose
    log prob is NaN under its mask, and for numbers that each run draws.
    """
    latent: list[Site] = []
    variables: dict[str, RandomVariable] = {}

    def inspect() -> dict[str, tf.Tensor]:
        nonlocal latent, variables
        variables, latent = run_in_the_middle(
            program, args, kwargs, observed, inherited
        )
        return {
            part.label: part.is_nan_under_mask()
            for part in variables.values()
            if part.is_masked
        }

    def trace_it() -> Any:
        return tf.function(inspect, autograph=False).get_concrete_function()

    traced = traced_twice(trace_it, label_of(program)) if twice else trace_it()
    if traced.structured_outputs and tf.executing_eagerly():
        _check_masked(traced())
    coords: dict[str, Any] = {}
    for variable in variables.values():
        coords |= variable.coords
    return Sites(
        latent,
        tuple(name for name, part in variables.items() if is_deterministic(part)),
        {name: part.dims for name, part in variables.items() if part.dims is not None},
        coords,
    )


def _check_masked(is_nan: Mapping[str, tf.Tensor]) -> None:
    """Raises ValueError for a variable whose log prob is NaN under its mask.

    Its gradient would be NaN, which no mask after it can take away.
    """
    for label, found in is_nan.items():
        if found:
            raise ValueError(
                f"{label}: given parameters or covariates that make its log prob NaN "
                "under its mask, wanted finite numbers there too, such as 0: the "
                "gradient would be NaN"
            )


def middle(variable: RandomVariable, site: Site) -> tf.Tensor:
    """The value T(0) of a latent variable, in the middle of its support."""
    bijector = bijector_of(variable)
    assert bijector is not None  # or `to_site` would have raised
    return bijector.forward(tf.zeros(site.shape, site.dtype))


def run_in_the_middle(
    program: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    observed: Mapping[str, Any],
    inherited: Sequence[Tracer],
    place: Callable[[RandomVariable, Site], tf.Tensor] = middle,
) -> tuple[dict[str, RandomVariable], list[Site]]:
    """The variables of one run, each latent one in the middle; see `find_sites`.

    place: the value of a latent variable, if it is another one.
    """
    latent: list[Site] = []

    def in_the_middle(variable: RandomVariable) -> tf.Tensor:
        site = to_site(variable)
        latent.append(site)
        return place(variable, site)

    vars(in_the_middle)["inside_support"] = True
    label = f"{label_of(program)}: observed"
    variables, drawn = run_program(
        program, args, kwargs, observed, inherited, label, _place(in_the_middle)
    )
    if drawn:
        raise ValueError(
            f"{label_of(program)}: {drawn} are drawn where no tracer sees them, wanted "
            "values for them or no `block` around them"
        )
    names = {site.name for site in latent}
    for name, variable in variables.items():
        if not variable.observed and name not in names:
            raise ValueError(
                f"{label_of(program)}: given a value of {variable.label} that is no "
                "data, by `substitute`, `replay` or observed=False; wanted it latent, "
                "without a value, or observed, as by `condition`"
            )
    return variables, latent


def run_program(
    program: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    values: Mapping[str, Any],
    inherited: Sequence[Tracer],
    label: str,
    tracer: Tracer = forward,
) -> tuple[dict[str, RandomVariable], list[str]]:
    """The variables of one run by name, and labels of those that were drawn.

    values: of variables, which count as data.
    inherited: tracers between the program and these values.
    label: of the values, in errors.
    tracer: outside the values.
    """
    with (
        only_tracers(()),
        drawn_variables() as drawn,
        taped(label_of(program)) as variables,
        trace(tracer),
        bind(values, label, observed=True),
        add_tracers(inherited),
    ):
        program(*args, **kwargs)
    return variables, drawn


def bijector_of(variable: RandomVariable) -> tfb.Bijector | None:
    """From R^k onto what the variable may be: its own bijector or the default."""
    distribution = without_plates(variable.distribution)
    return variable.bijector or event_space_bijector(distribution)


def _place(value: Any) -> Tracer:
    """A tracer that gives this to variables without a value, and leaves them latent."""

    def place(construct: Any, *args: Any, **kwargs: Any) -> Any:
        makes = hasattr(construct, "makes_random_variable")
        if makes and kwargs.get("value") is None:
            label = f"{construct.__name__}(name={kwargs.get('name')!r})"
            data.check_observed(kwargs.get("observed"), False, label)
            kwargs |= {"value": value, "observed": False}
        return forward(construct, *args, **kwargs)

    return place


def to_site(variable: RandomVariable) -> Site:
    """What the posterior needs to know of a latent variable."""
    distribution = variable.distribution
    label = variable.label
    if tf.nest.is_nested(distribution.dtype):
        raise ValueError(
            f"{label}: given a joint distribution as a latent variable, wanted its "
            "parts as random variables of their own"
        )
    support = support_of(distribution)
    if not distribution.dtype.is_floating or (support and support.is_whole):
        raise ValueError(
            f"{label}: given a discrete latent variable, wanted a continuous one; "
            "observe it, or sum it out by `marginalize`"
        )
    given = value_shape(distribution, variable.sample_shape)
    own = variable.bijector
    if own is not None:
        data.check_ranks(own, given, label)
    try:
        bijector = bijector_of(variable)
        shape: Any = bijector and bijector.inverse_event_shape(given)
        is_known = bijector is None or shape.is_fully_defined()
    except ValueError as error:
        raise ValueError(f"{label} {error}") from error
    except Exception as error:  # TFP has none for it, and says so in many ways
        raise ValueError(
            f"{label}: given a {type(distribution).__name__} as a latent variable, for "
            f"which TFP has no bijector ({type(error).__name__}); wanted a `bijector=` "
            "of yours, or its parts as random variables of their own"
        ) from error
    if bijector is None:
        raise ValueError(
            f"{label}: given a latent variable without a bijector from R^k, wanted a "
            "continuous one with a default bijector, or a `bijector=` of yours; "
            "observe it or sum it out"
        )
    if not is_known:
        raise ValueError(
            f"{label}: given shape {given}, wanted one that is known when the "
            "program is traced"
        )
    if own is not None and shape.num_elements():
        data.check_one_to_one(own, tuple(shape), distribution.dtype, label)
    ndims = shape.rank - bijector.forward_min_event_ndims
    return Site(
        name=str(variable.name),
        dtype=distribution.dtype,
        shape=tuple(shape),
        log_det_shape=tuple(shape[:ndims]),
        size=shape.num_elements(),
    )
