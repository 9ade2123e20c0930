"""What compared systems take, return and raise."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class SystemDraws(NamedTuple):
    """What one call of a compared sampler returns."""

    values: np.ndarray  # [chains, draws, dim]
    leapfrogs: np.ndarray  # [chains, draws] int, gradients without each chain's first
    seconds: float | None = None  # by the system's own clock, where it has one
    gradients: int | None = None  # where lock-step chains compute more than they use


class AdamSettings(NamedTuple):
    """Adam at a constant rate: Kingma and Ba (2015), algorithm 1."""

    rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


class Training(NamedTuple):
    """A model's training as a system does it, compiled or about to be."""

    # Of images [batch, height, width, 3] int32: takes a step, and gives the mean nats
    # of an image before it.
    step: Callable[[np.ndarray], float]
    weights: Callable[[], dict[str, np.ndarray]]  # as they are now, by name


class Unavailable(Exception):
    """A system that cannot run here, for want of a compiler, say; the text says why."""


Draws = Callable[[int], Mapping[str, np.ndarray]]  # a step's random numbers, by name
