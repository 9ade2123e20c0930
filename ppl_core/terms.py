"""Terms of a program that are no draws: computed values, factors, flat priors."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core import data, flat, shapes
from ppl_core.distributions import make_random_variable
from ppl_core.random_variable import RandomVariable
from ppl_core.trace import floating_dtype, traceable

Flat = make_random_variable(flat.Flat)
HalfFlat = make_random_variable(flat.HalfFlat)


def deterministic(
    value: Any, name: str, *, dims: Sequence[str] | None = None
) -> RandomVariable:
    """Names a computed value, so that tapes, draws and summaries hold it.

    value: a tensor, or what becomes one.
    dims: a name for each of its dimensions.

    Returns a random variable of this value, without a log prob of its own.  Only
    `intervene` sets it to another value.

    >>> with ppl.tape() as variables:
    ...     x = ppl.Normal(0.0, 1.0, value=2.0, name="x")
    ...     ppl.deterministic(x**2, "square")
    <RandomVariable deterministic(name='square') 4.0>
    >>> float(variables["square"].log_prob())
    0.0
    """
    return _deterministic(value=value, name=name, dims=dims)


def factor(log_prob: Any, name: str) -> RandomVariable:
    """Adds a log prob of your own to the program's, such as a likelihood by formula.

    log_prob: of any shape; the log joint adds up its entries.

    >>> def model():
    ...     x = ppl.Normal(0.0, 1.0, name="x")
    ...     ppl.factor(-(x**2), "shrink")
    >>> round(float(ppl.make_log_joint_fn(model)(x=1.0)), 3)
    -2.419
    """
    return _factor(value=log_prob, name=name)


def unrecorded(value: tf.Tensor, name: str) -> RandomVariable:
    """A computed value that no tape records."""
    variable = RandomVariable(
        _Computed(value),
        name=name,
        value=_at(value),
        observed=True,
        constructor_name="intervene",
    )
    variable.replaced = True
    return variable


def is_deterministic(variable: RandomVariable) -> bool:
    """Whether the variable is a computed value."""
    return isinstance(variable.distribution, _Computed)


def is_factor(variable: RandomVariable) -> bool:
    """Whether the variable is a term without a value of its own."""
    return isinstance(variable.distribution, _Factor)


def made_from(variable: RandomVariable) -> tf.Tensor:
    """A tensor that depends on all that the variable is made from."""
    if is_deterministic(variable) or is_factor(variable):
        return variable.value
    return variable.unscaled_log_prob()


class _Computed(tfd.Deterministic):
    """All mass on one value; without a term in the log joint, whatever its dtype."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        dtype = self.dtype if self.dtype.is_floating else tf.float32
        return tf.zeros(tf.shape(x), dtype)


class _Factor(tfd.Deterministic):
    """A log prob that does not depend on a value."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(self.loc)


def _at(value: tf.Tensor) -> Callable[[RandomVariable], tf.Tensor]:
    """A value that needs no check, since it is where the variable lies."""

    def own_value(_: RandomVariable) -> tf.Tensor:
        return value

    vars(own_value)["inside_support"] = True
    return own_value


def _values_own(distribution: type) -> Any:
    """The function of a term: a random variable that is at its value, as data are."""

    def construct(*, value: Any, name: str, **options: Any) -> RandomVariable:
        if isinstance(value, RandomVariable):
            value = value.value
        label = f"{construct.__name__}(name={name!r})"
        if not isinstance(name, str):
            raise TypeError(f"{label}: given the name {name!r}, wanted a string")
        value = tf.convert_to_tensor(data.check_numbers(value, label))
        if distribution is _Factor and not value.dtype.is_floating:
            if value.dtype.is_bool:
                raise ValueError(
                    f"{label}: given booleans, wanted a log prob, such as "
                    "tf.where(x, 0.0, -np.inf)"
                )
            value = tf.cast(value, floating_dtype() or tf.float32)
        plates = options.pop("plates", ())
        sizes = [size for _, size in plates]
        in_plates = value.shape[: len(sizes)] == sizes
        if distribution is _Factor and not in_plates:
            raise ValueError(
                f"{label}: given shape {value.shape} inside plates of sizes {sizes}, "
                "wanted these dimensions in front"
            )
        dims = shapes.as_names(options.get("dims"), label)
        coords = options.get("coords") or {}
        plates = plates if in_plates else ()
        if dims is not None or plates:
            dims = shapes.name_dims(dims, plates, 0, value.shape, coords, label, name)
        options["dims"] = dims
        options["coords"] = shapes.labels_of(dims, coords)
        unused = ["seed", "observed"]
        if distribution is _Computed:
            unused += ["log_prob_scale", "log_prob_mask"]
        for option in unused:
            options.pop(option, None)
        return RandomVariable(
            distribution(value),
            name=name,
            value=_at(value),
            observed=True,
            constructor_name=construct.__name__,
            **options,
        )

    def to_value(value: Any, /, **kwargs: Any) -> tf.Tensor:
        """`value` as a tensor of the shape that is computed."""
        computed = construct(**kwargs).value
        label = f"{construct.__name__}(name={kwargs['name']!r})"
        value = data.to_tensor(value, computed.dtype, label)
        if value.shape != computed.shape:
            raise ValueError(
                f"{label}: given a value of shape {value.shape}, wanted "
                f"{computed.shape}"
            )
        return value

    construct.__name__ = "factor" if distribution is _Factor else "deterministic"
    vars(construct).update(
        to_value=to_value,
        makes_random_variable=True,
        computes_value=True,
        has_log_prob=distribution is _Factor,
    )
    return traceable(construct)


_deterministic = _values_own(_Computed)
_factor = _values_own(_Factor)
