"""Medians and ranges over rounds, ratios taken within a round, and targets."""

import statistics
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Spread(NamedTuple):
    """Lowest, median and highest value over the rounds."""

    low: float
    median: float
    high: float


class Outcome(NamedTuple):
    """How a target came out."""

    claim: str
    target: str  # "at most 1.02x"
    measured: Spread | None
    reached: bool  # the median decides; False where nothing was measured
    reason: str  # why it was not measured, or only in part; "" where it was


def spread(values: Iterable[float]) -> Spread:
    """Lowest, median and highest of at least one value."""
    ordered = sorted(values)
    return Spread(ordered[0], statistics.median(ordered), ordered[-1])


def spread_or_none(values: Iterable[float | None]) -> Spread | None:
    """The spread of the values that are there, None where none is."""
    present = [value for value in values if value is not None]
    return spread(present) if present else None


def ratio(over: Mapping[int, float], under: Mapping[int, float]) -> Spread | None:
    """Of two systems' values by round, within each round; None without a common one.

    The systems take turns within a round, so a machine that slows down from round to
    round changes both sides of a ratio alike.
    """
    return spread_or_none(over[i] / under[i] for i in over.keys() & under.keys())


def at_most(claim: str, bound: float, measured: Spread | None, reason: str) -> Outcome:
    """Whether a ratio's median is within `bound`.

    reason: why there is no ratio, where there is none; "" means no common round.
    """
    reached = measured is not None and measured.median <= bound
    return _outcome(claim, f"at most {bound:g}x", measured, reached, reason)


def at_least(
    claim: str,
    bound: float,
    measured: Spread | None,
    reason: str,
    *,
    percent: bool = False,
) -> Outcome:
    """Whether a ratio's median, or a share's, is no less than `bound`."""
    reached = measured is not None and measured.median >= bound
    shown = f"at least {bound:.0%}" if percent else f"at least {bound:g}x"
    return _outcome(claim, shown, measured, reached, reason)


def _outcome(
    claim: str, target: str, measured: Spread | None, reached: bool, reason: str
) -> Outcome:
    if measured is None:
        return Outcome(claim, target, None, False, reason or "no common round")
    return Outcome(claim, target, measured, reached, "")
