"""Improper uniform densities."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd


class Flat(tfd.Distribution):
    """A log density of 0 on all of R.  It cannot be drawn from."""

    _positive = False

    def __init__(self, dtype: tf.DType = tf.float32, name: str | None = None) -> None:
        super().__init__(
            dtype=tf.as_dtype(dtype),
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"dtype": dtype},
            name=name or type(self).__name__,
        )

    @classmethod
    def _parameter_properties(
        cls, dtype: Any, num_classes: int | None = None
    ) -> dict[str, Any]:
        return {}

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.zeros([0], tf.int32)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_prob = tf.zeros_like(x)
        if not self._positive:
            return log_prob
        return tf.where(x < 0, tf.constant(-np.inf, log_prob.dtype), log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return tfb.Softplus() if self._positive else tfb.Identity()


class HalfFlat(Flat):
    """A log density of 0 on the numbers above 0.  It cannot be drawn from."""

    _positive = True
