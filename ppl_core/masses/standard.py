"""Log probabilities of standard distributions between two bounds, in both tails.

Each is the logarithm of a sum of positive terms or of a product, so that neither it nor
its gradient cancels far out.  All are in float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core import special
from ppl_core.masses.spans import Span, clip

LogRatio = Callable[[tf.Tensor], tf.Tensor]
ZERO, ONE, NOTHING = np.float64(0.0), np.float64(1.0), np.float64(-np.inf)
_MOST = np.float64(705.0)  # beyond, exp(-exp(v)) is 0, and exp(v) overflows
_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(12)
# The trapezoid rule in s after t = width exp(y) and y = s - exp(-s) + exp(s - 5.5).  It
# has nodes at every scale from exp(-38) to exp(43) of the width, most of them near it.
_S = np.linspace(-3.53, 9.03, 161)
_LOG_T = _S - np.exp(-_S) + np.exp(_S - 5.5)
_LOG_STEP = np.log((1.0 + np.exp(-_S) + np.exp(_S - 5.5)) * (_S[1] - _S[0]))


def log_sum(terms: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """log sum exp, whose gradient is 0 where all terms are -inf."""
    none = tf.reduce_all(tf.equal(terms, tf.constant(-np.inf, terms.dtype)), axis)
    some = tf.where(tf.expand_dims(none, axis), tf.zeros_like(terms), terms)
    result = tf.reduce_logsumexp(some, axis)
    return tf.where(none, tf.constant(-np.inf, terms.dtype), result)


def of_tails(span: Span, log_below: LogRatio, log_above: LogRatio) -> tf.Tensor:
    """The log probability by accurate logarithms of both tails, from the smaller."""
    low, high = span.low.at, span.high.at
    two = span.has_low & span.has_high
    below_high, above_low = log_below(high), log_above(low)
    use_below = tf.where(two, below_high < above_low, span.has_high)
    larger = tf.where(use_below, below_high, above_low)
    smaller = tf.where(use_below, log_below(low), log_above(high))
    is_part = two & (larger > smaller)
    rest = tfp.math.log1mexp(tf.where(is_part, larger - smaller, ONE))
    result = tf.where(span.has_low | span.has_high, larger, ZERO)
    result += tf.where(two, tf.where(is_part, rest, NOTHING), ZERO)
    return _unless_empty(span, result)


def normal(span: Span) -> tf.Tensor:
    """Of the standard normal distribution."""
    low, high = span.low.at, span.high.at
    two = span.has_low & span.has_high
    # It is symmetric: of the two sides, take the left one.
    flip = tf.where(two, low + high > 0.0, span.has_low)
    a, b = tf.where(flip, -high, low), tf.where(flip, -low, high)
    width = b - a
    is_narrow = two & (width > 0.0) & (width * (1.0 + tf.abs(a)) < 1.0)
    width = tf.where(is_narrow, width, ONE)[..., tf.newaxis]
    x = tf.where(is_narrow, a, ZERO)[..., tf.newaxis]
    x += width * (0.5 + 0.5 * _GAUSS_NODES)
    terms = -0.5 * x**2 + np.log(0.5 * _GAUSS_WEIGHTS)
    narrow = tf.reduce_logsumexp(terms, -1) + tf.math.log(width[..., 0])
    narrow -= 0.5 * np.log(2.0 * np.pi)
    some = span.has_low | span.has_high
    below_b = tf.where(some, special.log_ndtr(tf.where(some, b, ZERO)), ZERO)
    is_wide = two & ~is_narrow & (b > a)
    below_a = special.log_ndtr(tf.where(is_wide, a, -ONE))
    rest = tfp.math.log1mexp(tf.where(is_wide, below_b - below_a, ONE))
    wide = below_b + tf.where(is_wide, rest, tf.where(two, NOTHING, ZERO))
    return _unless_empty(span, tf.where(is_narrow, narrow, wide))


def logistic(span: Span) -> tf.Tensor:
    """Of the standard logistic distribution."""
    # With s the logistic function, s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)).
    below = tf.where(span.has_high, tf.math.log_sigmoid(span.high.at), ZERO)
    above = tf.where(span.has_low, tf.math.log_sigmoid(-span.low.at), ZERO)
    return _unless_empty(span, below + above + _log1mexp_of_width(span))


def exponential(span: Span) -> tf.Tensor:
    """Of the logarithm of a standard exponential variable."""
    span = clip(span, high=_MOST)
    below = span.high.at + _log1mexp_of_width(span)  # log(exp(high) - exp(low))
    below = special.log1mexp_of_log(tf.where(span.has_high, below, ZERO))
    above = -tf.exp(tf.where(span.has_low, span.low.at, ZERO))
    result = tf.where(span.has_high, below, ZERO) + tf.where(span.has_low, above, ZERO)
    return _unless_empty(span, result)


def cauchy(span: Span) -> tf.Tensor:
    """Of the standard Cauchy distribution."""
    low, high = span.low.at, span.high.at
    two, neither = span.has_low & span.has_high, ~(span.has_low | span.has_high)
    # The angle between the directions (1, low) and (1, high), or (0, -1) and (0, 1).
    sine = tf.where(two, high - low, ONE)
    cosine = tf.where(two, 1.0 + low * high, tf.where(span.has_low, low, -high))
    angle = tf.math.atan2(sine, tf.where(neither, ZERO, cosine))
    log_share = tf.math.log(tf.where(neither, np.float64(np.pi), angle)) - np.log(np.pi)
    return _unless_empty(span, log_share)


def gamma(concentration: tf.Tensor, span: Span) -> tf.Tensor:
    """Of the logarithm v of a gamma variable of rate 1, by quadrature.

    v has the density exp(a v - exp(v)) / Gamma(a).
    """
    a, span = concentration, clip(span, high=_MOST)

    def scales(v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return a - tf.exp(v), 1.0 / a + tf.math.rsqrt(a), tf.math.rsqrt(a + 1.0)

    def log_ratio(v: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        t = tf.minimum(t, tf.maximum(700.0 - v, 10.0))  # the density is 0 beyond
        return a[..., tf.newaxis] * t - tf.exp(v) * tf.math.expm1(t)

    def log_density(v: tf.Tensor) -> tf.Tensor:
        return a * v - tf.exp(v) - tf.math.lgamma(a)

    return integral(span, tf.math.log(a + 1.0), scales, log_density, log_ratio)


def beta(concentration1: Any, concentration0: Any, span: Span) -> tf.Tensor:
    """Of the log odds v of a beta variable, by quadrature.

    With s the logistic function, v has the density s(v)^a s(-v)^b / B(a, b).
    """
    a, b = (
        tf.convert_to_tensor(part, tf.float64)
        for part in (concentration1, concentration0)
    )
    a, b = a + tf.zeros_like(b), b + tf.zeros_like(a)

    def scales(v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        slope = a * tf.math.sigmoid(-v) - b * tf.math.sigmoid(v)
        left = tf.sqrt(1.0 / a**2 + 1.0 / a + 1.0 / (b + 1.0))
        right = tf.sqrt(1.0 / b**2 + 1.0 / b + 1.0 / (a + 1.0))
        return slope, left, right

    def log_change(v: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """log s(v + t) - log s(v)."""
        is_small = tf.abs(t) < 1.0
        small = tf.where(is_small, t, ZERO)
        small = -tf.math.log1p(tf.math.sigmoid(-v) * tf.math.expm1(-small))
        large = tf.where(is_small, ZERO, t)
        large = tf.math.log_sigmoid(v + large) - tf.math.log_sigmoid(v)
        return tf.where(is_small, small, large)

    def log_ratio(v: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        first, second = a[..., tf.newaxis], b[..., tf.newaxis]
        return first * log_change(v, t) + second * log_change(-v, -t)

    def log_density(v: tf.Tensor) -> tf.Tensor:
        powers = a * tf.math.log_sigmoid(v) + b * tf.math.log_sigmoid(-v)
        return powers - tfp.math.lbeta(a, b)

    middle = tf.math.log((a + 1.0) / (b + 1.0))
    return integral(span, middle, scales, log_density, log_ratio)


def von_mises(concentration: tf.Tensor, span: Span) -> tf.Tensor:
    """Of a von Mises variable of mean 0, between angles from -pi to pi."""
    k = concentration

    def scales(angle: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        width = tf.math.rsqrt(k + 0.1)
        return -k * tf.sin(angle), width, width

    def log_ratio(angle: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        change = -2.0 * tf.sin(angle + 0.5 * t) * tf.sin(0.5 * t)
        return k[..., tf.newaxis] * change

    def log_density(angle: tf.Tensor) -> tf.Tensor:
        log_norm = tf.math.log(tf.math.bessel_i0e(k)) + np.log(2.0 * np.pi)
        return -2.0 * k * tf.sin(0.5 * angle) ** 2 - log_norm

    return integral(span, tf.zeros_like(k), scales, log_density, log_ratio)


def integral(
    span: Span,
    middle: tf.Tensor,
    scales: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
    log_density: LogRatio,
    log_ratio: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """The log probability of a density with one peak, near `middle`.

    It is the sum of the integrals to both sides of the span's point nearest to the
    middle, where the density is highest.

    scales: of a point, the slope of the log density there, and the widths to the left
      and right over which the density falls from its peak.
    log_ratio: of a point v and t[..., nodes], the log density at v + t less that at v.
    """
    low, high = span.low.at, span.high.at
    has_low, has_high = span.has_low, span.has_high
    # The sum does not depend on where the sides meet, so the middle has no gradient.
    middle = tf.stop_gradient(middle) + tf.zeros_like(low + high)
    start = tf.where(has_low & (low >= middle), low, middle)
    start = tf.where(has_high & (high <= middle), high, start)
    slope, left, right = map(tf.stop_gradient, scales(start))
    widths = [1.0 / tf.maximum(1.0 / width, tf.abs(slope)) for width in (left, right)]
    sides = []
    for sign, width, length, is_bounded in (
        (-1.0, widths[0], start - low, has_low),
        (1.0, widths[1], high - start, has_high),
    ):
        is_there = ~is_bounded | (length > 0.0)
        length = tf.where(is_bounded & is_there, length, ONE)
        width = tf.where(is_bounded, tf.minimum(width, tf.stop_gradient(length)), width)
        share = tf.where(is_bounded, width / length, ZERO)[..., tf.newaxis]
        width = width[..., tf.newaxis]
        # t = width exp(y) / (1 + share exp(y)), which goes up to the length.
        over = 1.0 + share * np.exp(_LOG_T)
        t = sign * width * np.exp(_LOG_T) / over
        log_step = tf.math.log(width) + _LOG_T + _LOG_STEP - 2.0 * tf.math.log(over)
        terms = log_ratio(start[..., tf.newaxis], t) + log_step
        sides.append(tf.where(is_there[..., tf.newaxis], terms, NOTHING))
    total = log_density(start) + log_sum(tf.concat(sides, -1))
    return _unless_empty(span, tf.where(has_low | has_high, total, ZERO))


def _log1mexp_of_width(span: Span) -> tf.Tensor:
    """log(1 - exp(low - high)); 0 where a side is open."""
    two = span.has_low & span.has_high
    width = span.high.at - span.low.at
    is_wide = two & (width > 0.0)
    rest = tfp.math.log1mexp(tf.where(is_wide, width, ONE))
    return tf.where(is_wide, rest, tf.where(two, NOTHING, ZERO))


def _unless_empty(span: Span, log_prob: tf.Tensor) -> tf.Tensor:
    return tf.where(span.is_empty, NOTHING, log_prob)
