"""Times of two calls taken in turns, in one process."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def in_turns(
    first: Callable[[], Any],
    second: Callable[[], Any],
    *,
    num_turns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The seconds of each call: [num_turns] of each.

    Each is called once before the clock starts, and each begins every other turn.  A
    call ends when its result, tensors, has numbers.
    """
    calls = (first, second)
    seconds = np.zeros([2, num_turns])
    for call in calls:
        _finish(call())
    for turn in range(num_turns):
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            _finish(calls[which]())
            seconds[which, turn] = time.perf_counter() - began
    return seconds[0], seconds[1]


def ratio(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """The median of the ratios of one turn, the quartiles, and that of the fastest."""
    low, middle, high = np.quantile(ours / theirs, [0.25, 0.5, 0.75])
    return {
        "ratio": float(middle),
        "ratio_quartile_1": float(low),
        "ratio_quartile_3": float(high),
        "ratio_of_fastest": float(ours.min() / theirs.min()),
    }


def _finish(result: Any) -> None:
    result.numpy()
