"""Training with the batch cut over devices, by tf.distribute.

Every device has all variables and a share of the batch.  Its gradients are summed with
the others' in a few buckets, and then each updates its own copy: the sums are the same
numbers everywhere, so nothing else has to travel.
"""

import functools
from collections.abc import Callable, Mapping

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

# Gradients travel in buckets of at least this, the last weights' first: a bucket may
# go while the rest of the backward pass is computed.  On two cores, with 13 MB of
# gradients, this was 1 to 2 % faster a step than one bucket for all.
BUCKET_BYTES = 4 * 2**20


class Replicated(Engine):
    """A runtime of a strategy's replicas, those of other processes among them."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        strategy: tf.distribute.Strategy,
    ) -> None:
        super().__init__(model, optimizer, topology, settings)
        self._strategy = strategy
        self._num_local = len(strategy.extended.worker_devices)
        self._kept = variable_specs(
            model, optimizer, ema=settings.ema_decay is not None
        )
        self._held: dict[str, tf.Variable] = {}
        self._in_place = train_step.applies_in_place(optimizer, settings)
        self._step = tf.function(self._run_step, autograph=False)
        self._evaluate = tf.function(self._run_evaluate, autograph=False)
        # XLA compiles what is between collectives, never a collective.
        compiled = settings.jit_compile
        self._gradients, self._stats, self._updated = (
            tf.function(function, jit_compile=compiled, autograph=False)
            for function in (
                functools.partial(self._local_sums, True),
                functools.partial(self._local_sums, False),
                self._local_update,
            )
        )

    def initialize(self, seed: int) -> None:
        with self._strategy.scope():
            # Variables that each replica writes for itself.
            self._held = {
                name: tf.Variable(
                    initial_value(variable, self.model, seed),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
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
        return {name: self._copies(name)[0].numpy() for name in self._held}

    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        check_arrays(self._kept, arrays, self.model)
        for name in self._held:
            for copy in self._copies(name):
                # A copy: TensorFlow may otherwise go on in the caller's memory.
                copy.assign(np.array(arrays[name]))

    def bytes_per_device(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in self._held:
            for copy in self._copies(name):
                spec = tf.DeviceSpec.from_string(copy.device)
                device = f"{spec.device_type}:{spec.device_index}"
                size = copy.shape.num_elements() * copy.dtype.size
                found[device] = found.get(device, 0) + size
        return found

    def _copies(self, name: str) -> tuple[tf.Variable, ...]:
        """This process's, one on each of its devices."""
        return self._strategy.experimental_local_results(self._held[name])

    def _placed(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The batch, each device given its own examples only, and the step's seed."""
        size = train_step.check_batch(
            batch,
            num_shards=self._num_local,
            num_microbatches=self.settings.num_microbatches,
        )
        share = size // self._num_local
        devices = self._strategy.extended.worker_devices

        def shares(array: np.ndarray) -> tf.Tensor:
            def of_replica(
                context: tf.distribute.experimental.ValueContext,
            ) -> tf.Tensor:
                local = context.replica_id_in_sync_group % self._num_local
                with tf.device(devices[local]):
                    # The identity moves integers too, which else stay where they are.
                    return tf.identity(array[local * share : (local + 1) * share])

            return self._strategy.experimental_distribute_values_from_function(
                of_replica
            )

        seed = tf.convert_to_tensor(train_step.step_seed(seed, number))
        return {name: shares(array) for name, array in batch.items()}, seed

    def _run_step(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        updated = None if self._in_place else self._once_updated()
        step = self._replica_step(self._once(self._gradients, batch), updated)
        return self._first(self._strategy.run(step, (batch, seed)))

    def _run_evaluate(self, batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        evaluate = self._replica_evaluate(self._once(self._stats, batch))
        return self._first(self._strategy.run(evaluate, (batch, seed)))

    # A function traced where replicas call it is traced for each of their devices anew.
    # These are traced once, outside of replicas and so for no device in particular.

    def _once(self, sums: Callable, batch: Tensors) -> Callable:
        arrays = {
            name: self._strategy.experimental_local_results(array)[0]
            for name, array in batch.items()
        }
        state = {n: tf.TensorSpec(s.shape) for n, s in self.model.state.items()}
        return sums.get_concrete_function(
            self._weight_specs() | state,
            {n: tf.TensorSpec(a.shape, a.dtype) for n, a in arrays.items()},
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
        )

    def _once_updated(self) -> Callable:
        kept = {n: tf.TensorSpec(v.shape, v.dtype) for n, v in self._kept.items()}
        return self._updated.get_concrete_function(kept, self._weight_specs())

    def _weight_specs(self) -> dict[str, tf.TensorSpec]:
        return {n: tf.TensorSpec(w.shape) for n, w in self.model.weights.items()}

    def _first(self, results: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            name: self._strategy.experimental_local_results(value)[0]
            for name, value in results.items()
        }

    def _replica_step(self, sums: Callable, updated: Callable | None) -> Callable:
        def step(batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            weights = self._read(ema=False)
            stats, grads, statistics = self._all(sums, weights, batch, seed)
            # Of the same sums, so every replica's own is the same.
            state = train_step.next_state(self.model, weights, statistics)
            if updated is None:
                norm = train_step.apply_gradients_in_place(
                    self.optimizer, self.settings, self._held, grads
                )
                after = state
            else:
                kept = {name: held.read_value() for name, held in self._held.items()}
                after, norm = updated(kept, grads)
                after = {**after, **state}
            for name, held in self._held.items():
                if name in after:
                    held.assign(after[name])
            return {**stats, "gradient_norm": norm}

        return step

    def _replica_evaluate(self, sums: Callable) -> Callable:
        def evaluate(batch: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            weights = self._read(ema=self.settings.ema_decay is not None)
            return self._all(sums, weights, batch, seed).metrics

        return evaluate

    def _read(self, *, ema: bool) -> dict[str, tf.Tensor]:
        """What the loss is given, in a replica."""
        given = loss_inputs(self.model, ema=ema)
        return {name: self._held[full].read_value() for name, full in given.items()}

    def _all(
        self, sums: Callable, weights: Tensors, batch: Tensors, seed: tf.Tensor
    ) -> train_step.LossAndGradients:
        """The global batch's, in every replica."""
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
        first: tf.Tensor,
    ) -> train_step.LossAndGradients:
        size = next(iter(batch.values())).shape[0]
        return train_step.accumulate_gradients(
            lambda part, first: train_step.loss_and_gradients(
                self.model,
                self.settings,
                weights,
                part,
                BatchRng(seed, first, training=gradients),
                num_examples=size * self._strategy.num_replicas_in_sync,
                gradients=gradients,
            ),
            batch,
            first,
            self.settings.num_microbatches,
        )

    def _local_update(
        self, kept: Tensors, grads: Tensors
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return train_step.apply_gradients(self.optimizer, self.settings, kept, grads)
