"""The one interface that experiments see: a model's training, wherever it runs."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.training.checks import check_bool, check_count, check_number
from experiments.training.model import Model
from experiments.training.optimizers import Optimizer
from experiments.training.topology import Topology

COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How a step is computed, the same on every engine.

    Raises ValueError for a value that no step can be computed with.
    """

    clip_norm: float | None = None  # of the gradient over all weights
    # Of the average of weights that evaluation uses; less at first, so that it forgets
    # the random ones (`train_step.ema_decay_at`).
    ema_decay: float | None = None
    num_microbatches: int = 1  # parts a batch is computed in, their gradients added
    compute_dtype: str = "float32"  # or "bfloat16": of weights and floats in the loss
    jit_compile: bool = False

    def __post_init__(self) -> None:
        check_number("clip_norm", self.clip_norm, above=0, optional=True)
        check_number("ema_decay", self.ema_decay, at_least=0, below=1, optional=True)
        check_count("num_microbatches", self.num_microbatches)
        check_bool("jit_compile", self.jit_compile)
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise ValueError(
                f"compute_dtype: given {self.compute_dtype!r}, "
                f"wanted one of {COMPUTE_DTYPES}"
            )


class Engine(abc.ABC):
    """A model being trained on some devices: what it holds, and a step of it.

    Weights are float32, slots of the optimizer are sharded as their weights are, and
    the same seed and batches give the same losses on every engine and topology.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.topology, self.settings = topology, settings

    @abc.abstractmethod
    def initialize(self, seed: int) -> None:
        """Makes the variables, weights and state drawn from `seed`, slots zero."""

    @abc.abstractmethod
    def step(
        self, batch: Mapping[str, np.ndarray], step_index: int, seed: int
    ) -> dict[str, Any]:
        """One update on a batch, which is this process's share of the global one.

        step_index: from 0.  Random numbers depend on the seed, this index and each
          example's place in the global batch.

        Returns loss (mean nats of an example), gradient_norm, and the mean of each of
        the model's numbers: scalar tensors of the whole batch, equal on every process.
        """

    @abc.abstractmethod
    def evaluate(
        self, batch: Mapping[str, np.ndarray], batch_index: int, seed: int
    ) -> dict[str, Any]:
        """What `step` returns, without the norm, of the EMA where one is kept.

        Nothing changes, and dropout drops nothing.
        """

    @abc.abstractmethod
    def read_variables(self) -> dict[str, np.ndarray]:
        """Every variable whole, by name: weights/..., slots/..., ema/..., step, and
        state/... of a model that has it.
        """

    @abc.abstractmethod
    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets every variable; ValueError names what is missing, odd or misshapen."""

    @abc.abstractmethod
    def bytes_per_device(self) -> dict[str, int]:
        """Bytes of all variables on each of this process's devices, by device."""
