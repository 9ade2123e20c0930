"""Log probabilities of intervals under the distributions of continuous numbers.

Most are a monotone function of a standard variable; `standard` has those.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core import edges, special, tails
from ppl_core.masses import standard
from ppl_core.masses.parameters import located, log_parameter, parameters
from ppl_core.masses.spans import Bound, Mass, Span, change, clip, flip, split, truncate

_HALF = np.float64(0.5)


def _two_sided(
    span: Span,
    centre: tf.Tensor,
    left: Callable[[Span], tf.Tensor],
    right: Callable[[Span], tf.Tensor],
) -> tf.Tensor:
    """Of a centre, and the log probabilities of distances to its left and right."""
    below, above = split(span, centre)
    both = standard.log_sum(tf.stack([left(below), right(above)], -1))
    everything = ~(span.has_low | span.has_high | span.is_empty)
    return tf.where(everything, standard.ZERO, both)


def _normal(d: Any, span: Span) -> tf.Tensor:
    return standard.normal(located(d, span))


def _half_normal(d: Any, span: Span) -> tf.Tensor:
    (scale,) = parameters(d, "scale")
    inside, _ = truncate(span, standard.ZERO, np.float64(np.inf))
    return standard.normal(change(inside, lambda x: x / scale)) + np.log(2.0)


def _two_piece(distance_mass: Mass) -> Mass:
    """Of a distribution whose halves have the scales scale / skew and scale * skew."""

    def mass(d: Any, span: Span) -> tf.Tensor:
        loc, scale, skew = parameters(d, "loc", "scale", "skewness")
        log_odds_right = 2.0 * tf.math.log(skew)

        def left(distances: Span) -> tf.Tensor:
            part = distance_mass(d, change(distances, lambda x: x / scale * skew))
            return part + tf.math.log_sigmoid(-log_odds_right)

        def right(distances: Span) -> tf.Tensor:
            part = distance_mass(d, change(distances, lambda x: x / scale / skew))
            return part + tf.math.log_sigmoid(log_odds_right)

        return _two_sided(span, loc, left, right)

    return mass


def _symmetric(distance_mass: Mass) -> Mass:
    """Of a loc and a scale, by the distance from the loc in units of the scale."""

    def mass(d: Any, span: Span) -> tf.Tensor:
        loc, scale = parameters(d, "loc", "scale")

        def half(distances: Span) -> tf.Tensor:
            return distance_mass(d, change(distances, lambda x: x / scale)) - np.log(
                2.0
            )

        return _two_sided(span, loc, half, half)

    return mass


def _normal_distance(_: Any, span: Span) -> tf.Tensor:
    inside, _ = truncate(span, standard.ZERO, np.float64(np.inf))
    return standard.normal(inside) + np.log(2.0)


def _student_distance(d: Any, span: Span) -> tf.Tensor:
    # z^2 / df is the odds of a beta variable.
    (df,) = parameters(d, "df")
    is_normal = tf.math.is_inf(df)
    df = tf.where(is_normal, standard.ONE, df)
    odds = change(clip(span, low=standard.ZERO), lambda z: 2.0 * tf.math.log(z))
    odds = change(odds, lambda log_square: log_square - tf.math.log(df))
    mass = standard.beta(_HALF, 0.5 * df, odds)
    return tf.where(is_normal, _normal_distance(d, span), mass)


def _laplace_distance(_: Any, span: Span) -> tf.Tensor:
    return standard.exponential(change(clip(span, low=standard.ZERO), tf.math.log))


def _power_distance(d: Any, span: Span) -> tf.Tensor:
    (power,) = parameters(d, "power")
    inside = clip(span, low=standard.ZERO)
    return standard.gamma(1.0 / power, change(inside, lambda z: power * tf.math.log(z)))


def _maxwell_distance(_: Any, span: Span) -> tf.Tensor:
    inside = clip(span, low=standard.ZERO)
    energy = change(inside, lambda z: 2.0 * tf.math.log(z) - np.log(2.0))
    return standard.gamma(tf.constant(1.5, tf.float64), energy)


def _above(distance_mass: Mass) -> Mass:
    """Of distances above the loc in units of the scale."""

    def mass(d: Any, span: Span) -> tf.Tensor:
        loc, scale = parameters(d, "loc", "scale")
        inside = clip(span, low=loc)
        return distance_mass(d, change(inside, lambda x: (x - loc) / scale))

    return mass


def _cauchy_distance(_: Any, span: Span) -> tf.Tensor:
    inside, _ = truncate(span, standard.ZERO, np.float64(np.inf))
    return standard.cauchy(inside) + np.log(2.0)


def _positive(distribution_mass: Callable[[Any, Span], tf.Tensor]) -> Mass:
    """Of a distribution of numbers above 0, by their logarithm."""

    def mass(d: Any, span: Span) -> tf.Tensor:
        logarithm = change(clip(span, low=standard.ZERO), tf.math.log)
        return distribution_mass(d, logarithm)

    return mass


def _gamma(d: Any, log_x: Span) -> tf.Tensor:
    (a,), log_rate = parameters(d, "concentration"), log_parameter(d, "rate")
    return standard.gamma(a, change(log_x, lambda v: v + log_rate))


def _inverse_gamma(d: Any, log_x: Span) -> tf.Tensor:
    a, scale = parameters(d, "concentration", "scale")
    return standard.gamma(a, flip(change(log_x, lambda v: tf.math.log(scale) - v)))


def _chi2(d: Any, log_x: Span) -> tf.Tensor:
    (df,) = parameters(d, "df")
    return standard.gamma(0.5 * df, change(log_x, lambda v: v - np.log(2.0)))


def _chi(d: Any, log_x: Span) -> tf.Tensor:
    return _chi2(d, change(log_x, lambda v: 2.0 * v))


def _gamma_gamma(d: Any, log_x: Span) -> tf.Tensor:
    a, b, rate = parameters(d, "concentration", "mixing_concentration", "mixing_rate")
    return standard.beta(a, b, change(log_x, lambda v: v - tf.math.log(rate)))


def _exponential(d: Any, log_x: Span) -> tf.Tensor:
    (rate,) = parameters(d, "rate")
    return standard.exponential(change(log_x, lambda v: v + tf.math.log(rate)))


def _weibull(d: Any, log_x: Span) -> tf.Tensor:
    k, scale = parameters(d, "concentration", "scale")
    return standard.exponential(change(log_x, lambda v: k * (v - tf.math.log(scale))))


def _log_logistic(d: Any, log_x: Span) -> tf.Tensor:
    return standard.logistic(located(d, log_x))


def _inverse_gaussian(d: Any, log_x: Span) -> tf.Tensor:
    loc, concentration = parameters(d, "loc", "concentration")

    def ends(v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Two normal quantiles, and the log of the second's share of both tails."""
        root, x = tf.sqrt(concentration) * tf.exp(-0.5 * v), tf.exp(v)
        a, b = root * (x / loc - 1.0), root * (x / loc + 1.0)
        share = special.log_erfcx(b / np.sqrt(2.0)) - 0.5 * a**2 - np.log(2.0)
        return a, b, share

    def below(v: tf.Tensor) -> tf.Tensor:
        a, _, share = ends(v)
        return tfp.math.log_add_exp(special.log_ndtr(a), share)

    def above(v: tf.Tensor) -> tf.Tensor:
        a, b, share = ends(v)
        # Beyond the loc both terms have the factor exp(-a^2 / 2).
        is_far = a > 0.0
        far_a = tf.where(is_far, a, standard.ZERO)
        far = tfp.math.log_sub_exp(
            special.log_erfcx(far_a / np.sqrt(2.0)),
            special.log_erfcx(b / np.sqrt(2.0)),
        )
        far += -0.5 * far_a**2 - np.log(2.0)
        near_a = tf.where(is_far, standard.ZERO, a)
        near = tfp.math.log_sub_exp(special.log_ndtr(-near_a), share)
        return tf.where(is_far, far, near)

    return standard.of_tails(log_x, below, above)


def _noncentral_chi2(d: Any, log_x: Span) -> tf.Tensor:
    df, noncentrality = parameters(d, "df", "noncentrality")
    mean = df + noncentrality
    width = tf.sqrt(2.0 * (mean + noncentrality)) / mean
    right = width * tf.math.rsqrt(1.0 + width**2)  # where it falls as exp(-x / 2)
    least = np.log(1e-30)  # below, the density is a power of x

    def scales(v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        x = tf.exp(v)
        slope = 0.5 * (df - x + tf.sqrt(noncentrality * x))
        return slope, width + 2.0 / df, right

    def log_density(v: tf.Tensor, extra: int = 0) -> tf.Tensor:
        own_df, own_noncentrality = (
            part[(..., *[tf.newaxis] * extra)] for part in (df, noncentrality)
        )
        own = edges.NoncentralChi2(own_df, own_noncentrality)
        below = tf.minimum(v - least, standard.ZERO)
        return own.log_prob(tf.exp(v - below)) + v + (0.5 * own_df - 1.0) * below

    def log_ratio(v: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        most = tf.maximum(v, tf.math.log(mean)[..., tf.newaxis]) + 12.0
        end = tf.minimum(v + t, most)  # the density is 0 beyond
        return log_density(end, extra=1) - log_density(v, extra=1)

    middle = tf.math.log(mean + 2.0)
    return standard.integral(log_x, middle, scales, log_density, log_ratio)


def _gumbel(d: Any, span: Span) -> tf.Tensor:
    return standard.exponential(flip(change(located(d, span), tf.negative)))


def _moyal(d: Any, span: Span) -> tf.Tensor:
    # exp(-z) is the square of a standard normal variable.
    energy = change(located(d, span), lambda z: -z - np.log(2.0))
    return standard.gamma(tf.constant(0.5, tf.float64), flip(energy))


def _generalized_extreme_value(d: Any, span: Span) -> tf.Tensor:
    loc, scale, concentration = parameters(d, "loc", "scale", "concentration")

    def within(bound: Bound) -> Bound:
        z = (bound.at - loc) / scale
        is_outside = concentration * z <= -1.0
        known = ~(bound.below | bound.above) & is_outside
        return Bound(
            tf.where(is_outside, standard.ZERO, z),
            bound.below | (known & (concentration > 0.0)),
            bound.above | (known & (concentration < 0.0)),
        )

    def log_power(z: tf.Tensor) -> tf.Tensor:  # of a standard exponential variable
        return -z * special.log1p_share(concentration * z)

    inside = Span(*map(within, span))
    return standard.exponential(flip(change(inside, log_power)))


def _generalized_pareto(d: Any, span: Span) -> tf.Tensor:
    loc, scale, concentration = parameters(d, "loc", "scale", "concentration")
    is_bounded = concentration < 0.0
    safe = tf.where(is_bounded, concentration, -standard.ONE)
    width = tf.where(is_bounded, -1.0 / safe, np.float64(np.inf))
    distances = change(clip(span, low=loc), lambda x: (x - loc) / scale)

    def within(bound: Bound) -> Bound:
        is_above = bound.at >= width
        known = ~(bound.below | bound.above)
        inside = tf.where(is_above, 0.5 * width, bound.at)
        return bound._replace(at=inside, above=bound.above | (known & is_above))

    def log_power(z: tf.Tensor) -> tf.Tensor:
        return tf.math.log(z) + tf.math.log(special.log1p_share(concentration * z))

    return standard.exponential(change(Span(*map(within, distances)), log_power))


def _pareto(d: Any, span: Span) -> tf.Tensor:
    k, scale = parameters(d, "concentration", "scale")

    def log_power(x: tf.Tensor) -> tf.Tensor:
        return tf.math.log(k) + tf.math.log(tf.math.log1p((x - scale) / scale))

    return standard.exponential(change(clip(span, low=scale), log_power))


def _exp_gamma(d: Any, span: Span) -> tf.Tensor:
    return _gamma(d, span)  # of the logarithm of a gamma variable


def _exponentially_modified_gaussian(d: Any, span: Span) -> tf.Tensor:
    loc, scale, rate = parameters(d, "loc", "scale", "rate")
    product = rate * scale

    def log_hazard(u: tf.Tensor) -> tf.Tensor:
        return -0.5 * u**2 - 0.5 * np.log(2.0 * np.pi) - special.log_ndtr(u)

    # The mode, at loc + scale (product + u), is where the hazard is the product.
    is_small = product < 0.3
    root = tf.sqrt(-2.0 * tf.math.log(tf.where(is_small, product, np.float64(0.3))))
    u = tf.where(is_small, root, 1.0 / product - product)
    for _ in range(4):  # Newton's steps
        hazard = log_hazard(u)
        u += (hazard - tf.math.log(product)) / (u + tf.exp(hazard))

    def scales(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        hazard = tf.exp(log_hazard((x - loc) / scale - product))
        return hazard / scale - rate, scale, scale + 1.0 / rate

    def log_density(x: tf.Tensor, extra: int = 0) -> tf.Tensor:
        for_each = [part[(..., *[tf.newaxis] * extra)] for part in (loc, scale, rate)]
        return tails.ExponentiallyModifiedGaussian(*for_each).log_prob(x)

    def log_ratio(x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        return log_density(x + t, extra=1) - log_density(x, extra=1)

    mode = loc + scale * (product + u)
    return standard.integral(span, mode, scales, log_density, log_ratio)


MASSES: dict[str, Mass] = {
    "Cauchy": lambda d, span: standard.cauchy(located(d, span)),
    "Chi": _positive(_chi),
    "Chi2": _positive(_chi2),
    "DoublesidedMaxwell": _symmetric(_maxwell_distance),
    "ExpGamma": _exp_gamma,
    "Exponential": _positive(_exponential),
    "ExponentiallyModifiedGaussian": _exponentially_modified_gaussian,
    "Gamma": _positive(_gamma),
    "GammaGamma": _positive(_gamma_gamma),
    "GeneralizedExtremeValue": _generalized_extreme_value,
    "GeneralizedNormal": _symmetric(_power_distance),
    "GeneralizedPareto": _generalized_pareto,
    "Gumbel": _gumbel,
    "HalfCauchy": _above(_cauchy_distance),
    "HalfNormal": _half_normal,
    "HalfStudentT": _above(_student_distance),
    "InverseGamma": _positive(_inverse_gamma),
    "InverseGaussian": _positive(_inverse_gaussian),
    "Laplace": _symmetric(_laplace_distance),
    "LogLogistic": _positive(_log_logistic),
    "Logistic": lambda d, span: standard.logistic(located(d, span)),
    "Moyal": _moyal,
    "NoncentralChi2": _positive(_noncentral_chi2),
    "Normal": _normal,
    "Pareto": _pareto,
    "StudentT": _symmetric(_student_distance),
    "TwoPieceNormal": _two_piece(_normal_distance),
    "TwoPieceStudentT": _two_piece(_student_distance),
    "Weibull": _positive(_weibull),
}
