"""Censored data: values that are only known to lie in an interval."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from ppl_core.shapes import value_shape
from ppl_core.supports import check_data, support_of


class Interval:
    """Data that are only known to lie between two bounds, each entry its own.

    An entry whose bounds are equal is known exactly.  -inf and inf leave a side open.
    The bounds themselves belong to the interval, which counts for whole numbers.  As a
    variable's value, an entry that is not known is NaN.

    >>> lifetimes = ppl.Interval([1.5, 4.0], [1.5, np.inf])  # the second: beyond 4
    >>> y = ppl.Exponential(0.5, sample_shape=2, value=lifetimes, name="y")
    >>> y.log_prob().numpy().round(3).tolist()
    [-1.4429999589920044, -2.0]
    """

    def __init__(self, low: Any, high: Any) -> None:
        """Raises ValueError for bounds that are NaN, symbolic, or the wrong way."""
        bounds = [tf.get_static_value(b) if tf.is_tensor(b) else b for b in (low, high)]
        if any(bound is None for bound in bounds):
            raise ValueError("Interval: given tensors of a tf.function, wanted numbers")
        self.low, self.high = np.broadcast_arrays(
            *(np.asarray(bound, np.float64) for bound in bounds)
        )
        wrong = ~(self.low <= self.high)  # NaN as well
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"Interval: given {self.low[index]} to {self.high[index]} at {index}, "
                "wanted a lower bound and then an upper one"
            )

    @property
    def is_exact(self) -> np.ndarray:
        """Where both bounds are one number."""
        return self.low == self.high

    @property
    def known(self) -> np.ndarray:
        """The values, NaN where they are not known."""
        return np.where(self.is_exact, self.low, np.nan)


def to_value(
    interval: Interval,
    distribution: tfd.Distribution,
    sample_shape: tf.TensorShape,
    label: str,
) -> tf.Tensor:
    """The variable's value, NaN where it is not known.

    Raises ValueError for an interval of another shape, for exact entries outside the
    support, and for a distribution without a cumulative function.
    """
    shape = value_shape(distribution, sample_shape)
    is_scalar = distribution.event_shape.rank == 0
    if not is_scalar or not shape.is_compatible_with(interval.low.shape):
        raise ValueError(
            f"{label}: given an Interval of shape {interval.low.shape}, wanted {shape} "
            "and single numbers as events"
        )
    dtype = distribution.dtype if distribution.dtype.is_floating else tf.float32
    if interval.is_exact.any():
        stand_in = interval.low[interval.is_exact].flat[0]
        values = np.where(interval.is_exact, interval.low, stand_in)
        check_data(distribution, tf.constant(values, dtype), None, label)
    try:
        log_prob(distribution, interval)
    except NotImplementedError as error:
        raise ValueError(
            f"{label}: given an Interval, wanted a distribution with a cumulative "
            "distribution function"
        ) from error
    return tf.constant(interval.known, dtype)


def log_prob(distribution: tfd.Distribution, interval: Interval) -> tf.Tensor:
    """The log density of exact entries, and the log probability of the others'.

    Raises NotImplementedError for a distribution without a cumulative function.
    """
    exact = interval.is_exact
    parts = []
    if exact.any():
        # Elsewhere an entry that is known stands in: its gradient is not used.
        stand_in = interval.low[exact].flat[0]
        values = np.where(exact, interval.low, stand_in)
        parts.append(distribution.log_prob(_to(values, distribution)))
    if not exact.all():
        parts.append(_log_mass(distribution, interval))
    return tf.where(exact, *parts) if len(parts) == 2 else parts[0]


def _log_mass(distribution: tfd.Distribution, interval: Interval) -> tf.Tensor:
    """log P(low <= x <= high), from the tail on whose side the interval lies."""
    low, high = interval.low, interval.high
    if _is_whole(distribution):
        low, high = np.ceil(low) - 1.0, np.floor(high)
    # An exact entry gets bounds of its own, so that no logarithm of 0 has a gradient.
    same = interval.is_exact
    low, high = np.where(same, -np.inf, low), high
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    anywhere = np.where(has_low, low, np.where(has_high, high, 0.0))
    first = _to(np.where(has_low, low, anywhere), distribution)
    last = _to(np.where(has_high, high, anywhere), distribution)
    nothing = tf.constant(-np.inf, distribution.dtype)
    below_first = tf.where(has_low, distribution.log_cdf(first), nothing)
    below_last = tf.where(has_high, distribution.log_cdf(last), tf.zeros_like(nothing))
    larger, smaller = below_last, below_first
    is_open = ~has_low
    if _has_survival(distribution):
        above_first = distribution.log_survival_function(first)
        above_first = tf.where(has_low, above_first, tf.zeros_like(nothing))
        above_last = distribution.log_survival_function(last)
        above_last = tf.where(has_high, above_last, nothing)
        use_lower = below_last < above_first
        larger = tf.where(use_lower, below_last, above_first)
        smaller = tf.where(use_lower, below_first, above_last)
        is_open = tf.where(use_lower, ~has_low, ~has_high)
    # Where a side is open the difference is with 0, whose logarithm has no gradient.
    difference = tfp.math.log_sub_exp(larger, tf.where(is_open, larger - 1.0, smaller))
    return tf.where(is_open, larger, difference)


def _is_whole(distribution: tfd.Distribution) -> bool:
    rule = support_of(distribution)
    return not distribution.dtype.is_floating or (
        rule is not None and rule[0].words.startswith("whole numbers")
    )


def _has_survival(distribution: tfd.Distribution) -> bool:
    """Whether it is not 1 - cdf, which is 0 far out."""
    kind = type(distribution)
    return any(
        getattr(kind, name) is not getattr(tfd.Distribution, name)
        for name in ("_log_survival_function", "_survival_function")
    )


def _to(values: np.ndarray, distribution: tfd.Distribution) -> tf.Tensor:
    return tf.constant(values, distribution.dtype)
