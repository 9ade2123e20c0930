"""Distributions of TFP with better gradients, or working where TFP's do not."""

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


class Bernoulli(tfd.Bernoulli):
    """tfd.Bernoulli whose log prob costs one exponential, its gradient included."""

    def _log_prob(self, event: tf.Tensor) -> tf.Tensor:
        if self._logits is None:
            return super()._log_prob(event)
        logits = tf.convert_to_tensor(self._logits)
        return bernoulli_log_prob(logits, tf.cast(event, logits.dtype))


class FlatDirichlet(tfd.FlatDirichlet):
    """tfd.FlatDirichlet, drawn from as a Dirichlet.

    Its own draws, in TFP 0.25, set an array's element with a sequence, which NumPy
    refuses since 2.4.
    """

    _sample_n = tfd.Dirichlet._sample_n


@tf.custom_gradient
def bernoulli_log_prob(logits: tf.Tensor, event: tf.Tensor) -> tuple:
    """log p(event | logits), elementwise over the broadcast shape of the two.

    With m = [logits > 0], it is (event - m) logits - log(1 + exp(-|logits|)): no
    overflow, exact at infinite logits, linear in `event` as TFP's.  The gradient by
    `logits` is event - sigmoid(logits), which autodiff of the two terms would not find.
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
def _sigmoid(logits: tf.Tensor) -> tuple:
    """The logistic function, of the exponential that the log prob has computed."""
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
