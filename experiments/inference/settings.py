"""What every sampler is configured with, and checks of such values."""

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.inference.memory import memory_bytes

MAX_DEPTH = 30  # a trajectory's leapfrogs are counted in int32
STATE_ARRAYS = 16  # a chain's in a transition, besides two for each doubling
STATISTICS_BYTES = 33  # per draw, besides its coordinates: see Samples


def check_count(
    name: str,
    value: Any,
    *,
    lowest: int = 1,
    highest: int | None = None,
    why: str = "",
) -> None:
    """Raises ValueError unless `value` is a whole number, `lowest` or more.

    highest: the largest value allowed; None: any.
    why: what the message says of that bound.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < lowest or (highest is not None and value > highest):
        bound = f"{lowest}" if highest is None else f"{lowest} to {highest}"
        raise ValueError(
            f"{name}: given {value!r}, wanted a whole number from {bound}{why}"
        )


def suggesting[**P, R](fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, whose TypeError for an unknown keyword names the nearest one it has."""
    known = [*inspect.signature(fn).parameters]

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(
                    f"{fn.__name__}: given {name!r}, wanted some of {known}{hint}"
                )
        return fn(*args, **kwargs)

    return call


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """A fixed step size, the identity metric, and no warm-up.

    The step size is yours to choose: nothing is adapted.

    Raises ValueError, naming the parameter, for a value of another type or out of
    range, and for more draws than this machine's memory holds.

    >>> SamplerSettings(step_size=0.1, num_chains=4, num_results=500).max_depth
    10
    >>> SamplerSettings(step_size=-0.1)
    Traceback (most recent call last):
    ValueError: step_size: given -0.1, wanted a finite number above 0, as float32
    """

    step_size: float  # leapfrog step, in units of the unconstrained coordinates
    max_depth: int = 10  # doublings at most: 2**max_depth - 1 leapfrogs a draw
    num_results: int = 5  # draws of each chain
    num_chains: int = 1

    def __post_init__(self) -> None:
        step = self.step_size
        is_number = isinstance(step, int | float | np.floating | np.integer)
        bounds = np.finfo(np.float32)
        fits = is_number and float(bounds.tiny) <= step <= float(bounds.max)
        if not fits or isinstance(step, bool):
            raise ValueError(
                f"step_size: given {step!r}, wanted a finite number above 0, as float32"
            )
        check_count("max_depth", self.max_depth, highest=MAX_DEPTH)
        check_count("num_results", self.num_results)
        check_count("num_chains", self.num_chains)
        self.check_memory(dim=1)

    def check_memory(self, *, dim: int) -> None:
        """Raises ValueError when the memory cannot hold the draws.

        dim: the number of coordinates, float32 each.
        """
        num_draws = int(self.num_chains) * int(self.num_results)
        needed = num_draws * (4 * dim + STATISTICS_BYTES)
        arrays = STATE_ARRAYS + 2 * int(self.max_depth)
        needed += int(self.num_chains) * arrays * 4 * dim
        memory = memory_bytes()
        if needed > memory:
            counts = {"num_results": self.num_results, "num_chains": self.num_chains}
            name = max(counts, key=lambda name: counts[name])
            raise ValueError(
                f"{name}: given {counts[name]}, wanted fewer: {num_draws} draws take "
                f"{needed:,} bytes, and this machine has {memory:,}"
            )
