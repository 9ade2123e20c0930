"""TFP distributions with cheaper gradients, or repaired where TFP's own fail."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import samplers, special_math

from ppl_core.bijectors import CorrelationOuterProduct, between


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
    _to_factor: tfb.Bijector = tfb.FillScaleTriL(
        diag_bijector=tfb.Softplus(), diag_shift=None
    )

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_prob = super()._log_prob(x)  # type: ignore[misc]
        if not self.input_output_cholesky:  # type: ignore[attr-defined]
            return log_prob
        return log_prob + self._to_matrix.forward_log_det_jacobian(x, event_ndims=2)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        if self.input_output_cholesky:  # type: ignore[attr-defined]
            return self._to_factor
        return tfb.Chain([self._to_matrix, self._to_factor])


class WishartLinearOperator(_OfFactor, tfd.WishartLinearOperator):
    """tfd.WishartLinearOperator with the density of what it draws."""


class WishartTriL(_OfFactor, tfd.WishartTriL):
    """tfd.WishartTriL with the density of what it draws."""


class LKJ(_OfFactor, tfd.LKJ):
    """tfd.LKJ with the density of what it draws."""

    _to_matrix = CorrelationOuterProduct()
    _to_factor = tfb.CorrelationCholesky()


class FlatDirichlet(tfd.FlatDirichlet):
    """tfd.FlatDirichlet that samples as a Dirichlet.

    TFP 0.25's own sampler sets an array's element to a sequence, which NumPy refuses
    since 2.4.
    """

    _sample_n = tfd.Dirichlet._sample_n


class Poisson(tfd.Poisson):
    """tfd.Poisson whose log prob of 0 has a gradient at a rate of 0."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        if self._rate is None:
            return super()._log_prob(x)
        rate = tf.convert_to_tensor(self._rate)
        count = tf.maximum(
            tf.floor(x) if self.force_probs_to_zero_outside_support else x, 0.0
        )
        log_prob = _times_log(count, rate) - rate - tf.math.lgamma(1.0 + count)
        return tf.where(x == count, log_prob, tf.constant(-np.inf, log_prob.dtype))


class Binomial(tfd.Binomial):
    """tfd.Binomial whose log prob has a gradient at probabilities of 0 and 1."""

    def _log_prob(self, counts: tf.Tensor) -> tf.Tensor:
        if self._probs is None:
            return super()._log_prob(counts)
        total = tf.convert_to_tensor(self.total_count)
        probs = tf.convert_to_tensor(self._probs)
        ways = -tf.math.log1p(total) - tfp.math.lbeta(
            1.0 + counts, 1.0 + total - counts
        )
        successes = _times_log(counts, probs)
        return ways + successes + _times_log(total - counts, 1.0 - probs)


def _times_log(count: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """count * log(x), and 0 with a gradient of 0 where the count is 0."""
    none = tf.equal(count, 0.0)
    return tf.where(none, tf.zeros_like(count), count) * tf.math.log(
        tf.where(none, tf.ones_like(x), x)
    )


class GeneralizedExtremeValue(tfd.GeneralizedExtremeValue):
    """tfd.GeneralizedExtremeValue that is a Gumbel at a concentration of 0."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        scale = tf.convert_to_tensor(self.scale)
        concentration = tf.convert_to_tensor(self.concentration)
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


class InverseGaussian(tfd.InverseGaussian):
    """tfd.InverseGaussian with a bijector that works in float64 and above 88."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return tfb.Softplus()


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


class OrderedLogistic(tfd.OrderedLogistic):
    """tfd.OrderedLogistic with finite log probs and gradients at far cut points."""

    def categorical_log_probs(self) -> tf.Tensor:
        cutpoints = tf.convert_to_tensor(self.cutpoints)
        distance = tf.convert_to_tensor(self.loc)[..., tf.newaxis] - cutpoints
        log_above = tf.math.log_sigmoid(distance)
        log_below = tf.math.log_sigmoid(-distance)
        # With s the logistic function, s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)).
        gaps = tfp.math.log1mexp(cutpoints[..., 1:] - cutpoints[..., :-1])
        between = log_above[..., :-1] + log_below[..., 1:] + gaps
        return tf.concat([log_below[..., :1], between, log_above[..., -1:]], axis=-1)


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
        ends = []
        for bound, sign in ((self.low, -1.0), (self.high, 1.0)):
            angle = tf.atan(_standard_bound(bound, loc, scale, 0.0))
            limit = tf.constant(sign * np.pi / 2, angle.dtype)
            ends.append(tf.where(tf.math.is_inf(bound), limit, angle))
        log_prob = (
            -tf.math.log1p(((x - loc) / scale) ** 2)
            - tf.math.log(scale)
            - tf.math.log(ends[1] - ends[0])
        )
        outside = (x < self.low) | (x > self.high)
        return tf.where(outside, tf.constant(-np.inf, log_prob.dtype), log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return between(self)


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
