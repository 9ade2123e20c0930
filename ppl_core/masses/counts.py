"""Log probabilities of intervals under distributions of counts and categories.

Both bounds belong to the interval, so these add up the masses of the values in it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from ppl_core import special
from ppl_core.masses import standard
from ppl_core.masses.parameters import log_odds, log_parameter, parameters
from ppl_core.masses.spans import Mass, Span, change, clip, from_on, up_to


def cuts(span: Span) -> Span:
    """The span of whole numbers k with low < k <= high, for whole low and high."""
    low, high = span
    first, last = tf.math.ceil(low.at), tf.math.floor(high.at)
    has_both = ~(low.below | low.above | high.below | high.above)
    return Span(
        low._replace(at=first - 1.0),
        high._replace(at=last, below=high.below | (has_both & (first > last))),
    )


def _whole(span: Span, low: float, high: tf.Tensor | None = None) -> Span:
    """The cuts of whole numbers from `low` to `high`."""
    return clip(cuts(span), low=low - 0.5, high=None if high is None else high - 0.5)


def _poisson(d: Any, span: Span) -> tf.Tensor:
    return of_poisson(log_parameter(d, "rate"), span)


def of_poisson(log_rate: tf.Tensor, span: Span) -> tf.Tensor:
    """Of Poisson variables: at most k arrive if the arrival k + 1 is after time 1."""
    # An impossible count of rate 0 is only very improbable, so that it has a gradient.
    log_rate = tf.maximum(log_rate, np.float64(-700.0))

    def below(k: tf.Tensor) -> tf.Tensor:
        return standard.gamma(k + 1.0, from_on(log_rate + tf.zeros_like(k)))

    def above(k: tf.Tensor) -> tf.Tensor:
        return standard.gamma(k + 1.0, up_to(log_rate + tf.zeros_like(k)))

    return standard.of_tails(_whole(span, 0.0), below, above)


def _binomial(d: Any, span: Span) -> tf.Tensor:
    (total,) = parameters(d, "total_count")
    # At most k of n uniform variables lie below p if the smallest but k lies above.
    return _of_beta(d, _whole(span, 0.0, total), lambda k: total - k)


def _negative_binomial(d: Any, span: Span) -> tf.Tensor:
    (total,) = parameters(d, "total_count")
    return _of_beta(d, _whole(span, 0.0), lambda _: total)


def _of_beta(d: Any, span: Span, other: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Of a count that exceeds k if a Beta(k + 1, other(k)) lies below d's probs."""
    log_odds_of_d = tf.clip_by_value(log_odds(d), np.float64(-700.0), np.float64(700.0))

    def below(k: tf.Tensor) -> tf.Tensor:
        odds = log_odds_of_d + tf.zeros_like(k)
        return standard.beta(k + 1.0, other(k), from_on(odds))

    def above(k: tf.Tensor) -> tf.Tensor:
        odds = log_odds_of_d + tf.zeros_like(k)
        return standard.beta(k + 1.0, other(k), up_to(odds))

    return standard.of_tails(span, below, above)


def _geometric(d: Any, span: Span) -> tf.Tensor:
    # The count exceeds k with probability (1 - p)^(k + 1).
    rate = tf.math.softplus(log_odds(d))
    inside = _whole(span, 0.0)
    log_power = change(inside, lambda k: tf.math.log(k + 1.0) + tf.math.log(rate))
    return standard.exponential(log_power)


def _zipf(d: Any, span: Span) -> tf.Tensor:
    (power,) = parameters(d, "power")

    def above(k: tf.Tensor) -> tf.Tensor:
        return special.log_zeta(power, k + 1.0) - special.log_zeta(power)

    def below(k: tf.Tensor) -> tf.Tensor:
        return tfp.math.log1mexp(above(k))

    return standard.of_tails(_whole(span, 1.0), below, above)


def _listed(outcomes: Callable[[Any], tf.Tensor]) -> Mass:
    """Of a distribution with finitely many outcomes."""

    def mass(d: Any, span: Span) -> tf.Tensor:
        values = outcomes(d)
        ndims, batch_ndims = span.low.at.shape.rank, d.batch_shape.rank
        log_probs = d.log_prob(tf.reshape(values, [-1] + [1] * batch_ndims))
        shape = tf.shape(log_probs)
        log_probs = tf.reshape(
            log_probs,
            tf.concat([shape[:1], [1] * (ndims - batch_ndims), shape[1:]], 0),
        )
        within = _is_within(tf.reshape(values, [-1] + [1] * ndims), span)
        nothing = tf.constant(-np.inf, log_probs.dtype)
        return standard.log_sum(tf.where(within, log_probs, nothing), 0)

    return mass


def _is_within(values: tf.Tensor, span: Span) -> tf.Tensor:
    """Whether the values lie in the span, up to the rounding of their dtype."""
    slack = 0.0
    if values.dtype.is_floating:
        slack = 8.0 * np.finfo(values.dtype.as_numpy_dtype).eps
    values = tf.cast(values, tf.float64)
    slack = slack * tf.abs(values)
    low, high = span
    from_low = low.below | (~low.above & (values >= low.at - slack))
    return from_low & (high.above | (~high.below & (values <= high.at + slack)))


def _categories(d: Any) -> tf.Tensor:
    return tf.range(d._num_categories(), dtype=d.dtype)


def _up_to_total(d: Any) -> tf.Tensor:
    total = tf.get_static_value(d.total_count)
    if total is None or np.size(total) != 1:
        raise NotImplementedError("total_counts that differ, or are not known numbers")
    return tf.range(int(np.reshape(total, [])) + 1, dtype=d.dtype)


def _deterministic(d: Any, span: Span) -> tf.Tensor:
    within = _is_within(tf.convert_to_tensor(d.loc), span)
    return tf.where(within, standard.ZERO, standard.NOTHING)


def _empirical(d: Any, span: Span) -> tf.Tensor:
    ends = tf.nest.map_structure(lambda part: part[..., tf.newaxis], span)
    within = tf.cast(_is_within(d.samples, Span(*ends)), tf.float64)
    return tf.math.log(tf.reduce_mean(within, -1))


_BINARY = _listed(lambda d: tf.constant([0, 1], d.dtype))

MASSES: dict[str, Mass] = {
    "Bernoulli": _BINARY,
    "BetaBinomial": _listed(_up_to_total),
    "Binomial": _binomial,
    "Categorical": _listed(_categories),
    "Deterministic": _deterministic,
    "Empirical": _empirical,
    "FiniteDiscrete": _listed(lambda d: d.outcomes),
    "Geometric": _geometric,
    "NegativeBinomial": _negative_binomial,
    "OrderedLogistic": _listed(_categories),
    "Poisson": _poisson,
    "ProbitBernoulli": _BINARY,
    "StoppingRatioLogistic": _listed(_categories),
    "Zipf": _zipf,
}
