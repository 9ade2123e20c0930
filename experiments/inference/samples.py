"""What our samplers return, as NumPy arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Samples(NamedTuple):
    """The draws of every chain, in order, and the statistics of each transition."""

    draws: np.ndarray  # [chains, num, dim]
    log_prob: np.ndarray  # [chains, num]
    leapfrogs: np.ndarray  # [chains, num] int32, gradients taken
    depth: np.ndarray  # [chains, num] int32, doublings
    accept: np.ndarray  # [chains, num], mean acceptance probability
    diverged: np.ndarray  # [chains, num] bool
    energy: np.ndarray  # [chains, num], the Hamiltonian at the transition's start


def concatenate(parts: Sequence[Samples], axis: int) -> Samples:
    """The samples of several runs in one: more chains along axis 0, more draws along 1.

    Raises ValueError when there is no part.
    """
    if not parts:
        raise ValueError("parts: given none, wanted one or more")
    return Samples(
        *(np.concatenate(arrays, axis) for arrays in zip(*parts, strict=True))
    )


def gradients_computed(leapfrogs: np.ndarray) -> int:
    """The number of gradients that chains in lock-step compute.

    Every chain computes as many gradients as the longest trajectory of each draw.

    leapfrogs: [chains, draws], those that each chain uses.
    """
    return int(leapfrogs.shape[0] * leapfrogs.max(axis=0).sum())


def gradients_without_waiting(leapfrogs: np.ndarray) -> int:
    """The number of gradients that a tile of chains that do not wait computes.

    Every chain computes as many gradients as the one with the most leapfrogs in all.

    leapfrogs: [chains, draws], those that each chain uses, of all chains of one tile.
    """
    return int(leapfrogs.shape[0] * leapfrogs.sum(axis=1).max())
