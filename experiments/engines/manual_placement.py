"""Training of a model whose parts have devices of their own, placed one by one.

The model's loss says by `on` which core computes what, and a `Placement` which core
keeps a weight.  Forward and backward of a part run on its core; what no core was named
for runs at home.  Outside of this engine `on` is a plain call, so that the same loss
runs on one device, or with the batch cut over several.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.training import train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.state import (
    STEP,
    check_arrays,
    ema_name,
    initial_value,
    variable_specs,
    weight_name,
)
from experiments.training.topology import Topology


class Placement(NamedTuple):
    """Which core of a virtual topology keeps a weight."""

    dim: str  # of the mesh: "core"
    num_cores: int
    home: int  # the core that batches come to, and that computes what no other does
    core_of: Callable[[str], int]  # of a weight, by its name
    description: str  # what the cores are, for errors: "4 x 4 and one that aggregates"


_devices: contextvars.ContextVar[Sequence[str] | None] = contextvars.ContextVar(
    "devices of the cores", default=None
)


@contextlib.contextmanager
def core_devices(devices: Sequence[str]) -> Iterator[None]:
    """In the block, `on` computes on these devices: that of each core."""
    token = _devices.set(tuple(devices))
    try:
        yield
    finally:
        _devices.reset(token)


def on_core(core: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, computed on the core's device, and its gradients too.

    arguments: float tensors, nested in any way; the function is of nothing else that
      gradients are wanted of, and gives float tensors, nested in any way.

    A tape around the call alone would leave the backward ops where it is asked for
    gradients.  So the call has a tape of its own, asked under the device's name.
    """
    devices = _devices.get()
    if devices is None:
        return function(*arguments)
    device = devices[core]
    made: Any = None

    def run(*given: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        nonlocal made
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(given)
            made = function(*tf.nest.pack_sequence_as(arguments, given))
        results = tf.nest.flatten(made)

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            with tf.device(device):
                return tape.gradient(
                    results, list(given), list(upstream), unconnected_gradients="zero"
                )

        return results, gradient

    with tf.device(device):
        results = tf.custom_gradient(run)(*tf.nest.flatten(arguments))
    return tf.nest.pack_sequence_as(made, results)


def check_placement(
    topology: Topology, settings: StepSettings, placement: Placement
) -> None:
    """Raises ValueError for a topology that has not these cores, and odd settings."""
    size = topology.size(placement.dim)
    odd = [name for name, _ in topology.dims if name not in ("batch", placement.dim)]
    if size != placement.num_cores or odd:
        raise ValueError(
            f"topology {topology}: wanted {placement.dim!r} of {placement.num_cores} "
            f"({placement.description}), 'batch' for copies of it, and no other "
            "dimension"
        )
    for name, wanted in (
        ("jit_compile", False),  # XLA would compile all cores' parts for one device
        ("num_microbatches", 1),
        ("compute_dtype", "float32"),
    ):
        if getattr(settings, name) != wanted:
            raise ValueError(
                f"{name}: topology {topology} cannot {getattr(settings, name)!r}, "
                f"wanted {wanted!r}"
            )


class ManuallyPlaced(Engine):
    """A runtime of one or several copies of the cores, the batch cut over the copies.

    A copy keeps each variable once, on its weight's core; gradients are summed over the
    copies, between the cores that keep the same weights, and each core updates its own.
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
        super().__init__(model, optimizer, topology, settings)
        self._placement = placement
        size = placement.num_cores
        self._copies = [devices[i : i + size] for i in range(0, len(devices), size)]
        self._kept = variable_specs(
            model, optimizer, ema=settings.ema_decay is not None
        )
        # Of each copy and core; each core counts its own steps.
        self._held: list[dict[int, dict[str, tf.Variable]]] = []
        self._in_place = train_step.applies_in_place(optimizer, settings)
        self._step = tf.function(self._update, autograph=False)
        self._evaluate = tf.function(self._stats, autograph=False)

    def initialize(self, seed: int) -> None:
        first = {n: initial_value(v, self.model, seed) for n, v in self._kept.items()}
        cores = _names_of_cores(self.model, self._placement)
        self._held = []
        for devices in self._copies:
            held: dict[int, dict[str, tf.Variable]] = {}
            for core, names in cores.items():
                with tf.device(devices[core]):
                    held[core] = {
                        name: tf.Variable(first[name], trainable=False)
                        for name, variable in self._kept.items()
                        if variable.collection == STEP or variable.weight in names
                    }
            self._held.append(held)

    def step(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> dict[str, tf.Tensor]:
        return self._step(*self._shares(batch, number, seed))

    def evaluate(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> dict[str, tf.Tensor]:
        return self._evaluate(*self._shares(batch, number, seed))

    def read_variables(self) -> dict[str, np.ndarray]:
        whole = {n: v for held in self._held[0].values() for n, v in held.items()}
        return {name: whole[name].numpy() for name in self._kept}

    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        check_arrays(self._kept, arrays, self.model)
        for copy in self._held:
            for held in copy.values():
                for name, variable in held.items():
                    # A copy: TensorFlow may otherwise go on in the caller's memory.
                    variable.assign(np.array(arrays[name]))

    def bytes_per_device(self) -> dict[str, int]:
        found = {device: 0 for devices in self._copies for device in devices}
        for devices, copy in zip(self._copies, self._held, strict=True):
            for core, held in copy.items():
                found[devices[core]] += sum(
                    v.shape.num_elements() * v.dtype.size for v in held.values()
                )
        return found

    def graph(self, batch: Mapping[str, np.ndarray]) -> tf.Graph:
        """The step's, of batches of this shape, before TensorFlow cuts it up."""
        return self._step.get_concrete_function(*self._shares(batch, 0, 0)).graph

    def _shares(
        self, batch: Mapping[str, np.ndarray], number: int, seed: int
    ) -> tuple[list[dict[str, tf.Tensor]], tf.Tensor]:
        """Each copy's examples, at its home, and the step's seed."""
        num = len(self._copies)
        share = train_step.check_batch(batch, num_shards=num, num_microbatches=1) // num
        shares = []
        for copy, devices in enumerate(self._copies):
            own = slice(copy * share, (copy + 1) * share)
            with tf.device(devices[self._placement.home]):
                # The identity moves integers too, which else stay where they are.
                shares.append({n: tf.identity(a[own]) for n, a in batch.items()})
        return shares, tf.convert_to_tensor(train_step.step_seed(seed, number))

    def _sums(
        self, copy: int, batch: Tensors, seed: tf.Tensor, *, gradients: bool
    ) -> train_step.LossAndGradients:
        kept = weight_name
        if not gradients and self.settings.ema_decay is not None:
            kept = ema_name
        held, devices, weights = self._held[copy], self._copies[copy], {}
        for name in self.model.weights:
            core = self._placement.core_of(name)
            with tf.device(devices[core]):  # or what is read goes by way of device 0
                weights[name] = held[core][kept(name)].read_value()
        return replica_sums(
            self.model,
            self.settings,
            self._placement,
            devices,
            weights,
            batch,
            seed,
            copy=copy,
            num_copies=len(self._copies),
            gradients=gradients,
        )

    def _update(self, batches: list[Tensors], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        found = [
            self._sums(copy, batch, seed, gradients=True)
            for copy, batch in enumerate(batches)
        ]
        every, norm = all_reduce_gradients(
            self.settings, self._placement, self._copies, [f.grads for f in found]
        )
        for devices, held, grads in zip(self._copies, self._held, every, strict=True):
            for core, own in held.items():
                with tf.device(devices[core]):
                    self._update_core(own, grads[core])
        return {**self._total(found), "gradient_norm": norm}

    def _update_core(
        self, held: Mapping[str, tf.Variable], grads: Mapping[str, tf.Tensor]
    ) -> None:
        settings = self.settings._replace(clip_norm=None)  # that of all is done with
        if self._in_place:
            train_step.apply_gradients_in_place(self.optimizer, settings, held, grads)
            return
        kept = {name: variable.read_value() for name, variable in held.items()}
        after, _ = train_step.apply_gradients(self.optimizer, settings, kept, grads)
        for name, variable in held.items():
            variable.assign(after[name])

    def _stats(self, batches: list[Tensors], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._total(
            [
                self._sums(copy, batch, seed, gradients=False)
                for copy, batch in enumerate(batches)
            ]
        )

    def _total(
        self, found: Sequence[train_step.LossAndGradients]
    ) -> dict[str, tf.Tensor]:
        with tf.device(self._copies[0][self._placement.home]):
            return {
                name: tf.add_n([sums.metrics[name] for sums in found])
                for name in found[0].metrics
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
    copy: int,
    num_copies: int,
    gradients: bool,
) -> train_step.LossAndGradients:
    """What one copy's share of the global batch adds to it, each part on its core.

    devices: of the copy's cores.  weights: each on its core.
    """
    size = next(iter(batch.values())).shape[0]
    with core_devices(devices), tf.device(devices[placement.home]):
        return train_step.loss_and_gradients(
            model,
            settings,
            weights,
            batch,
            BatchRng(tf.identity(seed), tf.constant(copy * size), training=gradients),
            num_examples=size * num_copies,
            gradients=gradients,
        )


def all_reduce_gradients(
    settings: StepSettings,
    placement: Placement,
    copies: Sequence[Sequence[str]],
    grads: Sequence[Mapping[str, tf.Tensor]],
) -> tuple[list[dict[int, dict[str, tf.Tensor]]], tf.Tensor]:
    """Of each copy, every core's gradients by weight, summed and clipped; their norm.

    copies: the devices of each.  grads: of each copy.

    A weight's gradients are summed on one copy's core, the copies taking turns, and go
    to the others from there: what passes is in proportion to the copies.
    """
    owners = {
        name: copies[number % len(copies)][placement.core_of(name)]
        for number, name in enumerate(grads[0])
    }
    totals: dict[str, tf.Tensor] = {}
    squares: dict[str, list[tf.Tensor]] = {}  # of each device, which adds its own
    for name, owner in owners.items():
        with tf.device(owner):
            total = tf.add_n([own[name] for own in grads])
            totals[name] = total
            squares.setdefault(owner, []).append(tf.reduce_sum(total * total))
    added = []
    for owner, own in squares.items():
        with tf.device(owner):
            added.append(tf.add_n(own))
    with tf.device(copies[0][placement.home]):
        norm = tf.sqrt(tf.add_n(added))
        scale = None
        if settings.clip_norm is not None:
            scale = tf.minimum(1.0, settings.clip_norm / norm)
    found: list[dict[int, dict[str, tf.Tensor]]] = [{} for _ in copies]
    for name, owner in owners.items():
        core, total = placement.core_of(name), totals[name]
        if scale is not None:
            with tf.device(owner):
                total *= scale
        for devices, received in zip(copies, found, strict=True):
            with tf.device(devices[core]):
                received.setdefault(core, {})[name] = tf.identity(total)
    return found, norm


def step_graph(
    model: Model,
    optimizer: Optimizer,
    topology: Topology,
    settings: StepSettings,
    placement: Placement,
    batch: Mapping[str, tf.TensorSpec],
) -> tf.Graph:
    """The graph of a step on devices "CPU:0" and so on, which need not be there.

    batch: of the global batch's arrays.

    Nothing is allocated: the variables are placeholders, on no device.
    """
    check_placement(topology, settings, placement)
    size, num_copies = placement.num_cores, topology.size("batch")
    devices = [f"CPU:{i}" for i in range(size * num_copies)]
    copies = [devices[i : i + size] for i in range(0, len(devices), size)]
    kept = variable_specs(model, optimizer, ema=settings.ema_decay is not None)
    cores = _names_of_cores(model, placement)
    unclipped = settings._replace(clip_norm=None)

    def step() -> None:
        seed = tf.compat.v1.placeholder(tf.int32, [2])
        held, found = [], []
        for copy, names in enumerate(copies):
            here = {}
            for name, variable in kept.items():
                core = placement.core_of(variable.weight) if variable.weight else 0
                given = tf.compat.v1.placeholder(variable.dtype, variable.shape)
                with tf.device(names[core]):
                    here[name] = tf.identity(given)
            share = {}
            with tf.device(names[placement.home]):
                for name, spec in batch.items():
                    shape = (spec.shape[0] // num_copies, *spec.shape[1:])
                    share[name] = tf.identity(
                        tf.compat.v1.placeholder(spec.dtype, shape)
                    )
            held.append(here)
            found.append(
                replica_sums(
                    model,
                    settings,
                    placement,
                    names,
                    {name: here[weight_name(name)] for name in model.weights},
                    share,
                    seed,
                    copy=copy,
                    num_copies=num_copies,
                    gradients=True,
                )
            )
        every, _ = all_reduce_gradients(
            settings, placement, copies, [f.grads for f in found]
        )
        for names, here, grads in zip(copies, held, every, strict=True):
            for core, weights in cores.items():
                own = {
                    name: here[name]
                    for name, variable in kept.items()
                    if variable.collection == STEP or variable.weight in weights
                }
                with tf.device(names[core]):
                    train_step.apply_gradients(optimizer, unclipped, own, grads[core])

    graph = tf.Graph()
    with graph.as_default():
        step()
    return graph


def _names_of_cores(model: Model, placement: Placement) -> dict[int, set[str]]:
    """The weights of each core that has any.

    Raises ValueError for a weight of a core that there is not.
    """
    found: dict[int, set[str]] = {}
    for name in model.weights:
        core = placement.core_of(name)
        if not 0 <= core < placement.num_cores:
            raise ValueError(
                f"{model.name}: weight {name!r} is of core {core}, wanted one of "
                f"{placement.num_cores} ({placement.description})"
            )
        found.setdefault(core, set()).add(name)
    return dict(sorted(found.items()))
