"""What all engines share: a model's variables on some devices, and its step."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.training import state
from experiments.training.model import Model
from experiments.training.optimizers import Optimizer
from experiments.training.topology import Topology
from experiments.training.train_step import StepSettings, step_seed


class Engine(abc.ABC):
    """The variables of a model in training on some devices, and its step.

    Weights are float32.  Optimizer slots are sharded like their weights.  The same seed
    and batches give the same losses on every engine and topology.

    A subclass says how a variable is created, where its local copies are, how a batch
    goes to the devices, and what `_train_step` and `_evaluation_step` compute there.
    """

    compiles_whole = False  # whether XLA compiles these two as a whole, if asked to

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        devices: Sequence[str],
    ) -> None:
        """devices: of this process, "GPU:0" and so on."""
        self.model, self.optimizer = model, optimizer
        self.topology, self.settings = topology, settings
        self._devices = list(devices)
        self._specs = state.variable_specs(
            model, optimizer, ema=settings.ema_decay is not None
        )
        self._variables: dict[str, Any] = {}
        jit_compile = self.compiles_whole and settings.jit_compile
        self._train, self._evaluate = (
            tf.function(function, jit_compile=jit_compile, autograph=False)
            for function in (self._train_step, self._evaluation_step)
        )

    @abc.abstractmethod
    def _create(self, name: str, value: np.ndarray) -> Any:
        """The variable of this name on all local devices that keep it."""

    @abc.abstractmethod
    def _local_copies(self) -> Iterator[tuple[str, str, Any]]:
        """Name, device and variable of every copy on this process's devices."""

    @abc.abstractmethod
    def _inputs(self, batch: Mapping[str, np.ndarray], seed: np.ndarray) -> Any:
        """The arguments of both functions: the batch on its devices, and the seed."""

    @abc.abstractmethod
    def _train_step(self, *inputs: Any) -> dict[str, tf.Tensor]:
        """Updates the variables; returns what `step` does."""

    @abc.abstractmethod
    def _evaluation_step(self, *inputs: Any) -> dict[str, tf.Tensor]:
        """Returns what `evaluate` does."""

    def initialize(self, seed: int) -> None:
        """Creates the variables: random weights and state by `seed`, zero slots."""
        for name, spec in self._specs.items():
            value = state.initial_value(spec, self.model, seed)
            self._variables[name] = self._create(name, value)

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
        return self._train(*self._inputs(batch, step_seed(seed, step_index)))

    def evaluate(
        self, batch: Mapping[str, np.ndarray], batch_index: int, seed: int
    ) -> dict[str, Any]:
        """The metrics of `step` without gradient_norm, of the EMA if there is one.

        No variable changes, and there is no dropout.
        """
        return self._evaluate(*self._inputs(batch, step_seed(seed, batch_index)))

    def read_variables(self) -> dict[str, np.ndarray]:
        """Every variable, unsharded, by name: weights/..., slots/..., ema/...,
        state/... and step.
        """
        first = {}
        for name, _, variable in self._local_copies():
            first.setdefault(name, variable)
        return {name: first[name].numpy() for name in self._specs}

    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets every variable.  Raises ValueError that names what does not fit."""
        state.check_arrays(self._specs, arrays, self.model)
        for name, _, variable in self._local_copies():
            # np.array copies: TensorFlow may share the caller's memory otherwise.
            variable.assign(np.array(arrays[name]))

    def bytes_per_device(self) -> dict[str, int]:
        """Bytes of the variables on each of this process's devices."""
        sizes = dict.fromkeys(self._devices, 0)
        for _, device, variable in self._local_copies():
            sizes[device] += variable.shape.num_elements() * variable.dtype.size
        return sizes

    def _loss_inputs(self, *, ema: bool) -> dict[str, tf.Tensor]:
        """The values of weights (or averages) and state, by the names of the loss."""
        ema = ema and self.settings.ema_decay is not None
        names = state.loss_inputs(self.model, ema=ema)
        return {
            name: self._variables[full].read_value() for name, full in names.items()
        }
