"""Data parallelism by tf.distribute: the batch is cut over the devices.

Every device has all variables and a shard of the batch.  Gradients are all-reduced in a
few buckets, and then each device updates its own copy of the variables: the sums are
the same numbers everywhere, so nothing else is communicated.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.engines import base
from experiments.training import train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.topology import Topology

# Gradients are all-reduced in buckets of at least this size, the last weights' first: a
# bucket may go while the rest of the backward pass is computed.  On two cores, with
# 13 MB of gradients, this was 1 to 2 % faster a step than one bucket for all.
BUCKET_BYTES = 4 * 2**20


class Replicated(Engine):
    """An engine of the replicas of a strategy, those of other processes among them."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        strategy: tf.distribute.Strategy,
    ) -> None:
        self._strategy = strategy
        devices = map(_short_name, strategy.extended.worker_devices)
        super().__init__(model, optimizer, topology, settings, list(devices))
        # XLA compiles what is between collectives, never a collective.
        self._gradients, self._metrics, self._apply = (
            tf.function(function, jit_compile=settings.jit_compile, autograph=False)
            for function in (
                functools.partial(self._local_sums, True),
                functools.partial(self._local_sums, False),
                functools.partial(train_step.apply_gradients, optimizer, settings),
            )
        )

    def _create(self, name: str, value: np.ndarray) -> tf.Variable:
        with self._strategy.scope():  # a variable that each replica writes for itself
            return tf.Variable(
                value,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    def _local_copies(self) -> Iterator[tuple[str, str, tf.Variable]]:
        for name, variable in self._variables.items():
            for copy in self._strategy.experimental_local_results(variable):
                yield name, _short_name(copy.device), copy

    def _inputs(
        self, batch: Mapping[str, np.ndarray], seed: np.ndarray
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        shards = base.shard_batch(
            batch,
            self._strategy.extended.worker_devices,
            num_microbatches=self.settings.num_microbatches,
        )

        def shard(name: str, context: Any) -> tf.Tensor:
            return shards[context.replica_id_in_sync_group % len(shards)][name]

        distribute = self._strategy.experimental_distribute_values_from_function
        return {
            name: distribute(functools.partial(shard, name)) for name in batch
        }, tf.convert_to_tensor(seed)

    def _train_step(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        sums, apply = self._traced(self._gradients, batch), None
        if not train_step.applies_in_place(self.optimizer, self.settings):
            specs = {n: tf.TensorSpec(v.shape, v.dtype) for n, v in self._specs.items()}
            apply = self._apply.get_concrete_function(specs, self._weight_specs())

        def replica_step(batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            weights = self._loss_inputs(ema=False)
            metrics, grads, statistics = self._all_reduced(sums, weights, batch, seed)
            norm = base.update_variables(
                self.optimizer,
                self.settings,
                self._variables,
                grads,
                next_state=train_step.next_state(self.model, weights, statistics),
                apply_gradients=apply,
            )
            return {**metrics, "gradient_norm": norm}

        return self._first(self._strategy.run(replica_step, (batch, seed)))

    def _evaluation_step(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        sums = self._traced(self._metrics, batch)

        def replica_step(batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            weights = self._loss_inputs(ema=True)
            return self._all_reduced(sums, weights, batch, seed).metrics

        return self._first(self._strategy.run(replica_step, (batch, seed)))

    def _traced(self, sums: Callable, batch: Tensors) -> Callable:
        """`sums`, traced once for all devices.

        A function that replicas call first is traced again for each of their devices.
        """
        arrays = {name: self._local(array)[0] for name, array in batch.items()}
        state = {n: tf.TensorSpec(s.shape) for n, s in self.model.state.items()}
        return sums.get_concrete_function(
            self._weight_specs() | state,
            {n: tf.TensorSpec(a.shape, a.dtype) for n, a in arrays.items()},
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
        )

    def _weight_specs(self) -> dict[str, tf.TensorSpec]:
        return {n: tf.TensorSpec(w.shape) for n, w in self.model.weights.items()}

    def _local(self, value: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return self._strategy.experimental_local_results(value)

    def _first(self, results: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: self._local(value)[0] for name, value in results.items()}

    def _all_reduced(
        self, sums: Callable, weights: Tensors, batch: Tensors, seed: tf.Tensor
    ) -> train_step.LossAndGradients:
        """The sums over the global batch, in every replica."""
        context = tf.distribute.get_replica_context()
        size = next(iter(batch.values())).shape[0]
        first = tf.cast(context.replica_id_in_sync_group, tf.int32) * size
        options = tf.distribute.experimental.CommunicationOptions(
            bytes_per_pack=BUCKET_BYTES
        )
        local = sums(weights, batch, seed, first)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, local, options)

    def _local_sums(
        self,
        gradients: bool,
        weights: Tensors,
        batch: Tensors,
        seed: tf.Tensor,
        first_example: tf.Tensor,
    ) -> train_step.LossAndGradients:
        return base.loss_and_gradients(
            self.model,
            self.settings,
            weights,
            batch,
            seed,
            first_example,
            num_replicas=self._strategy.num_replicas_in_sync,
            gradients=gradients,
        )


def _short_name(device: str) -> str:
    spec = tf.DeviceSpec.from_string(device)
    return f"{spec.device_type}:{spec.device_index}"
