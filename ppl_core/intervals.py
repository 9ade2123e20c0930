"""Distributions between two bounds, also where a dtype rounds onto a bound."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import preimages
from ppl_core.bijectors import Between
from ppl_core.edges import times


class Uniform(tfd.Uniform):
    """tfd.Uniform with gradients through its bijector far out."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between(self.low, self.high)


class Triangular(tfd.Triangular):
    """tfd.Triangular, also where it rounds to a bound."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        low, high, peak = map(tf.convert_to_tensor, (self.low, self.high, self.peak))
        is_left = (x < peak) | (peak >= high)
        known = preimages.log_between(x, self.low, self.high)
        if known is None:
            log_distance = tf.math.log(tf.where(is_left, x - low, high - x))
        else:
            log_distance = tf.where(is_left, *known)
        side = tf.where(is_left, peak - low, high - peak)
        log_prob = np.log(2.0) + log_distance - tf.math.log(side * (high - low))
        return _inside(x, low, high, log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between(self.low, self.high)


class PERT(tfd.PERT):
    """tfd.PERT, also where it rounds to a bound."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        low, high, peak = map(tf.convert_to_tensor, (self.low, self.high, self.peak))
        width = high - low
        a = self.temperature * (peak - low) / width  # powers of the distances
        b = self.temperature * (high - peak) / width
        log_above, log_below = _log_distances(x, self.low, self.high)
        log_width = tf.math.log(width)
        powers = times(a, log_above - log_width) + times(b, log_below - log_width)
        log_prob = powers - tfp.math.lbeta(a + 1.0, b + 1.0) - log_width
        return _inside(x, low, high, log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between(self.low, self.high)


class Bates(tfd.Bates):
    """tfd.Bates, also near and on a bound; one total_count, which is a known number."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        n = tf.get_static_value(self.total_count)
        if n is None or np.size(n) != 1:
            return super()._log_prob(x)
        n = int(np.reshape(n, []))
        low, high = tf.convert_to_tensor(self.low), tf.convert_to_tensor(self.high)
        width = high - low
        is_left = x < 0.5 * (low + high)
        log_near = tf.where(is_left, *_log_distances(x, self.low, self.high))
        log_near = tf.math.log(tf.constant(n, x.dtype)) + log_near - tf.math.log(width)
        # The density by the distance s from the nearer bound, in units of width / n:
        # of s^(n - 1) - n (s - 1)^(n - 1) + ..., the terms with s above 0, 1, ...
        share = tf.exp(tf.minimum(log_near, np.log(0.5 * n)))
        rest, ways = tf.zeros_like(share), 1.0
        for k in range(1, n // 2 + 1):
            ways *= -(n - k + 1) / k
            over = share - k
            power = tf.where(over > 0, over, tf.ones_like(over)) ** (n - 1)
            rest += tf.where(over > 0, ways * power, tf.zeros_like(over))
        first = tf.where(share > 1.0, share, tf.ones_like(share)) ** (n - 1)
        log_prob = times(tf.constant(n - 1.0, x.dtype), log_near)
        log_prob += tf.math.log1p(rest / first)
        log_norm = tf.math.lgamma(tf.constant(float(n), x.dtype))
        log_prob += np.log(n) - log_norm - tf.math.log(width)
        return _inside(x, low, high, log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between(self.low, self.high)


class LogitNormal(tfd.LogitNormal):
    """tfd.LogitNormal, also where it rounds to 0 or 1."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        scale = tf.convert_to_tensor(self.scale)
        log_x, log1m_x = preimages.log(x), preimages.log1m(x)
        is_edge = tf.math.is_inf(log_x) | tf.math.is_inf(log1m_x)
        log_x, log1m_x = (
            tf.where(is_edge, tf.zeros_like(part), part) for part in (log_x, log1m_x)
        )
        z = (log_x - log1m_x - self.loc) / scale
        log_norm = 0.5 * np.log(2.0 * np.pi) + tf.math.log(scale)
        log_prob = -0.5 * z**2 - log_norm - log_x - log1m_x
        return tf.where(is_edge, tf.constant(-np.inf, log_prob.dtype), log_prob)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between()


def _log_distances(
    x: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """log(x - low) and log(high - x)."""
    known = preimages.log_between(x, low, high)
    return known or (tf.math.log(x - low), tf.math.log(high - x))


def _inside(
    x: tf.Tensor, low: tf.Tensor, high: tf.Tensor, log_prob: tf.Tensor
) -> tf.Tensor:
    outside = (x < low) | (x > high)
    return tf.where(outside, tf.constant(-np.inf, log_prob.dtype), log_prob)
