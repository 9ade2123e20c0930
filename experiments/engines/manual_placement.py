"""Model parallelism by hand: each part of a model has its own device.

The model's loss says by `on_core` which core computes what, and a `Placement` says
which core keeps a weight.  Forward and backward passes of a part run on its core; the
rest runs on the home core.  In other engines `on_core` is a plain call, so that the
same loss runs on one device, or data parallel.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.engines import base
from experiments.training import state, train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.topology import Topology


class Placement(NamedTuple):
    """Which core of a virtual topology keeps a weight."""

    dim: str  # of the mesh: "core"
    num_cores: int
    home: int  # the core that gets the batches, and computes what no other does
    core_of: Callable[[str], int]  # of a weight, by its name
    description: str  # of the cores, for errors: "4 x 4 and one that aggregates"


_core_devices: contextvars.ContextVar[Sequence[str] | None] = contextvars.ContextVar(
    "devices of the cores", default=None
)


@contextlib.contextmanager
def core_devices(devices: Sequence[str]) -> Iterator[None]:
    """In the block, `on_core` computes on these devices, one for each core."""
    token = _core_devices.set(tuple(devices))
    try:
        yield
    finally:
        _core_devices.reset(token)


def on_core(core: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, with its gradients, computed on the core's device.

    arguments: float tensors, nested in any way.  Gradients are of these alone.  The
      function returns float tensors, nested in any way.

    A tape around the call would place the backward ops where the gradient is asked for.
    So the call has its own tape, whose gradient is computed under the core's device.
    """
    devices = _core_devices.get()
    if devices is None:
        return function(*arguments)
    device = devices[core]
    structure: Any = None

    def run(*flat: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        nonlocal structure
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(flat)
            structure = function(*tf.nest.pack_sequence_as(arguments, flat))
        results = tf.nest.flatten(structure)

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            with tf.device(device):
                return tape.gradient(
                    results, list(flat), list(upstream), unconnected_gradients="zero"
                )

        return results, gradient

    with tf.device(device):
        results = tf.custom_gradient(run)(*tf.nest.flatten(arguments))
    return tf.nest.pack_sequence_as(structure, results)


def check_placement(
    topology: Topology, settings: StepSettings, placement: Placement
) -> None:
    """Raises ValueError for a topology without these cores and unsupported settings."""
    size = topology.size(placement.dim)
    other = [name for name, _ in topology.dims if name not in ("batch", placement.dim)]
    if size != placement.num_cores or other:
        raise ValueError(
            f"mesh: given {str(topology)!r}, wanted {placement.dim!r} of "
            f"{placement.num_cores} ({placement.description}), 'batch' for copies of "
            "it, and no other dimension"
        )
    for name, supported in (
        ("jit_compile", False),  # XLA would compile all cores' parts for one device
        ("num_microbatches", 1),
        ("compute_dtype", "float32"),
    ):
        if getattr(settings, name) != supported:
            raise ValueError(
                f"{name}: given {getattr(settings, name)!r} with mesh "
                f"{str(topology)!r}, wanted {supported!r}"
            )


class ManuallyPlaced(Engine):
    """An engine of replicas of the cores, with the batch cut over the replicas.

    A replica keeps each variable once, on its weight's core.  Gradients are summed over
    the replicas between the cores that keep the same weights, and each core updates its
    own variables.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        placement: Placement,
        devices: Sequence[str],
    ) -> None:
        check_placement(topology, settings, placement)
        super().__init__(model, optimizer, topology, settings, devices)
        self._placement = placement
        self._replicas = replica_devices(placement, self._devices)
        self._names = variables_of_cores(model, placement, self._specs)

    def graph(self, batch: Mapping[str, np.ndarray]) -> tf.Graph:
        """The graph of a step on batches of this shape, before TensorFlow cuts it."""
        inputs = self._inputs(batch, train_step.step_seed(0, 0))
        return self._train.get_concrete_function(*inputs).graph

    def _create(self, name: str, value: np.ndarray) -> list[dict[int, tf.Variable]]:
        """Each replica's variable by core: the step is on every core."""
        replicas = []
        for devices in self._replicas:
            copies: dict[int, tf.Variable] = {}
            for core, names in self._names.items():
                if name in names:
                    with tf.device(devices[core]):
                        copies[core] = tf.Variable(value, trainable=False)
            replicas.append(copies)
        return replicas

    def _local_copies(self) -> Iterator[tuple[str, str, tf.Variable]]:
        for name, replicas in self._variables.items():
            for devices, copies in zip(self._replicas, replicas, strict=True):
                for core, variable in copies.items():
                    yield name, devices[core], variable

    def _inputs(
        self, batch: Mapping[str, np.ndarray], seed: np.ndarray
    ) -> tuple[list[dict[str, tf.Tensor]], tf.Tensor]:
        homes = [devices[self._placement.home] for devices in self._replicas]
        return base.shard_batch(batch, homes), tf.convert_to_tensor(seed)

    def _train_step(
        self, batches: list[Tensors], seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        sums = self._sums(batches, seed, gradients=True)
        grads, norm = all_reduce_gradients(
            self.settings, self._placement, self._replicas, [s.grads for s in sums]
        )
        clipped = dataclasses.replace(self.settings, clip_norm=None)  # grads are
        for replica, devices in enumerate(self._replicas):
            for core, names in self._names.items():
                own = {name: self._variables[name][replica][core] for name in names}
                mine = grads[replica][core]
                with tf.device(devices[core]):
                    base.update_variables(
                        self.optimizer, clipped, own, mine, next_state={}
                    )
        return {**self._total(sums), "gradient_norm": norm}

    def _evaluation_step(
        self, batches: list[Tensors], seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        return self._total(self._sums(batches, seed, gradients=False))

    def _sums(
        self, batches: list[Tensors], seed: tf.Tensor, *, gradients: bool
    ) -> list[train_step.LossAndGradients]:
        """Loss and gradients, summed over each replica's examples."""
        ema = not gradients and self.settings.ema_decay is not None
        sums = []
        for replica, (devices, batch) in enumerate(
            zip(self._replicas, batches, strict=True)
        ):
            weights = {}
            for name, full in state.loss_inputs(self.model, ema=ema).items():
                core = self._placement.core_of(name)
                with tf.device(devices[core]):  # else the value passes by device 0
                    weights[name] = self._variables[full][replica][core].read_value()
            sums.append(
                replica_sums(
                    self.model,
                    self.settings,
                    self._placement,
                    devices,
                    weights,
                    batch,
                    seed,
                    replica=replica,
                    num_replicas=len(self._replicas),
                    gradients=gradients,
                )
            )
        return sums

    def _total(
        self, sums: Sequence[train_step.LossAndGradients]
    ) -> dict[str, tf.Tensor]:
        with tf.device(self._replicas[0][self._placement.home]):
            return {
                name: tf.add_n([one.metrics[name] for one in sums])
                for name in sums[0].metrics
            }


def replica_sums(
    model: Model,
    settings: StepSettings,
    placement: Placement,
    devices: Sequence[str],
    weights: Tensors,
    batch: Tensors,
    seed: tf.Tensor,
    *,
    replica: int,
    num_replicas: int,
    gradients: bool,
) -> train_step.LossAndGradients:
    """The contribution of one replica's examples, each part computed on its core.

    devices: of the replica's cores.  weights: each on its core.
    """
    size = next(iter(batch.values())).shape[0]
    with core_devices(devices), tf.device(devices[placement.home]):
        return base.loss_and_gradients(
            model,
            settings,
            weights,
            batch,
            tf.identity(seed),
            tf.constant(replica * size),
            num_replicas=num_replicas,
            gradients=gradients,
        )


def all_reduce_gradients(
    settings: StepSettings,
    placement: Placement,
    replicas: Sequence[Sequence[str]],
    grads: Sequence[Mapping[str, tf.Tensor]],
) -> tuple[list[dict[int, dict[str, tf.Tensor]]], tf.Tensor]:
    """Each replica's gradients by core, summed and clipped, and their norm.

    replicas: the devices of each.  grads: of each replica, by weight.

    The gradients of a weight are summed on the core of one replica, the replicas taking
    turns, and sent to the others from there.  So the bytes sent are proportional to the
    number of replicas.
    """
    owners = {
        name: replicas[i % len(replicas)][placement.core_of(name)]
        for i, name in enumerate(grads[0])
    }
    totals: dict[str, tf.Tensor] = {}
    squares: dict[str, list[tf.Tensor]] = {}  # by device, which adds its own
    for name, owner in owners.items():
        with tf.device(owner):
            total = tf.add_n([own[name] for own in grads])
            totals[name] = total
            squares.setdefault(owner, []).append(tf.reduce_sum(total * total))
    sums_of_squares = []
    for owner, own in squares.items():
        with tf.device(owner):
            sums_of_squares.append(tf.add_n(own))
    with tf.device(replicas[0][placement.home]):
        norm = tf.sqrt(tf.add_n(sums_of_squares))
        scale = None
        if settings.clip_norm is not None:
            scale = tf.minimum(1.0, settings.clip_norm / norm)
    results: list[dict[int, dict[str, tf.Tensor]]] = [{} for _ in replicas]
    for name, owner in owners.items():
        core, total = placement.core_of(name), totals[name]
        if scale is not None:
            with tf.device(owner):
                total *= scale
        for devices, result in zip(replicas, results, strict=True):
            with tf.device(devices[core]):
                result.setdefault(core, {})[name] = tf.identity(total)
    return results, norm


def replica_devices(
    placement: Placement, devices: Sequence[str]
) -> list[Sequence[str]]:
    """The devices of each replica's cores."""
    size = placement.num_cores
    return [devices[i : i + size] for i in range(0, len(devices), size)]


def variables_of_cores(
    model: Model, placement: Placement, specs: Mapping[str, state.VariableSpec]
) -> dict[int, dict[str, None]]:
    """The variable names of each core that has a weight, in order.

    Raises ValueError for a weight of a core that does not exist.
    """
    weights: dict[int, set[str]] = {}
    for name in model.weights:
        core = placement.core_of(name)
        if not 0 <= core < placement.num_cores:
            raise ValueError(
                f"{model.name}: weight {name!r} is of core {core}, wanted one of "
                f"{placement.num_cores} ({placement.description})"
            )
        weights.setdefault(core, set()).add(name)
    return {
        core: dict.fromkeys(
            name
            for name, spec in specs.items()
            if spec.collection == state.STEP or spec.weight in own
        )
        for core, own in sorted(weights.items())
    }
