"""Model and data parallelism by DTensor: weights and the batch are sharded by rule.

The model is the same function of plain tensors.  Gradients, the slots of the optimizer
and the averages have the layout of their weight.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from experiments.training import state, train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.topology import Topology


class Sharded(Engine):
    """An engine of one mesh of this process's devices, "CPU:0" and so on."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        devices: Sequence[str],
    ) -> None:
        super().__init__(model, optimizer, topology, settings, devices)
        dims = list(topology.dims)
        if "batch" not in dict(dims):
            dims.insert(0, ("batch", 1))
        self._mesh = dtensor.create_mesh(dims, devices=self._devices)
        sharding = state.sharding(model, topology)
        self._layouts = {
            name: self._layout(state.mesh_dims(spec, sharding))
            for name, spec in self._specs.items()
        }
        self._accumulate = tf.function(self._add_microbatch, autograph=False)

    def _create(self, name: str, value: np.ndarray) -> dtensor.DVariable:
        value = self._pack(value, self._layouts[name])
        return dtensor.DVariable(value, trainable=False)

    def _local_copies(self) -> Iterator[tuple[str, str, tf.Tensor]]:
        for name in self._variables:
            for device, shard in zip(self._devices, self._shards(name), strict=True):
                yield name, device, shard

    def step(
        self, batch: Mapping[str, np.ndarray], step_index: int, seed: int
    ) -> dict[str, tf.Tensor]:
        # One call a microbatch needs the memory of one, and DTensor lowers no loop.
        inputs = self._inputs(batch, train_step.step_seed(seed, step_index))
        total = None
        for microbatch in inputs[:-1]:
            total = self._accumulate(*microbatch, total)
        return _unpack_scalars(self._train(*inputs[-1], total))

    def evaluate(
        self, batch: Mapping[str, np.ndarray], batch_index: int, seed: int
    ) -> dict[str, tf.Tensor]:
        total = None
        for microbatch in self._inputs(batch, train_step.step_seed(seed, batch_index)):
            total = self._evaluate(*microbatch, total)
        return _unpack_scalars(total)

    def read_variables(self) -> dict[str, np.ndarray]:
        return {name: self._whole(name) for name in self._variables}

    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        state.check_arrays(self._specs, arrays, self.model)
        for name, variable in self._variables.items():
            variable.assign(self._pack(np.array(arrays[name]), self._layouts[name]))

    def _layout(self, dims: Sequence[str | None]) -> dtensor.Layout:
        return dtensor.Layout([dim or dtensor.UNSHARDED for dim in dims], self._mesh)

    def _batch_layout(self, rank: int) -> dtensor.Layout:
        return self._layout(["batch"] + [None] * (rank - 1))

    def _pack(self, array: np.ndarray, layout: dtensor.Layout) -> tf.Tensor:
        """The array on the mesh; each device gets its own shard only."""
        shards = []
        for device, index in zip(self._devices, layout.offset_to_shard(), strict=True):
            with tf.device(device):
                shard = array[_slices(array, layout, index)]
                shards.append(tf.convert_to_tensor(shard))
        return dtensor.pack(shards, layout)

    def _shards(self, name: str) -> list[tf.Tensor]:
        """What each device has of a variable, in the order of the devices."""
        with dtensor.default_mesh(self._mesh):
            return dtensor.unpack(self._variables[name].read_value())

    def _whole(self, name: str) -> np.ndarray:
        """The variable as one array."""
        spec, layout = self._specs[name], self._layouts[name]
        array = np.empty(spec.shape, spec.dtype)
        # One of several equal shards is copied.
        shards = dict(zip(layout.offset_to_shard(), self._shards(name), strict=True))
        for index, shard in shards.items():
            array[_slices(array, layout, index)] = shard.numpy()
        return array

    def _inputs(
        self, batch: Mapping[str, np.ndarray], seed: np.ndarray
    ) -> list[tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]:
        """Each microbatch's arrays, number of its first example, and seed."""
        num_microbatches = self.settings.num_microbatches
        size = train_step.check_batch(
            batch,
            num_shards=self.topology.size("batch"),
            num_microbatches=num_microbatches,
        )
        seed = self._pack(seed, self._layout([None]))
        parts = {name: np.split(a, num_microbatches) for name, a in batch.items()}
        first = np.arange(0, size, size // num_microbatches, dtype=np.int32)
        return [
            (
                {
                    name: self._pack(arrays[i], self._batch_layout(arrays[i].ndim))
                    for name, arrays in parts.items()
                },
                self._pack(first[i], self._layout([])),
                seed,
            )
            for i in range(num_microbatches)
        ]

    def _distribute_draws(self, values: tf.Tensor) -> tf.Tensor:
        """Random numbers, drawn alike on every device, cut over the examples.

        A stateless op that is sharded before it draws gives other numbers on each mesh.
        """
        rank = values.shape.rank
        values = dtensor.relayout(values, self._layout([None] * rank))
        return dtensor.relayout(values, self._batch_layout(rank))

    def _sums(
        self,
        batch: Tensors,
        first_example: tf.Tensor,
        seed: tf.Tensor,
        total: train_step.LossAndGradients | None,
        *,
        ema: bool = False,
        gradients: bool = True,
    ) -> train_step.LossAndGradients:
        """The sums of a microbatch and, in `total`, of those before it."""
        size = next(iter(batch.values())).shape[0]
        sums = train_step.loss_and_gradients(
            self.model,
            self.settings,
            self._loss_inputs(ema=ema),
            batch,
            BatchRng(seed, first_example, self._distribute_draws, training=gradients),
            num_examples=size * self.settings.num_microbatches,
            gradients=gradients,
        )
        grads = {
            name: dtensor.relayout(grad, self._layouts[state.weight_name(name)])
            for name, grad in sums.grads.items()
        }
        sums = train_step.LossAndGradients(sums.metrics, grads)
        return tf.nest.map_structure(tf.add, total, sums) if total else sums

    def _add_microbatch(self, *inputs: Any) -> train_step.LossAndGradients:
        return self._sums(*inputs)

    def _train_step(self, *inputs: Any) -> dict[str, tf.Tensor]:
        metrics, grads, _ = self._sums(*inputs)
        values = {name: v.read_value() for name, v in self._variables.items()}
        values, norm = train_step.apply_gradients(
            self.optimizer, self.settings, values, grads
        )
        for name, variable in self._variables.items():
            variable.assign(dtensor.relayout(values[name], self._layouts[name]))
        return {**metrics, "gradient_norm": norm}

    def _evaluation_step(self, *inputs: Any) -> dict[str, tf.Tensor]:
        *microbatch, total = inputs
        total = train_step.LossAndGradients(total, {}) if total else None
        return self._sums(*microbatch, total, ema=True, gradients=False).metrics


def _unpack_scalars(results: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Scalars on the mesh as ordinary ones."""
    return {name: dtensor.unpack(value)[0] for name, value in results.items()}


def _slices(
    array: np.ndarray, layout: dtensor.Layout, shard: tuple[int, ...]
) -> tuple[slice, ...]:
    """Where a shard is in the whole array."""
    sizes = [size // layout.num_shards(axis) for axis, size in enumerate(array.shape)]
    return tuple(
        slice(at * size, (at + 1) * size) for at, size in zip(shard, sizes, strict=True)
    )
