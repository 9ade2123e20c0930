"""Training on one device: a plain tf.function, by XLA where asked for."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from experiments.training import train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.state import (
    check_arrays,
    initial_value,
    loss_inputs,
    variable_specs,
)
from experiments.training.topology import Topology


class SingleDevice(Engine):
    """A runtime of one device, "GPU:0" say."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        device: str,
    ) -> None:
        super().__init__(model, optimizer, topology, settings)
        self._device = device
        self._kept = variable_specs(
            model, optimizer, ema=settings.ema_decay is not None
        )
        self._held: dict[str, tf.Variable] = {}
        self._in_place = train_step.applies_in_place(optimizer, settings)
        self._step = tf.function(
            self._update, jit_compile=settings.jit_compile, autograph=False
        )
        self._evaluate = tf.function(
            self._stats, jit_compile=settings.jit_compile, autograph=False
        )

    def initialize(self, seed: int) -> None:
        with tf.device(self._device):
            self._held = {
                name: tf.Variable(
                    initial_value(variable, self.model, seed), trainable=False
                )
                for name, variable in self._kept.items()
            }

    def step(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> dict[str, tf.Tensor]:
        return self._step(*self._placed(batch, number, seed))

    def evaluate(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> dict[str, tf.Tensor]:
        return self._evaluate(*self._placed(batch, number, seed))

    def read_variables(self) -> dict[str, np.ndarray]:
        return {name: held.numpy() for name, held in self._held.items()}

    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        check_arrays(self._kept, arrays, self.model)
        for name, held in self._held.items():
            # A copy: TensorFlow may otherwise go on in the caller's memory.
            held.assign(np.array(arrays[name]))

    def bytes_per_device(self) -> dict[str, int]:
        sizes = [
            held.shape.num_elements() * held.dtype.size for held in self._held.values()
        ]
        return {self._device: sum(sizes)}

    def _placed(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        train_step.check_batch(
            batch, num_shards=1, num_microbatches=self.settings.num_microbatches
        )
        with tf.device(self._device):
            return {
                name: tf.convert_to_tensor(array) for name, array in batch.items()
            }, tf.convert_to_tensor(train_step.step_seed(seed, number))

    def _sums(
        self, weights: Tensors, batch: Tensors, seed: tf.Tensor, *, gradients: bool
    ) -> train_step.LossAndGradients:
        size = next(iter(batch.values())).shape[0]
        return train_step.accumulate_gradients(
            lambda part, first: train_step.loss_and_gradients(
                self.model,
                self.settings,
                weights,
                part,
                BatchRng(seed, first, training=gradients),
                num_examples=size,
                gradients=gradients,
            ),
            batch,
            tf.constant(0),
            self.settings.num_microbatches,
        )

    def _update(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = self._read(ema=False)
        stats, grads, statistics = self._sums(weights, batch, seed, gradients=True)
        state = train_step.next_state(self.model, weights, statistics)
        given = (self.optimizer, self.settings)
        if self._in_place:
            norm = train_step.apply_gradients_in_place(*given, self._held, grads)
            after = state
        else:
            kept = {name: held.read_value() for name, held in self._held.items()}
            after, norm = train_step.apply_gradients(*given, kept, grads)
            after |= state
        for name, held in self._held.items():
            if name in after:
                held.assign(after[name])
        return {**stats, "gradient_norm": norm}

    def _stats(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = self._read(ema=self.settings.ema_decay is not None)
        return self._sums(weights, batch, seed, gradients=False).metrics

    def _read(self, *, ema: bool) -> dict[str, tf.Tensor]:
        """What the loss is given."""
        given = loss_inputs(self.model, ema=ema)
        return {name: self._held[full].read_value() for name, full in given.items()}
