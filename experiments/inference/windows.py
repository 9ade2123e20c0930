"""The windows of a warm-up: when the step size alone adapts, and when the metric."""

from typing import NamedTuple

from experiments.inference.settings import check_count

FIRST_PHASE = 75  # draws on the way from the start, of which no metric is estimated
BASE_WINDOW = 25  # draws of the first estimate; each later window has twice as many
LAST_PHASE = 50  # draws with the last metric, for the final step size
SHORTEST = 20  # of a warm-up that estimates a metric


class Window(NamedTuple):
    """Warm-up draws `first` to `end` - 1, numbered from 0."""

    first: int
    end: int
    estimates_metric: bool  # from its draws; the step size then starts anew


def windows(num_warmup: int) -> list[Window]:
    """Stan's windows for `num_warmup` draws, in order: none for 0.

    A first phase of 75 draws adapts the step size.  Then windows of 25, 50, 100 ...
    draws estimate the metric; the last takes all that remain before a final phase of
    50 draws.  A warm-up of fewer than 150 draws has phases of 15, 75 and 10 %, and one
    of fewer than 20 estimates no metric.

    Stan Reference Manual, "Automatic parameter tuning"; windowed_adaptation.hpp.

    Raises ValueError unless `num_warmup` is a whole number, 0 or more.

    >>> [(window.first, window.end) for window in windows(1000)]
    [(0, 75), (75, 100), (100, 150), (150, 250), (250, 450), (450, 950), (950, 1000)]
    """
    check_count("num_warmup", num_warmup, lowest=0)
    if num_warmup < SHORTEST:
        return [Window(0, num_warmup, False)] if num_warmup else []
    first, size, last = FIRST_PHASE, BASE_WINDOW, LAST_PHASE
    if first + size + last > num_warmup:
        first, last = int(0.15 * num_warmup), int(0.1 * num_warmup)
        size = num_warmup - first - last
    stop = num_warmup - last
    found = [Window(0, first, False)]
    while first < stop:
        end = first + size
        size *= 2
        # Stan looks ahead: a window that the next one would not fit behind takes all.
        # It does not ask this of the first.
        if len(found) > 1 and end + size > stop:
            end = stop
        found.append(Window(first, end, True))
        first = end
    return [*found, Window(stop, num_warmup, False)]
