"""The clock of the comparison: building, the first call and later calls, apart."""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Timing(NamedTuple):
    """Seconds on the monotonic clock: every call is kept and nothing is averaged."""

    build: float  # tracing and XLA, or Stan's C++; shown beside the speed, not in it
    first: float  # the first call: allocation and autotuning
    calls: list[float]  # the calls that count, in order


def time_calls(prepare: Callable[[], Callable[[], Any]], num_calls: int) -> Timing:
    """Times `prepare()`, then 1 + `num_calls` calls of the function it returns.

    That function must end in NumPy: a device that is still working is not timed.
    Raises ValueError when `num_calls` is negative.
    """
    if num_calls < 0:
        raise ValueError(f"num_calls: given {num_calls}, wanted 0 or more")
    marks = [time.perf_counter()]
    run = prepare()
    marks.append(time.perf_counter())
    for _ in range(1 + num_calls):
        run()
        marks.append(time.perf_counter())
    build, first, *calls = (b - a for a, b in itertools.pairwise(marks))
    return Timing(build, first, calls)
