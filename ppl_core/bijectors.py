"""Bijectors from R^k onto supports, where TFP's defaults are wrong."""

import math
import types

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.bijectors import pad


class CorrelationOuterProduct(tfb.CholeskyOuterProduct):
    """L L^T for L with rows of norm one: neither diagonal is a free coordinate."""

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        diagonal = tf.linalg.diag_part(x)
        below = tf.range(tf.shape(diagonal)[-1] - 1, -1, -1)  # entries below each
        log_diagonal = tf.math.log(diagonal)
        return tf.reduce_sum(tf.cast(below, x.dtype) * log_diagonal, axis=-1)


class Direction(tfb.Bijector):
    """From y in R^n onto the sphere: the direction of v = y + (1, 0, ..., 0).

    The length of v is a coordinate more than the sphere has.  It gets the density of a
    standard normal vector's length, independent of the direction, and that is part of
    the log determinant.  So y = 0 has a direction, and a density on the sphere becomes
    a proper one on R^n.  The inverse takes a length of 1.

    Stan's unit_vector is the same without the shift.
    """

    def __init__(self, validate_args: bool = False, name: str = "direction") -> None:
        super().__init__(
            forward_min_event_ndims=1,
            validate_args=validate_args,
            parameters=dict(validate_args=validate_args, name=name),
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, object]:
        return {}

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

    def __init__(self, validate_args: bool = False, name: str = "angle") -> None:
        tfb.Bijector.__init__(
            self,
            forward_min_event_ndims=1,
            inverse_min_event_ndims=0,
            validate_args=validate_args,
            parameters=dict(validate_args=validate_args, name=name),
            name=name,
        )

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
        return tfb.Sigmoid(distribution.low, distribution.high)
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
