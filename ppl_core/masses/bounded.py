"""Log probabilities of intervals under distributions between two bounds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core import special
from ppl_core.masses import standard
from ppl_core.masses.parameters import located, log_odds, logit, parameters
from ppl_core.masses.spans import Mass, Span, change, clip, from_to, truncate


def _truncated(of_standard: Callable[[Span], tf.Tensor]) -> Mass:
    def mass(d: Any, span: Span) -> tf.Tensor:
        inside, whole = truncate(span, *parameters(d, "low", "high"))
        inside, whole = located(d, inside), located(d, whole)
        return of_standard(inside) - of_standard(whole)

    return mass


def _kumaraswamy(d: Any, span: Span) -> tf.Tensor:
    a, b = parameters(d, "concentration1", "concentration0")

    def log_power(x: tf.Tensor) -> tf.Tensor:
        log_power_of_x = a * tf.math.log(x)
        rest = special.log1mexp_of_log(tf.math.log(-log_power_of_x))  # log(1 - x^a)
        is_small = log_power_of_x < -20.0
        small = log_power_of_x + 0.5 * tf.exp(tf.where(is_small, log_power_of_x, -20.0))
        large = tf.math.log(-tf.where(is_small, -standard.ONE, rest))
        return tf.math.log(b) + tf.where(is_small, small, large)

    return standard.exponential(change(_unit(span), log_power))


def _unit(span: Span) -> Span:
    return clip(span, low=standard.ZERO, high=standard.ONE)


def _beta(d: Any, span: Span) -> tf.Tensor:
    return _sigmoid_beta(d, change(_unit(span), logit))


def _sigmoid_beta(d: Any, span: Span) -> tf.Tensor:
    a, b = parameters(d, "concentration1", "concentration0")
    return standard.beta(a, b, span)


def _pert(d: Any, span: Span) -> tf.Tensor:
    low, peak, high, t = parameters(d, "low", "peak", "high", "temperature")
    odds = change(
        clip(span, low=low, high=high),
        lambda x: tf.math.log(x - low) - tf.math.log(high - x),
    )
    a, b = t * (peak - low) / (high - low), t * (high - peak) / (high - low)
    return standard.beta(1.0 + a, 1.0 + b, odds)


def _relaxed_bernoulli(d: Any, span: Span) -> tf.Tensor:
    (temperature,), logits = parameters(d, "temperature"), log_odds(d)
    log_ratio = change(_unit(span), lambda x: temperature * logit(x) - logits)
    return standard.logistic(log_ratio)


def _uniform(d: Any, span: Span) -> tf.Tensor:
    low, high = parameters(d, "low", "high")
    inside, _ = truncate(span, low, high)
    width = tf.where(inside.is_empty, high - low, inside.high.at - inside.low.at)
    log_share = tf.math.log(width) - tf.math.log(high - low)
    return tf.where(inside.is_empty, standard.NOTHING, log_share)


def _triangular(d: Any, span: Span) -> tf.Tensor:
    low, high, peak = parameters(d, "low", "high", "peak")
    inside, _ = truncate(span, low, high)
    (first, last), empty = inside, inside.is_empty
    share = standard.ZERO
    for edge, sign in ((low, 1.0), (high, -1.0)):
        side = sign * (peak - edge)
        # The distances from the edge, up to the peak, which belongs to the left side.
        a, b = (sign * (end.at - edge) for end in (first, last))
        if sign > 0.0:
            a, b = (tf.where(part <= side, part, side) for part in (a, b))
        else:
            a, b = (tf.where(part < side, part, side) for part in (a, b))
        area = sign * (b - a) * (a + b)
        share += area / tf.where(side > 0.0, side, standard.ONE)
    share = tf.where(empty, high - low, share) / (high - low)
    return tf.where(empty, standard.NOTHING, tf.math.log(share))


def _continuous_bernoulli(d: Any, span: Span) -> tf.Tensor:
    inside, _ = truncate(span, standard.ZERO, standard.ONE)
    (first, last), empty = inside, inside.is_empty
    logits = log_odds(d)
    # Of x or 1 - x, whichever has a density that falls, or nearly does not change.
    flips = logits > 0.005
    rate = tf.where(flips, logits, -logits)
    low = tf.where(flips, 1.0 - last.at, first.at)
    width = tf.where(empty, standard.ONE, last.at - first.at)
    log_share = tf.math.log(width) + _log_mean_decay(rate * width)
    result = log_share - rate * low - _log_mean_decay(rate)
    return tf.where(empty, standard.NOTHING, result)


def _log_mean_decay(x: tf.Tensor) -> tf.Tensor:
    """log((1 - exp(-x)) / x) for x above -0.01."""
    is_small = tf.abs(x) < 0.01
    small = tf.where(is_small, x, standard.ZERO)
    large = tf.where(is_small, standard.ONE, x)
    series = -small / 2.0 + small**2 / 24.0 - small**4 / 2880.0
    return tf.where(is_small, series, tfp.math.log1mexp(large) - tf.math.log(large))


def _bates(d: Any, span: Span) -> tf.Tensor:
    n = tf.get_static_value(d.total_count)
    if n is None or np.size(n) != 1:
        raise NotImplementedError("a Bates distribution of several total_counts")
    n = int(np.reshape(n, []))
    low, high = parameters(d, "low", "high")

    def log_near(distance: tf.Tensor) -> tf.Tensor:
        """By the distance from the nearer edge in units of width / n."""
        rest, ways = tf.zeros_like(distance), 1.0
        for k in range(1, n // 2 + 1):
            ways *= -(n - k + 1) / k
            over = distance - k
            power = tf.where(over > 0.0, over, standard.ONE) / distance
            rest += tf.where(over > 0.0, ways * power**n, standard.ZERO)
        log_norm = tf.math.lgamma(tf.constant(n + 1.0, tf.float64))
        return n * tf.math.log(distance) - log_norm + tf.math.log1p(rest)

    def log_part(share: tf.Tensor) -> tf.Tensor:
        is_near = share < 0.5 * n
        near = log_near(tf.where(is_near, share, n - share))
        far = tfp.math.log1mexp(tf.where(is_near, standard.ONE, near))
        return tf.where(is_near, near, far)

    return standard.of_tails(
        clip(span, low=low, high=high),
        lambda x: log_part(n * (x - low) / (high - low)),
        lambda x: log_part(n * (high - x) / (high - low)),
    )


def _von_mises(d: Any, span: Span) -> tf.Tensor:
    loc, concentration = parameters(d, "loc", "concentration")
    sides = [span.low.below, span.high.above]
    known = [tf.get_static_value(side) for side in sides]
    if any(side is None for side in known):
        raise NotImplementedError("an angle in shards, whose bounds are tensors")
    if (known[0] ^ known[1]).any():
        raise NotImplementedError("an angle with one bound")
    # From where the arc starts, between -pi and pi, to where it ends or turns over.
    width = tf.minimum(span.high.at - span.low.at, np.float64(2.0 * np.pi))
    first = span.low.at - loc
    first -= 2.0 * np.pi * tf.floor((first + np.pi) / (2.0 * np.pi))
    last = first + width
    end = np.float64(np.pi)
    turns = last > end
    one = standard.von_mises(concentration, from_to(first, tf.minimum(last, end)))
    over = tf.where(turns, last - 2.0 * np.pi, standard.ZERO)
    other = standard.von_mises(concentration, from_to(-end + 0.0 * over, over))
    other = tf.where(turns, other, standard.NOTHING)
    result = standard.log_sum(tf.stack([one, other], -1))
    is_all = sides[0] | (width >= 2.0 * np.pi)
    return tf.where(is_all, standard.ZERO, result)


MASSES: dict[str, Mass] = {
    "Bates": _bates,
    "Beta": _beta,
    "ContinuousBernoulli": _continuous_bernoulli,
    "Kumaraswamy": _kumaraswamy,
    "PERT": _pert,
    "RelaxedBernoulli": _relaxed_bernoulli,
    "SigmoidBeta": _sigmoid_beta,
    "Triangular": _triangular,
    "TruncatedCauchy": _truncated(standard.cauchy),
    "TruncatedNormal": _truncated(standard.normal),
    "Uniform": _uniform,
    "VonMises": _von_mises,
}
