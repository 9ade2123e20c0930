"""Wishart and LKJ distributions: of matrices, or of their Cholesky factors."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import preimages
from ppl_core.bijectors import WithoutParameters


class PositiveDefinite(WithoutParameters):
    """From R^k onto positive definite matrices L L^T, diag(L) by softplus."""

    forward_ndims = 1
    inverse_ndims = 2

    def factor(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """L, and the logarithm of its diagonal, also where that rounds to 0."""
        entries = _triangle.forward(y)
        diagonal = tf.linalg.diag_part(entries)
        factor = tf.linalg.set_diag(entries, tf.math.softplus(diagonal))
        return factor, preimages.log_softplus(diagonal)

    def _forward(self, y: tf.Tensor) -> tf.Tensor:
        factor, _ = self.factor(y)
        return tf.matmul(factor, factor, transpose_b=True)

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        return _to_factor.inverse(tf.linalg.cholesky(x))

    def _forward_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        _, log_diagonal = self.factor(y)
        n = log_diagonal.shape[-1]
        powers = tf.constant(np.arange(n, 0, -1), y.dtype)
        slopes = tf.math.log_sigmoid(tf.linalg.diag_part(_triangle.forward(y)))
        return n * np.log(2.0) + tf.reduce_sum(powers * log_diagonal + slopes, axis=-1)

    def _inverse_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return -self._forward_log_det_jacobian(self._inverse(x))

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return _triangle.forward_event_shape(shape)

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return _triangle.forward_event_shape_tensor(shape)

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return _triangle.inverse_event_shape(shape)

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return _triangle.inverse_event_shape_tensor(shape)


class Correlation(PositiveDefinite):
    """From R^k onto correlation matrices L L^T, of rows of L with norm one."""

    def factor(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """L, and the logarithm of its diagonal."""
        factor = _to_correlation_factor.forward(y)
        return factor, tf.math.log(tf.linalg.diag_part(factor))

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        return _to_correlation_factor.inverse(tf.linalg.cholesky(x))

    def _forward_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        factor, _ = self.factor(y)
        rest = _to_correlation_factor.forward_log_det_jacobian(y, event_ndims=1)
        return rest + _log_det_of_product(factor)

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return _to_correlation_factor.forward_event_shape(shape)

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return _to_correlation_factor.forward_event_shape_tensor(shape)

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        return _to_correlation_factor.inverse_event_shape(shape)

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return _to_correlation_factor.inverse_event_shape_tensor(shape)


_triangle = tfb.FillTriangular()
_to_factor = tfb.FillScaleTriL(diag_bijector=tfb.Softplus(), diag_shift=None)
_to_correlation_factor = tfb.CorrelationCholesky()


class _Wishart:
    """The density of what a Wishart distribution draws.

    The density of a factor L is that of the matrix L L^T times |d(L L^T) / dL|.  TFP's
    lacks the second.
    """

    def _log_prob(self: Any, x: tf.Tensor) -> tf.Tensor:
        if self.input_output_cholesky:
            matrix_to_factor = tfb.CholeskyOuterProduct()
            log_det = matrix_to_factor.forward_log_det_jacobian(x, event_ndims=2)
            return super()._log_prob(x) + log_det  # type: ignore[misc]
        known = preimages.preimage(x, PositiveDefinite)
        if known is None:
            return super()._log_prob(x)  # type: ignore[misc]
        y, bijector = known
        factor, log_diagonal = bijector.factor(y)
        trace = tf.reduce_sum(self._scale.solve(factor) ** 2, axis=[-2, -1])
        power = self.df - self._dimension() - 1.0
        log_prob = power * tf.reduce_sum(log_diagonal, axis=-1) - 0.5 * trace
        return log_prob - self.log_normalization()

    def _default_event_space_bijector(self: Any) -> tfb.Bijector:
        return _to_factor if self.input_output_cholesky else PositiveDefinite()


class WishartLinearOperator(_Wishart, tfd.WishartLinearOperator):
    """tfd.WishartLinearOperator with the density of what it draws."""


class WishartTriL(_Wishart, tfd.WishartTriL):
    """tfd.WishartTriL with the density of what it draws."""


class LKJ(tfd.LKJ):
    """tfd.LKJ with the density of what it draws: see `_Wishart`."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        if self.input_output_cholesky:
            return super()._log_prob(x) + _log_det_of_product(x)
        known = preimages.preimage(x, Correlation)
        if known is None:
            return super()._log_prob(x)
        y, bijector = known
        _, log_diagonal = bijector.factor(y)
        log_det = 2.0 * tf.reduce_sum(log_diagonal, axis=-1)
        return (self.concentration - 1.0) * log_det - self._log_normalization()

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return _to_correlation_factor if self.input_output_cholesky else Correlation()


def _log_det_of_product(factor: tf.Tensor) -> tf.Tensor:
    """The log determinant of L L^T with respect to L with rows of norm one.

    Neither diagonal is a free coordinate.
    """
    log_diagonal = tf.math.log(tf.linalg.diag_part(factor))
    below = tf.range(tf.shape(log_diagonal)[-1] - 1, -1, -1)  # entries below each
    return tf.reduce_sum(tf.cast(below, factor.dtype) * log_diagonal, axis=-1)
