"""Densities that may be unbounded at an edge, also where a dtype rounds onto the edge.

They take log x from the preimage of a latent x.  TFP's xlogy(a - 1, x) has another
fault: its gradient with respect to a is 0 where a is 1.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import preimages, special
from ppl_core.bijectors import Between, StickBreaking


class Beta(tfd.Beta):
    """tfd.Beta, also where it rounds to 0 or 1."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        a = tf.convert_to_tensor(self.concentration1)
        b = tf.convert_to_tensor(self.concentration0)
        powers = times(a - 1.0, preimages.log(x)) + times(b - 1.0, preimages.log1m(x))
        return _inside(self, x, powers - tfp.math.lbeta(a, b), x <= 1.0)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between()


class Kumaraswamy(tfd.Kumaraswamy):
    """tfd.Kumaraswamy, whose 1 - x^a is not rounded to 0 near 1 or for a small a."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        a = tf.convert_to_tensor(self.concentration1)
        b = tf.convert_to_tensor(self.concentration0)
        log_x, log1m_x = preimages.log(x), preimages.log1m(x)
        # log(-log x), by its series at x = 1
        near_one = log_x > -1e-5
        log_minus_log = tf.where(
            near_one,
            log1m_x + 0.5 * tf.exp(log1m_x),
            tf.math.log(tf.where(near_one, tf.ones_like(log_x), -log_x)),
        )
        # log(1 - x^a)
        log_rest = special.log1mexp_of_log(tf.math.log(a) + log_minus_log)
        return (tf.math.log(a) + tf.math.log(b) + times(a - 1.0, log_x)) + times(
            b - 1.0, log_rest
        )

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between()


class Gamma(tfd.Gamma):
    """tfd.Gamma, also where it rounds to 0."""

    def _log_prob(self, x: tf.Tensor, rate: Any = None) -> tf.Tensor:
        if rate is None and self.rate is None:
            log_rate = tf.convert_to_tensor(self.log_rate)
            rate = tf.exp(log_rate)
        else:
            rate = tf.convert_to_tensor(self.rate if rate is None else rate)
            log_rate = tf.math.log(rate)
        log_prob = _log_gamma(
            x, tf.convert_to_tensor(self.concentration), rate, log_rate
        )
        return _inside(self, x, log_prob)


class Chi2(tfd.Chi2):
    """tfd.Chi2, also where it rounds to 0."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        half = tf.constant(0.5, x.dtype)
        return _log_gamma(x, half * self.df, half, tf.math.log(half))


class Chi(tfd.Chi):
    """tfd.Chi, also where it rounds to 0."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        log_x = preimages.log(x)
        df = tf.convert_to_tensor(self.df)
        log_norm = (0.5 * df - 1.0) * np.log(2.0) + tf.math.lgamma(0.5 * df)
        return times(df - 1.0, log_x) - 0.5 * x**2 - log_norm


class Weibull(tfd.Weibull):
    """tfd.Weibull, also where it rounds to 0."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        log_x = preimages.log(x)
        k, scale = map(tf.convert_to_tensor, (self.concentration, self.scale))
        z = log_x - tf.math.log(scale)
        return tf.math.log(k / scale) + times(k - 1.0, z) - tf.exp(k * z)


class GammaGamma(tfd.GammaGamma):
    """tfd.GammaGamma, also where it rounds to 0 or overflows."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_x = preimages.log(x)
        a, b = map(
            tf.convert_to_tensor, (self.concentration, self.mixing_concentration)
        )
        log_rate = tf.math.log(self.mixing_rate)
        log_sum = tfp.math.log_add_exp(log_x, log_rate)  # log(x + mixing_rate)
        log_norm = tfp.math.lbeta(a, b) - b * log_rate
        return times(a - 1.0, log_x) - (a + b) * log_sum - log_norm


class LogLogistic(tfd.LogLogistic):
    """tfd.LogLogistic, also where it rounds to 0 or overflows."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        log_x = preimages.log(x)
        scale = tf.convert_to_tensor(self.scale)
        z = (log_x - self.loc) / scale
        return z - 2.0 * tf.math.softplus(z) - tf.math.log(scale) - log_x


class NoncentralChi2(tfd.NoncentralChi2):
    """tfd.NoncentralChi2, also where x rounds to 0, with the whole gradient."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_x = preimages.log(x)
        df = tf.convert_to_tensor(self.df)
        noncentrality = tf.convert_to_tensor(self.noncentrality)
        # Below 1e-30 the density is a power of x, to the dtype's precision.
        least = tf.constant(1e-30, x.dtype)
        below = tf.minimum(log_x - tf.math.log(least), 0.0)
        fixed = tf.stop_gradient(df)  # TFP's own gradient is not complete
        half = 0.5 * fixed
        # Near a noncentrality of 0, by the power series: its gradient does not cancel.
        t = 0.25 * noncentrality * x
        is_near = t < 0.01 * tf.minimum(half, tf.ones_like(half))
        near = tf.where(is_near, t, tf.zeros_like(t))
        term, series = tf.ones_like(near), tf.zeros_like(near)
        for k in range(1, 7):
            term *= near / (k * (half + (k - 1.0)))
            series += term
        log_near = (half - 1.0) * log_x - half * np.log(2.0) - tf.math.lgamma(half)
        log_near += tf.math.log1p(series) - 0.5 * (x + noncentrality)
        far = tf.where(is_near, tf.ones_like(t), noncentrality)
        log_prob = tfd.NoncentralChi2(fixed, far)._log_prob(tf.maximum(x, least))
        log_prob += (half - 1.0) * below
        log_prob = tf.where(is_near, log_near, log_prob)
        none = tf.zeros_like(log_prob)
        slope = special.noncentral_chi2_slope(
            log_x + none, df + none, noncentrality + none
        )
        return special.with_slope(log_prob, df + none, slope)


class Dirichlet(tfd.Dirichlet):
    """tfd.Dirichlet, also where a part rounds to 0."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_x = preimages.log(x)
        concentration = tf.convert_to_tensor(self.concentration)
        powers = tf.reduce_sum(times(concentration - 1.0, log_x), axis=-1)
        return powers - tf.math.lbeta(concentration)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return StickBreaking()


class BetaQuotient(tfd.BetaQuotient):
    """tfd.BetaQuotient by quadrature.  TFP's series does not converge near 1.

    With Y and Y' the two Betas and t = y' min(1, 1 / x), the density of Y / Y' at x is
    a power of x times the integral over t in (0, 1) of
    t^(a - 1) (1 - t)^(p - 1) (1 - z t)^(q - 1), for z = min(x, 1 / x).
    """

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_x = preimages.log(x)
        a0, b0, a1, b1 = map(
            tf.convert_to_tensor,
            (
                self.concentration1_numerator,
                self.concentration0_numerator,
                self.concentration1_denominator,
                self.concentration0_denominator,
            ),
        )
        above = log_x > 0.0
        p, q = tf.where(above, b0, b1), tf.where(above, b1, b0)
        one_minus_z = -tf.math.expm1(tf.where(above, -log_x, log_x))
        # It has its gradient also where it is 0.
        one_minus_z += tf.stop_gradient(tf.maximum(1e-20 - one_minus_z, 0.0))
        integral = _log_integral(a0 + a1, p, q, one_minus_z)
        power = tf.where(above, -a1 - 1.0, a0 - 1.0)
        log_norm = tfp.math.lbeta(a0, b0) + tfp.math.lbeta(a1, b1)
        return times(power, log_x) + integral - log_norm


# The trapezoid rule after v = m + w sinh(s), for t = 1 / (1 + exp(-v)).  It is exact to
# float32 for concentrations from 1e-3 to 1e3, and to 1e-8 for those up to 100.
_NODES = np.linspace(-11.5, 11.5, 257)


def _log_integral(
    a: tf.Tensor, p: tf.Tensor, q: tf.Tensor, one_minus_z: tf.Tensor
) -> tf.Tensor:
    """The logarithm of BetaQuotient's integral."""
    # The factor of 1 - z t decays like 1 - t up to t = z, and little beyond.
    decay = tf.where(p + q - 1.0 > a * one_minus_z, p + q - 1.0, p)
    mode = tf.math.log(a / decay)
    width = tf.minimum(tf.sqrt((a + decay) / (a * decay)), 1.0)
    # The integral is the same whatever the nodes, so they need no gradient.
    mode, width = (tf.stop_gradient(n)[..., tf.newaxis] for n in (mode, width))
    a, p, q, one_minus_z = (n[..., tf.newaxis] for n in (a, p, q, one_minus_z))
    nodes = tf.constant(_NODES, a.dtype)
    v = mode + width * tf.sinh(nodes)
    log_t, log1m_t = tf.math.log_sigmoid(v), tf.math.log_sigmoid(-v)
    log1m_zt = tfp.math.log_add_exp(log1m_t, log_t + tf.math.log(one_minus_z))
    step = tf.math.log(width * tf.cosh(nodes) * (_NODES[1] - _NODES[0]))
    return tf.reduce_logsumexp(
        a * log_t + p * log1m_t + (q - 1.0) * log1m_zt + step, axis=-1
    )


class Sample(tfd.Sample):
    """tfd.Sample whose inner distribution knows the preimages."""

    def _prepare_for_underlying(self, x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        prepare = super()._prepare_for_underlying
        return preimages.moved(x, lambda part: prepare(part)[0]), prepare(x)[1]


class BatchReshape(tfd.BatchReshape):
    """tfd.BatchReshape whose inner distribution knows the preimages."""

    def _log_prob(self, x: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        def log_prob(reshaped: tf.Tensor, **kwargs: Any) -> tf.Tensor:
            shape = tf.shape(reshaped)
            known = preimages.moved(x, lambda part: tf.reshape(part, shape))
            return self.distribution.log_prob(known, **kwargs)

        return self._call_reshape_input_output(log_prob, x, extra_kwargs=kwargs)

    def _default_event_space_bijector(self) -> tfb.Bijector | None:
        # TFP's would reshape this one's log determinant, a single 0.
        own = self.distribution.experimental_default_event_space_bijector()
        if isinstance(own, tfb.Identity):
            return own
        return super()._default_event_space_bijector()


def times(power: tf.Tensor, log: tf.Tensor) -> tf.Tensor:
    """power * log, and 0 for a power of 0 of an infinite logarithm."""
    none = tf.equal(power, 0.0) & tf.math.is_inf(log)
    return power * tf.where(none, tf.zeros_like(log), log)


def _log_gamma(
    x: tf.Tensor, concentration: tf.Tensor, rate: tf.Tensor, log_rate: tf.Tensor
) -> tf.Tensor:
    log_norm = tf.math.lgamma(concentration) - concentration * log_rate
    return times(concentration - 1.0, preimages.log(x)) - rate * x - log_norm


def _inside(
    distribution: Any, x: tf.Tensor, log_prob: tf.Tensor, below: Any = True
) -> tf.Tensor:
    """log_prob, and -inf outside the support if the distribution was made so."""
    if not distribution.force_probs_to_zero_outside_support:
        return log_prob
    return tf.where((x >= 0.0) & below, log_prob, tf.constant(-np.inf, log_prob.dtype))
