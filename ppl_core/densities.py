"""TFP distributions with cheaper gradients, or repaired where TFP's own fail."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core.bijectors import CorrelationOuterProduct


class Bernoulli(tfd.Bernoulli):
    """tfd.Bernoulli whose log prob and gradient need a single exponential."""

    def _log_prob(self, event: tf.Tensor) -> tf.Tensor:
        if self._logits is None:
            return super()._log_prob(event)
        logits = tf.convert_to_tensor(self._logits)
        return bernoulli_log_prob(logits, tf.cast(event, logits.dtype))


class _OfFactor:
    """A distribution of matrices, or with `input_output_cholesky` of their factors.

    The density of a factor L is that of the matrix L L^T times |d(L L^T) / dL|.  TFP's
    lacks the second.
    """

    _to_matrix: tfb.Bijector = tfb.CholeskyOuterProduct()

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_prob = super()._log_prob(x)  # type: ignore[misc]
        if not self.input_output_cholesky:  # type: ignore[attr-defined]
            return log_prob
        return log_prob + self._to_matrix.forward_log_det_jacobian(x, event_ndims=2)


class WishartLinearOperator(_OfFactor, tfd.WishartLinearOperator):
    """tfd.WishartLinearOperator with the density of what it draws."""


class WishartTriL(_OfFactor, tfd.WishartTriL):
    """tfd.WishartTriL with the density of what it draws."""


class LKJ(_OfFactor, tfd.LKJ):
    """tfd.LKJ with the density of what it draws."""

    _to_matrix = CorrelationOuterProduct()


class FlatDirichlet(tfd.FlatDirichlet):
    """tfd.FlatDirichlet that samples as a Dirichlet.

    TFP 0.25's own sampler sets an array's element to a sequence, which NumPy refuses
    since 2.4.
    """

    _sample_n = tfd.Dirichlet._sample_n


@tf.custom_gradient
def bernoulli_log_prob(logits: tf.Tensor, event: tf.Tensor) -> tuple[Any, Any]:
    """log p(event | logits), elementwise over the broadcast shape of both.

    With m = [logits > 0], it is (event - m) logits - log(1 + exp(-|logits|)).  It does
    not overflow, is exact at infinite logits, and is linear in `event`, as TFP's is.
    The gradient by `logits` is event - sigmoid(logits); autodiff of the two terms
    would compute more.
    """
    positive = tf.cast(logits > 0, logits.dtype)
    log_prob = tf.math.multiply_no_nan(logits, event - positive) - tf.math.log1p(
        tf.exp(-tf.abs(logits))
    )

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_logits = upstream * (event - _sigmoid(logits))
        by_event = upstream * logits
        return _sum_to(by_logits, logits), _sum_to(by_event, event)

    return log_prob, gradient


@tf.custom_gradient
def _sigmoid(logits: tf.Tensor) -> tuple[Any, Any]:
    """The logistic function, from the exponential that the log prob has computed."""
    decay = tf.exp(-tf.abs(logits))
    value = tf.where(logits > 0, tf.ones_like(decay), decay) / (1.0 + decay)
    return value, lambda upstream: upstream * value * (1.0 - value)


def _sum_to(gradient: tf.Tensor, operand: tf.Tensor) -> tf.Tensor:
    """`gradient` summed over the dimensions that `operand` was broadcast along."""
    if gradient.shape.is_fully_defined() and gradient.shape == operand.shape:
        return gradient
    axes, _ = tf.raw_ops.BroadcastGradientArgs(
        s0=tf.shape(operand), s1=tf.shape(gradient)
    )
    return tf.reshape(tf.reduce_sum(gradient, axes), tf.shape(operand))
