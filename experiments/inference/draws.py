"""What a sampler returns."""

from typing import NamedTuple

import numpy as np


class Draws(NamedTuple):
    """What a system's sampling call hands back."""

    values: np.ndarray  # [chains, draws, dim]
    leapfrogs: np.ndarray  # [chains, draws] int: gradients taken, the first not counted
    seconds: float | None = None  # by the system's own clock, where the call does more
    gradients: int | None = (
        None  # gradients computed, where lock-step chains waste some
    )


def gradients_computed(leapfrogs: np.ndarray) -> int:
    """The gradients that chains in lock-step cost, those of waiting chains included.

    leapfrogs: [chains, draws], the useful ones.
    """
    return int(leapfrogs.shape[0] * leapfrogs.max(axis=0).sum())
