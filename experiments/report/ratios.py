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


def spread(values: Iterable[float | None]) -> Spread | None:
    """Lowest, median and highest of the values that are there; None where none is."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    return Spread(ordered[0], statistics.median(ordered), ordered[-1])


def ratio(over: Mapping[int, float], under: Mapping[int, float]) -> Spread | None:
    """Ratios of two systems' values within each round; None without a common one.

    The systems take turns within a round, so a machine that slows down from round to
    round changes both sides of a ratio alike.
    """
    return spread(over[i] / under[i] for i in over.keys() & under.keys())


def at_most(claim: str, bound: float, measured: Spread | None, reason: str) -> Outcome:
    """Whether a ratio's median is within `bound`.

    reason: why there is no ratio, where there is none; "" means no common round.
    """
    reached = measured is not None and measured.median <= bound
    reason = "" if measured else reason or "no common round"
    return Outcome(claim, f"at most {bound:g}x", measured, reached, reason)


def at_least(
    claim: str, bound: float, measured: Spread | None, reason: str, shown: str = ""
) -> Outcome:
    """Whether a median is no less than `bound`.

    shown: the bound as text, where it is not that of a ratio.
    """
    target = f"at least {shown or f'{bound:g}x'}"
    reached = measured is not None and measured.median >= bound
    outcome = at_most(claim, bound, measured, reason)
    return outcome._replace(target=target, reached=reached)
