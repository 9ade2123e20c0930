"""What compared systems take, return and raise."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class SystemDraws(NamedTuple):
    """What one call of a compared sampler returns."""

    values: np.ndarray  # [chains, draws, dim]
    leapfrogs: np.ndarray  # [chains, draws] int, gradients without each chain's first
    seconds: float | None = None  # by the system's own clock, where it has one
    gradients: int | None = None  # where lock-step chains compute more than they use


class PosteriorProblem(NamedTuple):
    """A posterior of the benchmark, as every system takes it."""

    name: str  # by which a system finds its own program
    data: Mapping[str, np.ndarray]
    stan: str  # the program in Stan's language
    compared: tuple[str, ...]  # parameters and computed values to return


class Protocol(NamedTuple):
    """What every system is given; its warm-up is its own."""

    num_chains: int = 4
    num_warmup: int = 1000  # draws of each chain
    num_draws: int = 1000
    target_accept: float = 0.8
    max_depth: int = 10


class PosteriorRun(NamedTuple):
    """What one run of a system returns, from a cold start."""

    values: Mapping[str, np.ndarray]  # by name, [chains, draws, ...]
    leapfrogs: np.ndarray  # [chains, draws] int, those that a chain used
    diverged: np.ndarray  # [chains, draws] bool
    warmup_leapfrogs: int  # of all chains
    # "build": from a program to what samples; "warmup"; "sampling".  Seconds of the
    # whole machine, without cores that had no chain left.
    seconds: Mapping[str, float]
    settings: Mapping[str, Any] = {}  # in force, as the system reports them
    # What a cold start takes besides the time of this process: more where a program
    # was compiled before, less where the run was made twice.
    cold_start_difference: float = 0.0


class VariationalProblem(NamedTuple):
    """A posterior to which every system fits a mean-field normal guide."""

    name: str  # by which a system finds its own program
    data: Mapping[str, np.ndarray]
    num_steps: int
    batch_size: int | None  # rows a step; None: all
    learning_rate: float = 0.01  # Adam's
    scale: float = 0.1  # standard deviations to begin with; means begin at 0
    seed: int = 0


class VariationalRun(NamedTuple):
    """What a fit returns: the guide, on the unconstrained scale, and its time."""

    means: Mapping[str, np.ndarray]  # by the posterior's names
    deviations: Mapping[str, np.ndarray]
    seconds: Mapping[str, float]  # "build", and "steps": of `num_steps`


class AdamSettings(NamedTuple):
    """Adam at a constant rate: Kingma and Ba (2015), algorithm 1."""

    rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


class Training(NamedTuple):
    """A model's training as a system does it, compiled or about to be."""

    # Takes a step on images [batch, height, width, 3] int32, and returns an image's
    # mean nats before it.
    step: Callable[[np.ndarray], float]
    weights: Callable[[], dict[str, np.ndarray]]  # as they are now, by name


class Unavailable(Exception):
    """A system that cannot run here, for want of a compiler, say; the text says why."""


Draws = Callable[[int], Mapping[str, np.ndarray]]  # a step's random numbers, by name
