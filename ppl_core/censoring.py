"""Censored data: values that are only known to lie in an interval."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core import arguments, data, masses, support_checks
from ppl_core.regions import Unknown
from ppl_core.shapes import value_shape, without_plates
from ppl_core.supports import support_of
from ppl_core.trace import data_are_checked


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
        """Raises ValueError for bounds that are no numbers, or the wrong way."""
        bounds = []
        for bound, name in ((low, "lower"), (high, "upper")):
            known = tf.get_static_value(bound) if tf.is_tensor(bound) else bound
            if known is None and bound is not None:
                raise ValueError(
                    "Interval: given tensors of a tf.function, wanted numbers"
                )
            bounds.append(data.to_array(known, f"Interval: the {name} bound"))
        try:
            self.low, self.high = np.broadcast_arrays(*bounds)
        except ValueError:
            raise ValueError(
                f"Interval: given bounds of shapes {bounds[0].shape} and "
                f"{bounds[1].shape}, wanted shapes that broadcast"
            ) from None
        wrong = ~(self.low <= self.high)  # NaN as well
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"Interval: given {self.low[index]} to {self.high[index]} at {index}, "
                "wanted a lower bound and then an upper one"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of each bound."""
        return self.low.shape

    @property
    def is_exact(self) -> np.ndarray:
        """Where both bounds are one number."""
        return self.low == self.high

    @property
    def has_exact(self) -> bool:
        """Whether an entry is known exactly."""
        return bool(self.is_exact.any())

    @property
    def has_open(self) -> bool:
        """Whether an entry is not known exactly."""
        return not self.is_exact.all()


class Bounds(tf.experimental.ExtensionType):
    """An Interval as tensors, to pass into a tf.function.  Its data were checked."""

    low: tf.Tensor  # float64
    high: tf.Tensor
    has_exact: bool
    has_open: bool

    @property
    def is_exact(self) -> tf.Tensor:
        """Where both bounds are one number."""
        return tf.equal(self.low, self.high)


def to_bounds(interval: Interval) -> Bounds:
    """The interval's bounds as tensors."""
    low, high = (
        tf.constant(part, tf.float64) for part in (interval.low, interval.high)
    )
    return Bounds(low, high, interval.has_exact, interval.has_open)


def to_value(
    interval: Interval | Bounds,
    distribution: tfd.Distribution,
    sample_shape: tf.TensorShape,
    mask: Any,
    label: str,
) -> tf.Tensor:
    """The variable's value, NaN where it is not known.

    mask: entries to look at; None: all.

    Raises ValueError for an interval of another shape, for exact entries outside the
    support, for others that have no value of it, and for a distribution whose intervals
    have no known probability.
    """
    shape = value_shape(distribution, sample_shape)
    is_scalar = distribution.event_shape.rank == 0
    if not is_scalar or not shape.is_compatible_with(interval.low.shape):
        raise ValueError(
            f"{label}: given an Interval of shape {interval.low.shape}, wanted {shape} "
            "and single numbers as events"
        )
    dtype = distribution.dtype if distribution.dtype.is_floating else tf.float32
    if isinstance(interval, Bounds):
        unknown = tf.constant(np.nan, tf.float64)
        return tf.cast(tf.where(interval.is_exact, interval.low, unknown), dtype)
    if interval.has_exact and not data_are_checked():
        stand_in = interval.low[interval.is_exact].flat[0]
        values = np.where(interval.is_exact, interval.low, stand_in)
        support_checks.check_data(distribution, tf.constant(values, dtype), mask, label)
    try:
        log_probs = log_prob(distribution, interval, mask, label)
    except NotImplementedError as error:
        raise ValueError(
            f"{label}: given an Interval of {error}, wanted one of a distribution that "
            "docs/distributions.md lists for censored data"
        ) from error
    if not data_are_checked():
        impossible = _without_values(distribution, interval)
        known = tf.get_static_value(log_probs)
        if known is not None:  # it is exact, and so 0 only where nothing lies
            impossible = impossible | (known == -np.inf)
        _refuse(impossible & ~interval.is_exact, interval, mask, label)
    known = np.where(interval.is_exact, interval.low, np.nan)
    return tf.constant(known, dtype)


def log_prob(
    distribution: tfd.Distribution,
    interval: Interval | Bounds,
    mask: Any,
    label: str,
) -> tf.Tensor:
    """The log density of exact entries, and the log probability of the others'.

    It is minus infinity outside the support and for arguments that are not allowed.
    Entries under the mask have any number.

    Raises NotImplementedError for a distribution whose intervals have no known
    probability.
    """
    if isinstance(interval, Bounds):
        return _log_prob_of_bounds(distribution, interval, mask, label)
    counted = None if mask is None else tf.get_static_value(tf.convert_to_tensor(mask))
    counted = True if counted is None else counted
    exact = interval.is_exact & counted
    parts = []
    if exact.any():
        # Elsewhere an entry that is known stands in: its gradient is not used.
        stand_in = interval.low[exact].flat[0]
        values = tf.constant(np.where(exact, interval.low, stand_in))
        parts.append(_log_density(distribution, values, label))
    if not exact.all():
        # An exact entry's own mass, which is 0, would have no gradient.
        is_open = exact | ~np.asarray(counted)
        low = np.where(is_open, -np.inf, interval.low)
        high = np.where(is_open, np.inf, interval.high)
        parts.append(_log_mass(distribution, masses.make(low, high)))
    return tf.where(exact, *parts) if len(parts) == 2 else parts[0]


def _log_prob_of_bounds(
    distribution: tfd.Distribution, bounds: Bounds, mask: Any, label: str
) -> tf.Tensor:
    """`log_prob` where only a tf.function knows the bounds."""
    low, high = bounds.low, bounds.high
    counted = tf.ones_like(low, tf.bool)
    if mask is not None:
        counted &= tf.convert_to_tensor(mask)
    exact = bounds.is_exact & counted
    parts = []
    if bounds.has_exact:
        # The first exact entry stands in for the others, if the mask leaves one.
        first = tf.argmax(tf.reshape(tf.cast(exact, tf.int32), [-1]))
        stand_in = tf.reshape(low, [-1])[first]
        stand_in = tf.where(tf.math.is_finite(stand_in), stand_in, tf.zeros_like(low))
        values = tf.where(exact, low, stand_in)
        parts.append(_log_density(distribution, values, label))
    if bounds.has_open:
        is_open, inf = exact | ~counted, tf.constant(np.inf, low.dtype)
        low, high = tf.where(is_open, -inf, low), tf.where(is_open, inf, high)
        parts.append(_log_mass(distribution, masses.make(low, high)))
    return tf.where(exact, *parts) if len(parts) == 2 else parts[0]


def _log_density(
    distribution: tfd.Distribution, values: tf.Tensor, label: str
) -> tf.Tensor:
    values = tf.cast(values, distribution.dtype)
    return support_checks.log_prob(distribution, values, False, label)


def _log_mass(distribution: tfd.Distribution, span: masses.Span) -> tf.Tensor:
    log_mass = masses.log_mass(distribution, span)
    log_mass = tf.cast(log_mass, _dtype_of_log_probs(distribution))
    wrong = arguments.invalid(distribution)
    if wrong is None:
        return log_mass
    return tf.where(wrong, tf.constant(-np.inf, log_mass.dtype), log_mass)


def _dtype_of_log_probs(distribution: tfd.Distribution) -> tf.DType:
    if distribution.dtype.is_floating:
        return distribution.dtype
    return distribution.log_prob(tf.zeros([], distribution.dtype)).dtype


def _without_values(distribution: tfd.Distribution, interval: Interval) -> np.ndarray:
    """Where the support, as far as it is known, has no value in the interval."""
    support = support_of(distribution)
    nowhere = np.zeros(interval.low.shape, bool)
    if support is None or support.point is None:  # without, it may have gaps
        return nowhere
    inner = without_plates(distribution)
    low, high = interval.low, interval.high
    if masses.is_lattice(inner):
        low, high = np.ceil(low), np.floor(high)
    else:  # a bound alone has no mass
        low, high = np.nextafter(low, np.inf), np.nextafter(high, -np.inf)
    try:
        with np.errstate(invalid="ignore"):
            ends = support.inside(low, inner) | support.inside(high, inner)
            # The support has no gaps, so all of it may also lie between the ends.
            for value in _some_values(inner):
                is_between = (low <= value) & (value <= high)
                is_inside = support.inside(np.asarray(value, np.float64), inner)
                ends = ends | (is_between & is_inside)
    except Unknown:
        return nowhere
    return ~ends | (low > high)


def _some_values(distribution: tfd.Distribution) -> list[Any]:
    """Numbers, of which at least one lies in the support."""
    values: list[Any] = [0.0, 1.0]
    for name in ("low", "loc", "scale"):
        number = getattr(distribution, name, None)
        if number is not None:
            known = tf.get_static_value(tf.convert_to_tensor(number))
            values += [] if known is None else [np.asarray(known, np.float64)]
    return values


def _refuse(impossible: np.ndarray, interval: Interval, mask: Any, label: str) -> None:
    if mask is not None:
        counted = tf.get_static_value(tf.convert_to_tensor(mask))
        impossible = impossible & (True if counted is None else counted)
    if impossible.any():
        index = tuple(int(i) for i in np.argwhere(impossible)[0])
        raise ValueError(
            f"{label}: given {interval.low[index]} to {interval.high[index]} at "
            f"{index}, wanted an interval with values of the distribution"
        )
