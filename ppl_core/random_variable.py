"""RandomVariable: a distribution, a value and a name, usable as a tensor."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import censoring, data, operators, shapes, support_checks
from ppl_core.tensor_like import TensorLike
from ppl_core.trace import data_are_checked, note_draw


class RandomVariable(TensorLike, tf.__internal__.CompositeTensor):
    """A draw and the distribution it was drawn from; in tensor code, the draw.

    Tran et al. (2018), section 2.  Every operator of tf.Tensor acts on the value and
    keeps the tensor's meaning, also for `==` and hashing.  A variable passes in and out
    of tf.function, loops and `tf.nest` as a composite tensor, so calls with variables
    of the same name, shape and kind share one trace.

    >>> x = ppl.Normal(0.0, 1.0, value=2.0, name="x")
    >>> float(x + 1), round(float(x.log_prob()), 2)
    (3.0, -2.92)
    """

    replaced = False  # by `intervene`: no tape records it
    interval: censoring.Interval | censoring.Bounds | None = None  # of censored data
    _sample_error: NotImplementedError | None = None
    _marginal: tf.Tensor | None = None  # see `set_marginal`
    __hash__: None = None  # type: ignore[assignment]  # like a tensor: `==` is elementwise

    def __init__(
        self,
        distribution: tfd.Distribution,
        *,
        name: str | None = None,
        sample_shape: Any = (),
        value: Any = None,
        seed: Any = None,
        observed: bool | None = None,
        log_prob_scale: Any = None,
        log_prob_mask: Any = None,
        bijector: tfb.Bijector | None = None,
        dims: Sequence[str] | None = None,
        coords: Mapping[str, Any] | None = None,
        constructor_name: str | None = None,
    ) -> None:
        """Makes a variable whose value is `value`, or a draw with `seed`.

        sample_shape: leading i.i.d. dimensions of the value.
        value: of shape sample + batch + event, cast to the distribution's dtype where
          both are floating; or a function of this variable that returns it.
        observed: whether the value is data; by default, whether one was given.
        log_prob_scale: a factor of the log prob.
        log_prob_mask: where the log prob counts; elsewhere it is 0.
        bijector: from R^k onto the values that the variable may take as a latent
          variable, in place of the distribution's default.  The density stays the
          distribution's, and is not normalised again.  Such a variable is not drawn.
        dims: a name for each dimension of the value; none by default.
        coords: the labels of dimensions by name.
        constructor_name: named in errors; by default the distribution's class.

        Raises ValueError when the value's shape is not sample + batch + event, and for
        data outside the distribution's support.
        """
        self.distribution = distribution
        self.name = name
        self.constructor_name = constructor_name or type(distribution).__name__
        self.label = label = label_of(self.constructor_name, name)  # in messages
        self.sample_shape = shapes.static_shape(sample_shape)
        self.observed = value is not None
        if observed is not None:
            data.check_observed(observed, value is not None, label)
            self.observed = observed
        if bijector is not None:
            data.check_bijector(bijector, self.label)
        self.bijector = bijector
        self.dims = None if dims is None else shapes.as_names(dims, self.label)
        self.coords = coords if coords and dims else {}
        self._scale = log_prob_scale
        self._mask = log_prob_mask
        self._inside = True  # known to be in the support, as draws are
        self.drawn = value is None
        if value is not None:
            is_function = callable(value)
            # A default bijector keeps to the support; one of the user's need not.
            self._inside = bijector is None and hasattr(value, "inside_support")
            if is_function:
                value = value(self)
            if isinstance(value, (censoring.Interval, censoring.Bounds)):
                self._check_mask()
                self.interval = value
                self._value = censoring.to_value(
                    value, distribution, self.sample_shape, log_prob_mask, label
                )
                return
            if dims and not is_function and not operators.is_variable(value):
                data.check_labels(value, self.dims or (), self.coords, self.label)
            self._value = self._to_tensors(value)
            if not is_function and self._value is not value:
                support_checks.check_exact(distribution, value, self._value, label)
            if data_are_checked():
                self._inside = True
            elif self.observed and not is_function:
                if log_prob_mask is not None and isinstance(self._value, tf.Tensor):
                    self._check_mask()
                self._inside = support_checks.check_data(
                    distribution, self._value, log_prob_mask, label
                )
                if bijector is not None:
                    data.check_values_of(bijector, self._value, label)
            return
        note_draw(label)
        if bijector is not None:
            self._value = None
            self._sample_error = NotImplementedError("a bijector restricts its values")
            return
        seed = data.to_seed_of_draw(seed, self.label)
        try:
            self._value = distribution.sample(sample_shape, seed=seed)
        except NotImplementedError as error:  # a density is enough to observe it
            self._value, self._sample_error = None, error

    @property
    def value(self) -> tf.Tensor:
        """The value: shape sample + batch + event.

        Raises NotImplementedError if none was given and the distribution cannot sample.
        """
        if self._value is None:
            raise NotImplementedError(
                f"{self.label} has no value: {self.distribution.name} cannot "
                f"sample ({self._sample_error}), and none was given"
            )
        return self._value

    @property
    def shape(self) -> tf.TensorShape:
        """The shape of the value."""
        return self.value.shape

    @property
    def dtype(self) -> tf.DType:
        """The dtype of the value."""
        return self.value.dtype

    def log_prob(self, value: Any = None) -> tf.Tensor:
        """The log density or mass of `value` (by default its own): sample + batch.

        This is the variable's term of a log joint, with its scale and mask applied.
        """
        log_prob = self.unscaled_log_prob(value)
        if self._scale is not None:
            self._check_weight("log_prob_scale", self._scale, log_prob.shape)
            # A Python number by itself would be cast by way of float32.
            scale = self._scale
            scale = np.float64(scale) if isinstance(scale, float) else scale
            log_prob *= tf.cast(scale, log_prob.dtype)
        return log_prob

    def unscaled_log_prob(self, value: Any = None) -> tf.Tensor:
        """As `log_prob`, but without `log_prob_scale`: one entry's own log prob."""
        log_prob = self._unmasked_log_prob(value)
        return self._masked(log_prob) if self.is_masked else log_prob

    def _unmasked_log_prob(self, value: Any = None) -> tf.Tensor:
        if self._marginal is not None:
            if value is not None:
                raise ValueError(
                    f"{self.label}: given a value, wanted its own: its log prob is "
                    "that of a marginalized program"
                )
            return self._marginal
        distribution = self._known_distribution()
        if self.interval is not None and value is None:
            return censoring.log_prob(
                distribution, self.interval, self._mask, self.label
            )
        inside = self._inside and value is None
        value = self.value if value is None else self._checked(value)
        if self._mask is not None:
            value = data.fill_masked(value, self._mask, distribution.event_shape.rank)
        return support_checks.log_prob(distribution, value, inside, self.label)

    def _checked(self, value: Any) -> Any:
        """A given value, of numbers whose shape broadcasts with the variable's."""
        distribution = self.distribution
        if not isinstance(distribution.dtype, tf.DType):
            return value
        value = data.check_numbers(value, self.label)
        tensor = self._convert(distribution.dtype, value)
        shape = distribution.batch_shape.concatenate(distribution.event_shape)
        try:
            tf.broadcast_static_shape(tensor.shape, shape)
        except ValueError:
            raise ValueError(
                f"{self.label}: given a value of shape {tensor.shape}, wanted one that "
                f"broadcasts with {shape}"
            ) from None
        return tensor if tf.is_tensor(value) else value  # as given, for other checks

    def _masked(self, log_prob: tf.Tensor) -> tf.Tensor:
        self._check_weight("log_prob_mask", self._mask, log_prob.shape)
        return tf.where(self._mask, log_prob, tf.zeros_like(log_prob))

    @property
    def is_masked(self) -> bool:
        """Whether it has a mask that acts on its own log prob."""
        return self._mask is not None and self._marginal is None

    def is_nan_under_mask(self) -> tf.Tensor:
        """Whether its log prob is NaN where its mask does not count it: a boolean."""
        log_prob = self._unmasked_log_prob()
        is_nan = tf.math.is_nan(log_prob) & ~tf.math.is_nan(self._masked(log_prob))
        return tf.reduce_any(is_nan)

    @property
    def is_weighted(self) -> bool:
        """Whether a scale or a mask changes its log prob."""
        return self._scale is not None or self._mask is not None

    @property
    def is_marginal(self) -> bool:
        """Whether its log prob was set by `marginalize`."""
        return self._marginal is not None

    def set_marginal(self, log_prob: tf.Tensor) -> None:
        """Makes `log_prob` this variable's term before its scale; for `marginalize`."""
        self._marginal = log_prob

    def _check_mask(self) -> None:
        if self._mask is not None:
            entries = self.sample_shape.concatenate(self.distribution.batch_shape)
            self._check_weight("log_prob_mask", self._mask, entries)

    def _check_weight(self, what: str, weight: Any, wanted: tf.TensorShape) -> None:
        """Raises an error for no weight, or one that would count an entry twice."""
        tensor = tf.convert_to_tensor(weight)
        shape, dtype = tensor.shape, tensor.dtype
        is_mask = weight is self._mask
        if not (dtype.is_bool if is_mask else dtype.is_floating or dtype.is_integer):
            raise TypeError(
                f"{self.label}: given a {what} of {dtype.name}, wanted "
                f"{'booleans' if is_mask else 'numbers'}"
            )
        try:
            fits = tf.broadcast_static_shape(shape, wanted) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{self.label}: given a {what} of shape {shape}, wanted one that "
                f"broadcasts to its log prob's {wanted}"
            )

    def sample(self, sample_shape: Any = (), seed: Any = None) -> tf.Tensor:
        """New draws of the distribution: shape `sample_shape` + batch + event."""
        shapes.static_shape(sample_shape, f"{self.label}.sample: sample_shape")
        seed = data.to_seed_of_draw(seed, f"{self.label}.sample")
        return self._known_distribution().sample(sample_shape, seed=seed)

    def entropy(self) -> tf.Tensor:
        """The entropy of one draw, in nats: batch shape."""
        return self._known_distribution().entropy()

    def mean(self) -> tf.Tensor:
        """The mean of the distribution: batch + event shape."""
        return self._known_distribution().mean()

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array; AttributeError inside a tf.function."""
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), self.value)

    def _known_distribution(self) -> tfd.Distribution:
        if self.distribution is None:
            raise ValueError(
                f"{self.label} entered a tf.function without its distribution, "
                "which contains functions, is no composite tensor, or has censored "
                "data or a sum: make the variable inside, or pass its log prob"
            )
        return self.distribution

    def _to_tensors(self, value: Any) -> Any:
        """`value` as tensors of the distribution's dtype, checked for their shape."""
        dtype = self.distribution.dtype
        if not isinstance(dtype, tf.DType):  # a joint distribution checks its own parts
            return tf.nest.map_structure(self._convert, dtype, value, check_types=False)
        value = self._convert(dtype, value)
        shape = shapes.value_shape(self.distribution, self.sample_shape)
        if shape == value.shape:
            return value
        if not shape.is_compatible_with(value.shape):
            raise ValueError(
                f"{self.label}: given a value of shape {value.shape}, wanted "
                f"{shape}, which is sample {self.sample_shape} + "
                f"batch {self.distribution.batch_shape} + "
                f"event {self.distribution.event_shape}"
            )
        return shapes.without_broadcast(value, shape, self.distribution)

    def _convert(self, dtype: tf.DType, part: Any) -> tf.Tensor:
        if isinstance(part, tf.Tensor) and part.dtype == dtype:
            return part
        if isinstance(part, RandomVariable):
            part = part.value
        if self._mask is not None and hasattr(part, "iloc"):
            # Missing entries are refused, as NaN, where the mask counts them.
            array = np.asarray(part)
            part = array if array.dtype.kind == "f" else part
        return data.to_tensor(part, dtype, self.label)

    def __repr__(self) -> str:
        value = "no value" if self._value is None else self._value
        return f"<RandomVariable {self.label} {value}>"

    # The protocol of composite tensors.

    @property
    def _type_spec(self) -> "RandomVariableSpec":
        return RandomVariableSpec.from_value(self)

    def _shape_invariant_to_type_spec(self, shape: tf.TensorShape) -> tf.TypeSpec:
        raise NotImplementedError("a random variable's shape is its distribution's")

    @property
    def __composite_gradient__(self) -> "_ValueGradient":
        return _ValueGradient()


def label_of(constructor: str, name: Any) -> str:
    """A variable in messages: its constructor and name."""
    return f"{constructor}(name={name!r})"


class _ValueGradient:
    """Tells tf.GradientTape to take the gradient by a variable at its value."""

    def get_gradient_components(self, variable: RandomVariable) -> tf.Tensor:
        return variable.value

    def replace_gradient_components(
        self, variable: RandomVariable, gradient: tf.Tensor
    ) -> tf.Tensor:
        return gradient


class RandomVariableSpec(tf.TypeSpec):
    """What tf.function compares: names, shapes and the kind of distribution."""

    def __init__(self, value: Any, distribution: Any, static: tuple[Any, ...]) -> None:
        self._value = value
        self._distribution = distribution
        self._static = static

    @classmethod
    def from_value(cls, variable: RandomVariable) -> "RandomVariableSpec":
        value = tf.nest.map_structure(tf.type_spec_from_value, variable.value)
        # A distribution that contains functions or is no composite tensor is left out.
        # It would be compared by identity, and so cost a trace at every call.
        distribution = variable.distribution
        is_alone = variable.interval is None and not variable.is_marginal
        if is_alone and isinstance(distribution, tf.__internal__.CompositeTensor):
            distribution = tf.type_spec_from_value(distribution)
            if _contains_functions(distribution):
                distribution = None
        else:
            distribution = None
        weights = {
            key: tf.TensorSpec(tf.convert_to_tensor(weight).shape, dtype=_dtype(weight))
            for key, weight in _weights(variable).items()
        }
        shape = variable.sample_shape
        static = (
            variable.name,
            variable.constructor_name,
            None if shape.rank is None else tuple(shape),
            variable.observed,
            tuple(sorted(weights.items())),
            variable.dims,
        )
        return cls(value, distribution, static)

    @property
    def value_type(self) -> type:
        return RandomVariable

    def _serialize(self) -> tuple[Any, Any, tuple[Any, ...]]:
        return (self._value, self._distribution, self._static)

    @property
    def _component_specs(self) -> dict[str, Any]:
        specs = {"value": self._value, **dict(self._static[4])}
        if self._distribution is not None:
            specs["distribution"] = self._distribution
        return specs

    def _to_components(self, variable: RandomVariable) -> dict[str, Any]:
        parts = {"value": variable.value}
        for key, weight in _weights(variable).items():
            parts[key] = tf.convert_to_tensor(weight)
        if self._distribution is not None:
            parts["distribution"] = variable.distribution
        return parts

    def _from_components(self, parts: dict[str, Any]) -> RandomVariable:
        variable = object.__new__(RandomVariable)
        name, constructor_name, sample_shape, observed, _, dims = self._static
        variable.distribution = parts.get("distribution")
        variable.name, variable.constructor_name = name, constructor_name
        variable.label = label_of(constructor_name, name)
        variable.sample_shape = tf.TensorShape(sample_shape)
        variable.observed = observed
        variable._inside, variable.drawn = False, False
        variable.bijector, variable.dims, variable.coords = None, dims, {}
        variable._value = parts["value"]
        variable._scale, variable._mask = parts.get("scale"), parts.get("mask")
        return variable


def _contains_functions(spec: tf.TypeSpec) -> bool:
    try:
        parts = tf.nest.flatten(spec._serialize())
    except ValueError:  # TFP raises it for a spec that contains functions
        return True
    return any(
        _contains_functions(part) for part in parts if isinstance(part, tf.TypeSpec)
    )


def _weights(variable: RandomVariable) -> dict[str, Any]:
    weights = {"scale": variable._scale, "mask": variable._mask}
    return {key: weight for key, weight in weights.items() if weight is not None}


def _dtype(weight: Any) -> tf.DType:
    return tf.convert_to_tensor(weight).dtype


# Without it, tf.concat would make float32 of literals beside a variable of float64.
_PART: Any = typing.Union[RandomVariable, tf.Tensor, np.ndarray, list, tuple]  # noqa: UP007
tf.experimental.dispatch_for_api(tf.concat, {"values": list[_PART]})(operators.concat)
