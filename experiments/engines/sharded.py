"""Training with weights cut over devices by rule, and the batch too, by DTensor.

The model is the same function of plain tensors.  Gradients, the optimizer's slots and
averages have the layout of their weight.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from experiments.training import train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.state import (
    check_arrays,
    ema_name,
    initial_value,
    mesh_dims,
    sharding,
    variable_specs,
    weight_name,
)
from experiments.training.topology import Topology


class Sharded(Engine):
    """A runtime of one mesh of this process's devices, "CPU:0" and so on."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        devices: Sequence[str],
    ) -> None:
        super().__init__(model, optimizer, topology, settings)
        dims = list(topology.dims)
        if "batch" not in dict(dims):
            dims.insert(0, ("batch", 1))
        self._devices = list(devices)
        self._mesh = dtensor.create_mesh(dims, devices=self._devices)
        self._kept = variable_specs(
            model, optimizer, ema=settings.ema_decay is not None
        )
        sharded = sharding(model, topology)
        self._layouts = {
            name: self._layout(mesh_dims(variable, sharded))
            for name, variable in self._kept.items()
        }
        self._held: dict[str, dtensor.DVariable] = {}
        self._partial = tf.function(self._add_part, autograph=False)
        self._last = tf.function(self._update, autograph=False)
        self._evaluate = tf.function(self._add_evaluated, autograph=False)

    def initialize(self, seed: int) -> None:
        self._held = {}
        for name, variable in self._kept.items():
            value = initial_value(variable, self.model, seed)
            self._held[name] = dtensor.DVariable(
                self._pack(value, self._layouts[name]), trainable=False
            )

    def step(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> dict[str, tf.Tensor]:
        # One call a part: memory for one is enough, and no loop for DTensor to lower.
        *parts, last = self._placed(batch, number, seed)
        total = None
        for part in parts:
            total = self._partial(*part, total)
        return self._plain(self._last(*last, total))

    def evaluate(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> dict[str, tf.Tensor]:
        total = None
        for part in self._placed(batch, number, seed):
            total = self._evaluate(*part, total)
        return self._plain(total)

    def read_variables(self) -> dict[str, np.ndarray]:
        return {
            name: self._whole(self._components(held), self._layouts[name])
            for name, held in self._held.items()
        }

    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        check_arrays(self._kept, arrays, self.model)
        for name, held in self._held.items():
            held.assign(self._pack(np.array(arrays[name]), self._layouts[name]))

    def bytes_per_device(self) -> dict[str, int]:
        found = dict.fromkeys(self._devices, 0)
        for held in self._held.values():
            components = self._components(held)
            for device, component in zip(self._devices, components, strict=True):
                size = component.shape.num_elements() * component.dtype.size
                found[device] += size
        return found

    def _layout(self, dims: Sequence[str | None]) -> dtensor.Layout:
        return dtensor.Layout([dim or dtensor.UNSHARDED for dim in dims], self._mesh)

    def _pack(self, array: np.ndarray, layout: dtensor.Layout) -> tf.Tensor:
        """The array on the mesh, each device given its own piece only."""
        pieces = []
        for device, shard in zip(self._devices, layout.offset_to_shard(), strict=True):
            with tf.device(device):
                pieces.append(
                    tf.convert_to_tensor(array[_slices(array, layout, shard)])
                )
        return dtensor.pack(pieces, layout)

    def _components(self, held: tf.Tensor) -> list[tf.Tensor]:
        """What each device has of a variable, in the devices' order."""
        with dtensor.default_mesh(self._mesh):
            return dtensor.unpack(held.read_value())

    def _whole(
        self, components: Sequence[tf.Tensor], layout: dtensor.Layout
    ) -> np.ndarray:
        shards = layout.offset_to_shard()
        local = components[0].numpy()
        counts = [layout.num_shards(axis) for axis in range(layout.rank)]
        shape = [n * size for n, size in zip(counts, local.shape, strict=True)]
        array = np.empty(shape, local.dtype)
        seen = set()
        for component, shard in zip(components, shards, strict=True):
            if shard not in seen:
                seen.add(shard)
                array[_slices(array, layout, shard)] = component.numpy()
        return array

    def _plain(self, results: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Scalars on the mesh as ordinary ones."""
        return {name: dtensor.unpack(value)[0] for name, value in results.items()}

    def _placed(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> list[tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]:
        """Of each part: its arrays, its first example's number, and the step's seed."""
        parts = self.settings.num_microbatches
        size = train_step.check_batch(
            batch, num_shards=self.topology.size("batch"), num_microbatches=parts
        )
        seed = self._pack(train_step.step_seed(seed, number), self._layout([None]))
        cut = {name: np.split(array, parts) for name, array in batch.items()}
        first = np.arange(0, size, size // parts, dtype=np.int32)
        return [
            (
                {name: self._shared_out(pieces[i]) for name, pieces in cut.items()},
                self._pack(first[i], self._layout([])),
                seed,
            )
            for i in range(parts)
        ]

    def _shared_out(self, array: np.ndarray) -> tf.Tensor:
        """Examples cut over the mesh's batch dimension."""
        return self._pack(array, self._by_example(array.ndim))

    def _by_example(self, rank: int) -> dtensor.Layout:
        return self._layout(["batch"] + [None] * (rank - 1))

    def _drawn(self, values: tf.Tensor) -> tf.Tensor:
        """Drawn alike on every device, of which each keeps its examples'.

        Sharded before it is drawn, a stateless draw would be another on each mesh.
        """
        rank = values.shape.rank
        values = dtensor.relayout(values, self._layout([None] * rank))
        return dtensor.relayout(values, self._by_example(rank))

    def _sums(
        self,
        batch: Tensors,
        first: tf.Tensor,
        seed: tf.Tensor,
        total: train_step.LossAndGradients | None,
        *,
        weights: Tensors,
        gradients: bool,
    ) -> train_step.LossAndGradients:
        """A part's and those before it."""
        size = next(iter(batch.values())).shape[0]
        found = train_step.loss_and_gradients(
            self.model,
            self.settings,
            weights,
            batch,
            BatchRng(seed, first, self._drawn, training=gradients),
            num_examples=size * self.settings.num_microbatches,
            gradients=gradients,
        )
        grads = {
            name: dtensor.relayout(grad, self._layouts[weight_name(name)])
            for name, grad in found.grads.items()
        }
        found = train_step.LossAndGradients(found.metrics, grads)
        return tf.nest.map_structure(tf.add, total, found) if total else found

    def _kept_weights(self, named: Callable[[str], str]) -> dict[str, tf.Tensor]:
        return {n: self._held[named(n)].read_value() for n in self.model.weights}

    def _add_part(
        self,
        batch: Tensors,
        first: tf.Tensor,
        seed: tf.Tensor,
        total: train_step.LossAndGradients | None,
    ) -> train_step.LossAndGradients:
        weights = self._kept_weights(weight_name)
        return self._sums(batch, first, seed, total, weights=weights, gradients=True)

    def _update(
        self,
        batch: Tensors,
        first: tf.Tensor,
        seed: tf.Tensor,
        total: train_step.LossAndGradients | None,
    ) -> dict[str, tf.Tensor]:
        kept = {name: held.read_value() for name, held in self._held.items()}
        weights = {name: kept[weight_name(name)] for name in self.model.weights}
        stats, grads, _ = self._sums(
            batch, first, seed, total, weights=weights, gradients=True
        )
        after, norm = train_step.apply_gradients(
            self.optimizer, self.settings, kept, grads
        )
        for name, held in self._held.items():
            held.assign(dtensor.relayout(after[name], self._layouts[name]))
        return {**stats, "gradient_norm": norm}

    def _add_evaluated(
        self,
        batch: Tensors,
        first: tf.Tensor,
        seed: tf.Tensor,
        total: dict[str, tf.Tensor] | None,
    ) -> dict[str, tf.Tensor]:
        named = ema_name if self.settings.ema_decay is not None else weight_name
        before = train_step.LossAndGradients(total, {}) if total else None
        return self._sums(
            batch,
            first,
            seed,
            before,
            weights=self._kept_weights(named),
            gradients=False,
        ).metrics


def _slices(
    array: np.ndarray, layout: dtensor.Layout, shard: tuple[int, ...]
) -> tuple[slice, ...]:
    """Where in the whole array a shard is."""
    sizes = [size // layout.num_shards(axis) for axis, size in enumerate(array.shape)]
    return tuple(
        slice(at * size, (at + 1) * size) for at, size in zip(shard, sizes, strict=True)
    )
