"""The interface of engines: train a model, on whatever devices."""

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

    clip_norm: float | None = None  # of the gradient of all weights
    # Of the EMA of weights that evaluation uses; lower in the first steps, so that the
    # EMA forgets the initial weights (`train_step.ema_decay_at`).
    ema_decay: float | None = None
    num_microbatches: int = 1  # that run one after another; gradients are added
    compute_dtype: str = "float32"  # or "bfloat16": in the loss
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
    """The variables of a model in training on some devices, and its step.

    Weights are float32.  Optimizer slots are sharded like their weights.  The same seed
    and batches give the same losses on every engine and topology.
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
        """Creates the variables: random weights and state by `seed`, zero slots."""

    @abc.abstractmethod
    def step(
        self, batch: Mapping[str, np.ndarray], step_index: int, seed: int
    ) -> dict[str, Any]:
        """Updates the variables on a batch, this process's part of the global one.

        step_index: from 0.  Random numbers depend on the seed, this index and each
          example's index in the global batch.

        Returns loss (mean nats of an example), gradient_norm, and the mean of each of
        the model's metrics: scalar tensors of the global batch, the same on all
        processes.
        """

    @abc.abstractmethod
    def evaluate(
        self, batch: Mapping[str, np.ndarray], batch_index: int, seed: int
    ) -> dict[str, Any]:
        """The metrics of `step` without gradient_norm, of the EMA if there is one.

        No variable changes, and there is no dropout.
        """

    @abc.abstractmethod
    def read_variables(self) -> dict[str, np.ndarray]:
        """Every variable, unsharded, by name: weights/..., slots/..., ema/...,
        state/... and step.
        """

    @abc.abstractmethod
    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets every variable.  Raises ValueError that names what does not fit."""

    @abc.abstractmethod
    def bytes_per_device(self) -> dict[str, int]:
        """Bytes of the variables on each of this process's devices."""
