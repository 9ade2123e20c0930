"""TFP distributions of counts and ordered categories, repaired where TFP's fail."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.distributions import poisson_lognormal

from ppl_core import special


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


class PoissonLogNormalQuadratureCompound(tfd.PoissonLogNormalQuadratureCompound):
    """tfd.PoissonLogNormalQuadratureCompound of a rate that is LogNormal.

    TFP takes the quantiles of the rate for those of its logarithm.
    """

    def poisson_and_mixture_distributions(self) -> tuple[tfd.Poisson, tfd.Categorical]:
        """The Poisson distribution of each node, and the nodes' weights."""
        if (
            self._quadrature_fn
            is not poisson_lognormal.quadrature_scheme_lognormal_quantiles
        ):
            return super().poisson_and_mixture_distributions()
        size = self.quadrature_size
        shares = tf.constant(np.linspace(0.0, 1.0, size + 3)[1:-1], self.dtype)
        loc, scale = (
            tf.convert_to_tensor(part)[..., tf.newaxis]
            for part in (self.loc, self.scale)
        )
        logs = loc + scale * tf.math.ndtri(shares)
        middle = tfp.math.log_add_exp(logs[..., :-1], logs[..., 1:]) - np.log(2.0)
        weights = tf.fill([size], tf.constant(-np.log(size), self.dtype))
        return tfd.Poisson(log_rate=middle), tfd.Categorical(logits=weights)


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


class Skellam(tfd.Skellam):
    """tfd.Skellam whose gradients are right below 0 too."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        _, rate1, _, rate2 = self._all_rate_parameters()
        # The distribution of -x is that with the rates exchanged.
        size = tf.abs(x)
        first = tf.where(x < 0.0, rate2, rate1)
        second = tf.where(x < 0.0, rate1, rate2)
        force = self.force_probs_to_zero_outside_support
        exchanged = tfd.Skellam(
            first, second, force_probs_to_zero_outside_support=force
        )
        return exchanged._log_prob(size)


class Zipf(tfd.Zipf):
    """tfd.Zipf, whose gradient TFP leaves without that of the normaliser."""

    def _log_prob(self, x: tf.Tensor, power: Any = None) -> tf.Tensor:
        power = tf.convert_to_tensor(self.power if power is None else power)
        x = tf.cast(x, power.dtype)
        whole = tf.floor(x) if self.force_probs_to_zero_outside_support else x
        count = tf.maximum(whole, 1.0)
        log_prob = -power * tf.math.log(count) - special.log_zeta(power)
        return tf.where(x == count, log_prob, tf.constant(-np.inf, log_prob.dtype))


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


class StoppingRatioLogistic(tfd.StoppingRatioLogistic):
    """tfd.StoppingRatioLogistic with gradients at far cut points."""

    def categorical_log_probs(self) -> tf.Tensor:
        distance = self.cutpoints - tf.convert_to_tensor(self.loc)[..., tf.newaxis]
        log_stop = tf.math.log_sigmoid(distance)
        log_passed = tf.cumsum(tf.math.log_sigmoid(-distance), axis=-1)
        before = tf.concat([tf.zeros_like(log_passed[..., :1]), log_passed], axis=-1)
        stopped = log_stop + before[..., :-1]
        return tf.concat([stopped, before[..., -1:]], axis=-1)


def _times_log(count: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """count * log(x), and 0 with a gradient of 0 where the count is 0."""
    none = tf.equal(count, 0.0)
    return tf.where(none, tf.zeros_like(count), count) * tf.math.log(
        tf.where(none, tf.ones_like(x), x)
    )
