"""What a warm-up is given, what it carries from chunk to chunk, and what it finds."""

import dataclasses
from typing import Any, NamedTuple, Protocol

import numpy as np

from experiments.inference import metric, step_size
from experiments.inference.metric import KINDS, Kind, Moments
from experiments.inference.settings import MAX_DEPTH, check_count
from experiments.inference.step_size import StepSize


class Kernel(Protocol):
    """The compiled sampler, as far as warm-up uses it.

    A state is where each chain is: position [chains, dim], log_prob [chains] and grad
    [chains, dim]. The draws are an object with arrays of [chains, num, ...].
    """

    @property
    def num_chains(self) -> int:
        """The number of chains."""

    @property
    def dim(self) -> int:
        """The number of coordinates."""

    @property
    def first_chain(self) -> int:
        """The number of the first chain."""

    @property
    def keep_grads(self) -> bool:
        """Whether the draws come with their gradients."""

    def density_at(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log prob and the gradient at a position [dim], finite or not."""

    def run(
        self,
        state: Any,
        *,
        first_draw: int,
        num_draws: int,
        step: StepSize,
        scale: np.ndarray,
        max_depth: int,
        adapting: bool,
        target_accept: float,
        seed: np.ndarray,
    ) -> tuple[Any, StepSize, Any]:
        """The state, the step sizes and the draws after `num_draws` transitions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupSettings:
    """What is adapted before the draws that are kept, and from what it begins.

    Raises ValueError, naming the parameter, for a value of another type or range.
    """

    num_warmup: int = 1000  # draws of each chain
    target_accept: float = 0.8  # mean acceptance probability
    metric: Kind = "diagonal"
    pooled: bool | None = None  # one metric for all chains; None: from 8 chains on
    max_depth: int = 10
    # None: a search that begins at 1.  Without warm-up, the step size that draws have.
    step_size: float | None = None
    inverse_mass: Any = None  # to begin with; None: the identity.  See metric.to_scale

    def __post_init__(self) -> None:
        check_count("num_warmup", self.num_warmup, lowest=0)
        check_count("max_depth", self.max_depth, highest=MAX_DEPTH)
        if self.metric not in KINDS:
            raise ValueError(f"metric: given {self.metric!r}, wanted {KINDS}")
        if self.pooled not in (None, True, False):
            raise ValueError(f"pooled: given {self.pooled!r}, wanted a bool or None")
        _check_number("target_accept", self.target_accept, 0.0, 1.0)
        if self.step_size is not None:
            low, high = step_size.LOWEST, step_size.HIGHEST
            _check_number("step_size", self.step_size, low, high)
        elif self.num_warmup == 0:
            raise ValueError("step_size: given None, wanted one without warm-up")

    def pools(self, num_chains: int) -> bool:
        """Whether `num_chains` chains share one metric."""
        if self.pooled is None:
            return num_chains >= metric.POOLED_FROM
        return self.pooled


class WarmupState(NamedTuple):
    """All that a warm-up carries from one chunk to the next, as NumPy arrays."""

    num_done: np.ndarray  # scalar int64, draws of each chain
    position: np.ndarray  # [chains, dim]
    log_prob: np.ndarray  # [chains]
    grad: np.ndarray  # [chains, dim]
    step: StepSize  # of [chains] float64 each
    scale: np.ndarray  # [1 or chains, dim], dense [1 or chains, dim, dim]
    moments: Moments  # of this window's draws so far
    # In force at the beginning of each window that a new metric begins, NaN for those
    # to come: [windows, chains], and [windows, ...] of the scale's shape.
    step_sizes: np.ndarray
    scales: np.ndarray
    leapfrogs: np.ndarray  # [chains] int64, of all transitions
    divergences: np.ndarray  # [chains] int64, transitions
    other_gradients: np.ndarray  # scalar int64, of each chain, for starts and searches
    seconds: np.ndarray  # scalar float64


class Warmup(NamedTuple):
    """What a warm-up found, and what it took."""

    step_size: np.ndarray  # [chains] float64, for the draws to keep
    inverse_mass: np.ndarray  # [1 or chains, dim], dense [1 or chains, dim, dim]
    scale: np.ndarray  # its square root, as the kernel takes it: see metric.py
    position: np.ndarray  # [chains, dim], from which the draws to keep begin
    log_prob: np.ndarray  # [chains]
    grad: np.ndarray  # [chains, dim]
    first_draws: np.ndarray  # [windows] int64, where each metric came into force
    step_sizes: np.ndarray  # [windows, chains], from which each window's adapted
    inverse_masses: np.ndarray  # [windows, ...]
    leapfrogs: np.ndarray  # [chains] int64, of all transitions
    divergences: np.ndarray  # [chains] int64, transitions
    other_gradients: int  # of each chain, for starts and step-size searches
    seconds: float


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    """Raises ValueError unless `value` is a number between `low` and `high`."""
    is_number = isinstance(value, int | float | np.floating | np.integer)
    if not is_number or isinstance(value, bool) or not low < value < high:
        raise ValueError(
            f"{name}: given {value!r}, wanted a number above {low:g} and below {high:g}"
        )
