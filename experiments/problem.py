"""The contracts of compared systems, NumPy only.

A sampler is given a problem and gives draws; a training is given weights and takes
steps.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A Bayesian logistic regression, its data and where chains begin.

    The prior is N(0, I), and labels ~ Bernoulli(logits = features @ coeffs).

    Raises ValueError when the arrays do not fit each other.
    """

    name: str  # "covertype"
    source: str  # where the data came from; a stand-in says that it is one
    features: np.ndarray  # [rows, dim] float32
    labels: np.ndarray  # [rows] int32, 0 or 1
    start: np.ndarray  # [dim] float32, where every chain of every system begins

    def __post_init__(self) -> None:
        rows, dim = self.features.shape
        if self.labels.shape != (rows,):
            raise ValueError(
                f"{self.name}: labels have shape {self.labels.shape}, "
                f"features {self.features.shape} want ({rows},)"
            )
        if self.start.shape != (dim,):
            raise ValueError(
                f"{self.name}: start has shape {self.start.shape}, "
                f"features {self.features.shape} want ({dim},)"
            )

    @property
    def rows(self) -> int:
        """The number of observations."""
        return int(self.features.shape[0])

    @property
    def dim(self) -> int:
        """The number of coefficients, the intercept's included."""
        return int(self.features.shape[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """What every sampler is told: a fixed step size, an identity metric, no warm-up."""

    step_size: float  # leapfrog step, in units of the coefficients
    max_depth: int = 10  # doublings at most: 2**max_depth - 1 leapfrogs a draw
    num_results: int = 5  # draws, which is trajectories, a chain
    num_chains: int = 1

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size: given {self.step_size}, wanted above 0")
        for name in ("max_depth", "num_results", "num_chains"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}: given {getattr(self, name)}, wanted 1 or more"
                )


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
    """A system that cannot run here (not installed, no compiler); the text says why."""
