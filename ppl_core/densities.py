"""TFP distributions with cheaper gradients, or repaired where TFP's own fail."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import samplers, special_math

from ppl_core import preimages
from ppl_core.bijectors import Between, ExtremeQuantile, StickBreaking, between


class Bernoulli(tfd.Bernoulli):
    """tfd.Bernoulli whose log prob and gradient need a single exponential."""

    def _log_prob(self, event: tf.Tensor) -> tf.Tensor:
        if self._logits is None:
            return super()._log_prob(event)
        logits = tf.convert_to_tensor(self._logits)
        return bernoulli_log_prob(logits, tf.cast(event, logits.dtype))


class Normal(tfd.Normal):
    """tfd.Normal whose log prob and gradient divide once a value.

    XLA does not compute what it takes for a costly operation twice, so that a location
    which many operations lead to is not computed again for each part of the gradient.
    """

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        constant = 0.5 * math.log(2.0 * math.pi)
        if tf.executing_eagerly():  # where an operator costs twice such a function
            z = tf.realdiv(tf.subtract(x, loc), scale)
            log_normalizer = tf.add(tf.math.log(scale), constant)
            return tf.subtract(tf.multiply(tf.square(z), -0.5), log_normalizer)
        z = _quotient(x - loc, scale)
        return -0.5 * z * z - (tf.constant(constant, scale.dtype) + tf.math.log(scale))


class FlatDirichlet(tfd.FlatDirichlet):
    """tfd.FlatDirichlet that samples as a Dirichlet, with a log prob for each draw.

    TFP 0.25's own sampler sets an array's element to a sequence, which NumPy refuses
    since 2.4.  Its log prob is one float32 number, however many values there are.
    """

    _sample_n = tfd.Dirichlet._sample_n

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_prob = math.lgamma(x.shape[-1]) + tf.zeros_like(x[..., 0])
        if not self._force_probs_to_zero_outside_support:
            return log_prob
        return tf.minimum(log_prob, super()._log_prob(x))

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return StickBreaking()


class GeneralizedExtremeValue(tfd.GeneralizedExtremeValue):
    """tfd.GeneralizedExtremeValue that is a Gumbel at a concentration of 0."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        scale = tf.convert_to_tensor(self.scale)
        concentration = tf.convert_to_tensor(self.concentration)
        known = preimages.preimage(x, ExtremeQuantile)
        if known is not None and known[1].is_of(self):
            log_t = preimages.log_softplus(-known[0])
            return (1.0 + concentration) * log_t - tf.exp(log_t) - tf.math.log(scale)
        z = (x - self.loc) / scale
        inside = concentration * z > -1.0
        w = tf.where(inside, concentration * z, 0.0)
        # log t(x) = -log(1 + w) / concentration = -z log(1 + w) / w, by a series near 0
        is_small = tf.abs(w) < 1e-4
        safe = tf.where(is_small, tf.ones_like(w), w)
        series = 1.0 - w / 2.0 + w**2 / 3.0
        log_t = -z * tf.where(is_small, series, tf.math.log1p(safe) / safe)
        log_prob = (1.0 + concentration) * log_t - tf.exp(log_t) - tf.math.log(scale)
        return tf.where(inside, log_prob, tf.constant(-np.inf, log_prob.dtype))

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return ExtremeQuantile(self.loc, self.scale, self.concentration)


class DoublesidedMaxwell(tfd.DoublesidedMaxwell):
    """tfd.DoublesidedMaxwell that samples in float64."""

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        normal_seed, sign_seed = samplers.split_seed(seed, salt="DoublesidedMaxwell")
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        shape = tf.concat([[n], self._batch_shape_tensor(loc=loc, scale=scale)], 0)
        normals = samplers.normal(
            tf.concat([shape, [3]], 0), dtype=self.dtype, seed=normal_seed
        )
        signs = tfp.random.rademacher(shape, dtype=self.dtype, seed=sign_seed)
        return signs * tf.norm(normals, axis=-1) * scale + loc


class ContinuousBernoulli(tfd.ContinuousBernoulli):
    """tfd.ContinuousBernoulli whose values have the dtype of its parameter."""

    def __init__(
        self,
        logits: Any = None,
        probs: Any = None,
        dtype: tf.DType | None = None,
        **kwargs: Any,
    ) -> None:
        given = logits if probs is None else probs
        if dtype is None and given is not None:
            dtype = tf.convert_to_tensor(given, dtype_hint=tf.float32).dtype
        super().__init__(logits, probs, dtype or tf.float32, **kwargs)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> Any:
        return super()._parameter_properties(dtype, num_classes)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between()


class TruncatedNormal(tfd.TruncatedNormal):
    """tfd.TruncatedNormal with gradients at infinite bounds, and far in the tails."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        # At 40 standard deviations the tail is 0 in float64, and so is its gradient.
        low = _standard_bound(self.low, loc, scale, -40.0)
        high = _standard_bound(self.high, loc, scale, 40.0)
        # The mass between the bounds, from the tail on whose side they are.
        flip = low > 0.0
        low, high = tf.where(flip, -high, low), tf.where(flip, -low, high)
        log_mass = tfp.math.log_sub_exp(
            special_math.log_ndtr(high), special_math.log_ndtr(low)
        )
        log_prob = (
            -0.5 * ((x - loc) / scale) ** 2
            - 0.5 * np.log(2.0 * np.pi)
            - tf.math.log(scale)
            - log_mass
        )
        outside = (x < self.low) | (x > self.high)
        return tf.where(outside, tf.constant(-np.inf, log_prob.dtype), log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return between(self)


class TruncatedCauchy(tfd.TruncatedCauchy):
    """tfd.TruncatedCauchy with gradients at infinite bounds."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        log_prob = (
            -tf.math.log1p(((x - loc) / scale) ** 2)
            - tf.math.log(scale)
            - tf.math.log(_angle(self.low, self.high, loc, scale))
        )
        outside = (x < self.low) | (x > self.high)
        return tf.where(outside, tf.constant(-np.inf, log_prob.dtype), log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return between(self)


def _angle(
    low: tf.Tensor, high: tf.Tensor, loc: tf.Tensor, scale: tf.Tensor
) -> tf.Tensor:
    """atan((high - loc) / scale) - atan((low - loc) / scale), without cancellation."""
    a = _standard_bound(low, loc, scale, 0.0)
    b = _standard_bound(high, loc, scale, 0.0)
    has_low, has_high = tf.math.is_finite(low), tf.math.is_finite(high)
    width = _standard_bound(
        high, tf.where(has_low, low, tf.zeros_like(low)), scale, 1.0
    )
    # The angle between the directions (1, a) and (1, b), or (0, -1) and (0, 1).
    one, neither = tf.ones_like(a + b), ~has_low & ~has_high
    sine = tf.where(has_low & has_high, width, tf.where(neither, 0.0 * one, one))
    cosine = tf.where(has_low, a, tf.where(has_high, -b, -one))
    return tf.math.atan2(sine, tf.where(has_low & has_high, 1.0 + a * b, cosine))


def _standard_bound(
    bound: tf.Tensor, loc: tf.Tensor, scale: tf.Tensor, instead: float
) -> tf.Tensor:
    """(bound - loc) / scale, and the constant `instead` of an infinite one."""
    bound = tf.convert_to_tensor(bound)
    is_infinite = tf.math.is_inf(bound)
    standard = (tf.where(is_infinite, tf.zeros_like(bound), bound) - loc) / scale
    return tf.where(is_infinite, tf.constant(instead, standard.dtype), standard)


@tf.custom_gradient
def bernoulli_log_prob(logits: tf.Tensor, event: tf.Tensor) -> tuple[Any, Any]:
    """log p(event | logits), elementwise over the broadcast shape of both.

    With m = [logits > 0], it is (event - m) logits - log(1 + exp(-|logits|)).  It does
    not overflow, is exact at infinite logits, and is linear in `event`, as TFP's is.
    The gradient with respect to `logits` is event - sigmoid(logits); autodiff of the
    two terms would compute more.
    """
    positive = tf.cast(logits > 0, logits.dtype)
    log_prob = tf.math.multiply_no_nan(logits, event - positive)
    log_prob -= _log1p_of_share(tf.exp(-tf.abs(logits)))

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_logits = upstream * (event - _sigmoid(logits))
        by_event = upstream * logits
        return _sum_to(by_logits, logits), _sum_to(by_event, event)

    return log_prob, gradient


def _log1p_of_share(x: tf.Tensor) -> tf.Tensor:
    """log(1 + x) of x from 0 to 1.

    In float64 it is 2 atanh(x / (2 + x)) by its Taylor series, whose next term is below
    1e-16 of the first.  With XLA's log1p a Bernoulli and its gradient take twice as
    long.
    """
    if x.dtype != tf.float64 or tf.executing_eagerly():
        return tf.math.log1p(x)
    ratio = x / (2.0 + x)  # at most 1/3
    square = ratio * ratio
    series = tf.constant(2.0 / 31.0, x.dtype)
    for k in reversed(range(15)):
        series = series * square + 2.0 / (2 * k + 1)
    return series * ratio


@tf.custom_gradient
def _sigmoid(logits: tf.Tensor) -> tuple[Any, Any]:
    """The logistic function, from the exponential that the log prob has computed."""
    decay = tf.exp(-tf.abs(logits))
    value = tf.where(logits > 0, tf.ones_like(decay), decay) / (1.0 + decay)
    return value, lambda upstream: upstream * value * (1.0 - value)


@tf.custom_gradient
def _quotient(numerator: tf.Tensor, denominator: tf.Tensor) -> tuple[Any, Any]:
    """numerator / denominator, whose gradient divides only by each denominator."""
    quotient = numerator / denominator

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_numerator = upstream * (1.0 / denominator)
        by_denominator = -by_numerator * quotient
        return _sum_to(by_numerator, numerator), _sum_to(by_denominator, denominator)

    return quotient, gradient


def _sum_to(gradient: tf.Tensor, operand: tf.Tensor) -> tf.Tensor:
    """`gradient` summed over the dimensions that `operand` was broadcast along."""
    if not (gradient.shape.is_fully_defined() and operand.shape.is_fully_defined()):
        axes, _ = tf.raw_ops.BroadcastGradientArgs(
            s0=tf.shape(operand), s1=tf.shape(gradient)
        )
        return tf.reshape(tf.reduce_sum(gradient, axes), tf.shape(operand))
    lead = gradient.shape.rank - operand.shape.rank
    shape = [*[1] * lead, *operand.shape]
    axes = [i for i, size in enumerate(shape) if size != gradient.shape[i]]
    if axes:
        gradient = tf.reduce_sum(gradient, axes)
    is_done = gradient.shape == operand.shape
    return gradient if is_done else tf.reshape(gradient, operand.shape)
