"""Bijectors from R^k onto supports, where TFP's defaults are wrong."""

import math
import types

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.bijectors import pad
from tensorflow_probability.python.internal import parameter_properties

from ppl_core import preimages


class Between(tfb.Sigmoid):
    """tfb.Sigmoid, whose gradient is not NaN far out."""

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        if self.low is None:
            return _sigmoid(y)
        low, high = tf.convert_to_tensor(self.low), tf.convert_to_tensor(self.high)
        width = high - low
        return tf.where(y < 0, low + width * _sigmoid(y), high - width * _sigmoid(-y))


def _sigmoid(y: tf.Tensor) -> tf.Tensor:
    # TensorFlow's loses the small numbers on the left.
    left = tf.constant(-20.0 if y.dtype == tf.float64 else -9.0, y.dtype)
    return tf.where(y < left, tf.exp(tf.minimum(y, left)), tf.math.sigmoid(y))


class WithoutParameters(tfb.Bijector):
    """A bijector without parameters.  Subclasses set an event's least dimensions."""

    forward_ndims = 0
    inverse_ndims = 0

    def __init__(self, validate_args: bool = False, name: str | None = None) -> None:
        super().__init__(
            forward_min_event_ndims=self.forward_ndims,
            inverse_min_event_ndims=self.inverse_ndims,
            validate_args=validate_args,
            parameters=dict(validate_args=validate_args, name=name),
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, object]:
        return {}


class ReciprocalSoftplus(WithoutParameters):
    """x = 1 / log(1 + exp(y)), also where the logarithm rounds to 0."""

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        return 1.0 / tf.math.softplus(y)

    def log_forward(self, y: tf.Tensor) -> tf.Tensor:
        """log x, for `preimages`."""
        return -preimages.log_softplus(y)

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        return tfp.math.softplus_inverse(1.0 / x)

    def _forward_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(y) - 2.0 * preimages.log_softplus(y)

    def _inverse_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return -self._forward_log_det_jacobian(self._inverse(x))


class ExtremeQuantile(tfb.Bijector):
    """The quantile, at 1 / (1 + exp(-y)), of a GeneralizedExtremeValue."""

    def __init__(
        self,
        loc: tf.Tensor,
        scale: tf.Tensor,
        concentration: tf.Tensor,
        name: str = "extreme_quantile",
    ) -> None:
        parameters = dict(loc=loc, scale=scale, concentration=concentration, name=name)
        self.loc, self.scale, self.concentration = loc, scale, concentration
        super().__init__(
            forward_min_event_ndims=0, dtype=loc.dtype, parameters=parameters, name=name
        )

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, object]:
        names = ("loc", "scale", "concentration")
        return {name: parameter_properties.ParameterProperties() for name in names}

    def is_of(self, distribution: tfd.GeneralizedExtremeValue) -> bool:
        """Whether it has this distribution's parameters."""
        names = ("loc", "scale", "concentration")
        return all(getattr(self, name) is getattr(distribution, name) for name in names)

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        log_t = preimages.log_softplus(-y)
        w = -self.concentration * log_t
        # (exp(w) - 1) / w, by a series near 0
        is_small = tf.abs(w) < 1e-4
        safe = tf.where(is_small, tf.ones_like(w), w)
        series = 1.0 + w / 2.0 + w**2 / 6.0
        ratio = tf.where(is_small, series, tf.math.expm1(safe) / safe)
        return self.loc - self.scale * log_t * ratio

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        z = (x - self.loc) / self.scale
        w = self.concentration * z
        is_small = tf.abs(w) < 1e-4
        safe = tf.where(is_small, tf.ones_like(w), w)
        series = 1.0 - w / 2.0 + w**2 / 3.0
        log_t = -z * tf.where(is_small, series, tf.math.log1p(safe) / safe)
        t = tf.exp(log_t)
        return -t - tf.math.log(-tf.math.expm1(-t))

    def _forward_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        log_t = preimages.log_softplus(-y)
        power = -(self.concentration + 1.0) * log_t
        return tf.math.log(self.scale) + power + tf.math.log_sigmoid(-y)

    def _inverse_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return -self._forward_log_det_jacobian(self._inverse(x))


class StickBreaking(tfb.IteratedSigmoidCentered):
    """From R^(K - 1) onto the simplex of K parts: a stick of length 1 is broken.

    Part k is a share of what the parts before it leave, 1 / (1 + (K - k) exp(-y_k)),
    so that y = 0 has equal parts.  The shares of a Dirichlet are independent; the log
    ratios to the last part, as of tfb.SoftmaxCentered, are not, and are the more
    correlated the smaller that part is.

    The log determinant is that of the first K - 1 parts.  Parts may round to 0 or 1.

    Stan Reference Manual, "Simplex transform", stick-breaking.
    """

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        return tf.exp(self.log_forward(y))

    def log_forward(self, y: tf.Tensor) -> tf.Tensor:
        """log x, for `preimages`."""
        log_share, log_rest = _log_shares(y)
        before = tf.math.cumsum(log_rest, axis=-1, exclusive=True)
        last = tf.reduce_sum(log_rest, axis=-1, keepdims=True)
        return tf.concat([before + log_share, last], axis=-1)

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        after = tf.math.cumsum(x, axis=-1, exclusive=True, reverse=True)[..., :-1]
        return tf.math.log(x[..., :-1]) - tf.math.log(after) + _log_parts_after(after)

    def _forward_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        log_share, log_rest = _log_shares(y)
        left = tf.math.cumsum(log_rest, axis=-1)  # of the stick, after each part
        return tf.reduce_sum(left + log_share, axis=-1)

    def _inverse_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return -self._forward_log_det_jacobian(self._inverse(x))


class LogStickBreaking(StickBreaking):
    """The logarithm of StickBreaking, also of parts that round to 0.

    The log determinant is 0: that of the parts, less the sum of all their logarithms.
    """

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        return self.log_forward(y)

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        after = tf.math.cumulative_logsumexp(x[..., 1:], axis=-1, reverse=True)
        return x[..., :-1] - after + _log_parts_after(after)

    def _forward_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(y[..., 0])


def _log_shares(y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The logarithms of each part's share of what is left, and of the rest."""
    odds = y - _log_parts_after(y)
    return tf.math.log_sigmoid(odds), tf.math.log_sigmoid(-odds)


def _log_parts_after(y: tf.Tensor) -> tf.Tensor:
    """log(K - k), for each part k but the last."""
    return tf.constant(np.log(np.arange(y.shape[-1], 0, -1)), y.dtype)


class Direction(WithoutParameters):
    """From y in R^n onto the sphere: the direction of v = y + (1, 0, ..., 0).

    The length of v is a coordinate more than the sphere has.  It gets the density of a
    standard normal vector's length, independent of the direction, and that is part of
    the log determinant.  So y = 0 has a direction, and a density on the sphere becomes
    a proper one on R^n.  The inverse takes a length of 1.

    Stan's unit_vector is the same without the shift.
    """

    forward_ndims = 1
    inverse_ndims = 1

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(_shifted(y), axis=-1, epsilon=0.0)

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        return tf.concat([x[..., :1] - 1.0, x[..., 1:]], axis=-1)

    def _forward_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        n = y.shape[-1]
        log_norm = (n / 2 - 1) * math.log(2.0) + math.lgamma(n / 2)
        return -0.5 * tf.reduce_sum(_shifted(y) ** 2, axis=-1) - log_norm

    def _inverse_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return -self._forward_log_det_jacobian(self._inverse(x))


class Angle(Direction):
    """From R^2 onto the angles from -pi to pi, of which those two are the same."""

    inverse_ndims = 0

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        v = _shifted(y)
        return tf.math.atan2(v[..., 1], v[..., 0])

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.cos(x) - 1.0, tf.sin(x)], axis=-1)

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return shape[:-1]

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return shape[:-1]

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return shape.concatenate([2])

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return tf.concat([shape, [2]], axis=0)


def _shifted(y: tf.Tensor) -> tf.Tensor:
    return tf.concat([y[..., :1] + 1.0, y[..., 1:]], axis=-1)


def between(distribution: tfd.Distribution) -> tfb.Bijector:
    """From R onto the interval of a truncated distribution, with bounds or without.

    Raises ValueError for bounds of which some are infinite and some are not.
    """
    low, high = (tf.get_static_value(b) for b in (distribution.low, distribution.high))
    has_low = low is None or bool(np.isfinite(low).all())
    has_high = high is None or bool(np.isfinite(high).all())
    if not (has_low or np.isinf(low).all()) or not (has_high or np.isinf(high).all()):
        raise ValueError(
            f"has the bounds {low} and {high}, some infinite and some not; wanted "
            "separate variables for these"
        )
    if has_low and has_high:
        return Between(distribution.low, distribution.high)
    if has_low:
        return tfb.Chain([tfb.Shift(distribution.low), tfb.Softplus()])
    if has_high:
        negative = tfb.Scale(tf.constant(-1, distribution.dtype))
        return tfb.Chain([tfb.Shift(distribution.high), negative, tfb.Softplus()])
    return tfb.Identity()


def _reshape(array: np.ndarray, newshape: list[int]) -> np.ndarray:
    return np.reshape(array, newshape)


# tfb.Pad of TFP 0.25, and so tfb.SoftmaxCentered, calls np.reshape by an argument name
# that NumPy has removed.  This replaces np.reshape in that one module.
pad.np = types.SimpleNamespace(**{**vars(np), "reshape": _reshape})
