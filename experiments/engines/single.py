"""Training on one device: a plain tf.function, compiled by XLA if asked."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from experiments.engines import base
from experiments.training import train_step
from experiments.training.engine import Engine
from experiments.training.model import Tensors


class SingleDevice(Engine):
    """An engine of one device, such as "GPU:0"."""

    compiles_whole = True

    def _create(self, name: str, value: np.ndarray) -> tf.Variable:
        with tf.device(self._devices[0]):
            return tf.Variable(value, trainable=False)

    def _local_copies(self) -> Iterator[tuple[str, str, tf.Variable]]:
        for name, variable in self._variables.items():
            yield name, self._devices[0], variable

    def _inputs(
        self, batch: Mapping[str, np.ndarray], seed: np.ndarray
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        (batch,) = base.shard_batch(
            batch, self._devices, num_microbatches=self.settings.num_microbatches
        )
        with tf.device(self._devices[0]):
            return batch, tf.convert_to_tensor(seed)

    def _train_step(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = self._loss_inputs(ema=False)
        metrics, grads, statistics = self._sums(weights, batch, seed, gradients=True)
        state = train_step.next_state(self.model, weights, statistics)
        norm = base.update_variables(
            self.optimizer, self.settings, self._variables, grads, next_state=state
        )
        return {**metrics, "gradient_norm": norm}

    def _evaluation_step(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = self._loss_inputs(ema=True)
        return self._sums(weights, batch, seed, gradients=False).metrics

    def _sums(
        self, weights: Tensors, batch: Tensors, seed: tf.Tensor, *, gradients: bool
    ) -> train_step.LossAndGradients:
        first, model = tf.constant(0), self.model
        return base.loss_and_gradients(
            model, self.settings, weights, batch, seed, first, gradients=gradients
        )
