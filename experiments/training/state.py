"""The variables of a training run, by name: shapes, initial values and sharding."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.training.model import Model, initial_weight
from experiments.training.optimizers import Optimizer
from experiments.training.topology import Topology

STEP = "step"  # int64: updates done; every other variable is float32


class VariableSpec(NamedTuple):
    """One of the arrays that training changes."""

    collection: str  # "weights", "slots", "ema", "state" or "step"
    weight: str  # whose slot or average it is; a state's own name; "" for the step
    axes: tuple[int, ...]  # the axes of that weight that it has
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int64 if self.collection == STEP else np.float32)


def weight_name(name: str) -> str:
    return f"weights/{name}"


def slot_name(name: str, slot: str) -> str:
    return f"slots/{name}/{slot}"


def ema_name(name: str) -> str:
    return f"ema/{name}"


def state_name(name: str) -> str:
    return f"state/{name}"


def loss_inputs(model: Model, *, ema: bool) -> dict[str, str]:
    """The variable behind each name that the loss is given; ema: of the averages."""
    named = ema_name if ema else weight_name
    inputs = {name: named(name) for name in model.weights}
    return inputs | {name: state_name(name) for name in model.state}


def weight_specs(model: Model, *, ema: bool) -> dict[str, VariableSpec]:
    """The weights of a model, their averages and its state, by name."""
    specs = {}
    for name, weight in model.weights.items():
        axes = tuple(range(len(weight.shape)))
        specs[weight_name(name)] = VariableSpec("weights", name, axes, weight.shape)
        if ema:
            specs[ema_name(name)] = VariableSpec("ema", name, axes, weight.shape)
    for name, state in model.state.items():
        axes = tuple(range(len(state.shape)))
        specs[state_name(name)] = VariableSpec("state", name, axes, state.shape)
    return specs


def variable_specs(
    model: Model, optimizer: Optimizer, *, ema: bool
) -> dict[str, VariableSpec]:
    """All variables of a run of this model, by name."""
    specs = {STEP: VariableSpec(STEP, "", (), ()), **weight_specs(model, ema=ema)}
    for name, weight in model.weights.items():
        for slot, (axes,) in optimizer.slots(weight.shape).items():
            shape = tuple(weight.shape[axis] for axis in axes)
            specs[slot_name(name, slot)] = VariableSpec("slots", name, axes, shape)
    return specs


def initial_value(variable: VariableSpec, model: Model, seed: int) -> np.ndarray:
    """The array before the first step: random weights, averages and state; else 0."""
    if variable.collection == "state":
        return initial_weight(model.state[variable.weight], variable.weight, seed)
    if variable.collection in ("weights", "ema"):
        return initial_weight(model.weights[variable.weight], variable.weight, seed)
    return np.zeros(variable.shape, variable.dtype)


def sharding(model: Model, topology: Topology) -> dict[str, tuple[str | None, ...]]:
    """The mesh dimension along which each axis of each weight is sharded, or None.

    On a mesh of "batch" alone no weight is sharded.

    Raises ValueError for a weight that no rule matches, a rule of another rank than its
    weight or with a dimension twice, an axis that does not divide, and a mesh dimension
    that no rule uses.
    """
    dims = [name for name, size in topology.dims if name != "batch" and size > 1]
    if not dims:
        return {name: (None,) * len(w.shape) for name, w in model.weights.items()}
    sharded = {
        name: _axes(model, topology, name, weight.shape, dims)
        for name, weight in model.weights.items()
    }
    idle = set(dims) - {dim for axes in sharded.values() for dim in axes}
    if idle:
        ruled = {dim for _, axes in model.sharding_rules for dim in axes if dim}
        raise ValueError(
            f"mesh: given {sorted(idle)} in {str(topology)!r}, wanted 'batch' or "
            f"dimensions that {model.name} shards weights over: {sorted(ruled)}"
        )
    return sharded


def local_shape(
    variable: VariableSpec,
    sharded: Mapping[str, tuple[str | None, ...]],
    topology: Topology,
) -> tuple[int, ...]:
    """The shape of one device's shard; `sharded` is the result of `sharding`."""
    dims = mesh_dims(variable, sharded)
    return tuple(
        size // (topology.size(dim) if dim else 1)
        for size, dim in zip(variable.shape, dims, strict=True)
    )


def mesh_dims(
    variable: VariableSpec, sharded: Mapping[str, tuple[str | None, ...]]
) -> tuple[str | None, ...]:
    """The mesh dimension of each of its axes: those of its weight's axes, or None."""
    if variable.collection == "state":  # never sharded
        return (None,) * len(variable.axes)
    return tuple(sharded[variable.weight][axis] for axis in variable.axes)


def check_arrays(
    specs: Mapping[str, VariableSpec], arrays: Mapping[str, np.ndarray], model: Model
) -> None:
    """Raises ValueError, naming each, unless `arrays` are what `specs` say."""
    wrong = []
    for name in sorted(specs.keys() | arrays.keys()):
        if name not in arrays:
            wrong.append(f"{name} is missing")
        elif name not in specs:
            wrong.append(f"{name} is not a variable of it")
        else:
            array, spec = np.asarray(arrays[name]), specs[name]
            if (array.shape, array.dtype) != (spec.shape, spec.dtype):
                wrong.append(
                    f"{name} is {array.dtype} {list(array.shape)}, "
                    f"wanted {spec.dtype} {list(spec.shape)}"
                )
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise ValueError(f"{model.name}: " + "; ".join(wrong[:8]) + more)


def _axes(
    model: Model,
    topology: Topology,
    name: str,
    shape: tuple[int, ...],
    dims: list[str],
) -> tuple[str | None, ...]:
    rules = [rule for rule in model.sharding_rules if re.fullmatch(rule[0], name)]
    if not rules:
        raise ValueError(
            f"{model.name}: no rule matches weight {name!r}, which topology {topology} "
            "wants one for; its rules are "
            f"{[pattern for pattern, _ in model.sharding_rules]}"
        )
    pattern, axes = rules[0]
    label = f"{model.name}: rule {pattern!r} shards {name!r} {list(shape)} over {axes}"
    if len(axes) != len(shape):
        raise ValueError(f"{label}: wanted an entry for each of its {len(shape)} axes")
    if "batch" in axes:
        raise ValueError(f"{label}: 'batch' shards examples, not weights")
    used = [dim for dim in axes if dim is not None]
    if len(set(used)) < len(used):
        raise ValueError(f"{label}: wanted each mesh dimension once")
    for axis, dim in enumerate(axes):
        if dim and shape[axis] % topology.size(dim):
            raise ValueError(
                f"{label}: axis {axis} of size {shape[axis]} does not divide by the "
                f"{topology.size(dim)} of topology {topology}"
            )
    return tuple(dim if dim in dims else None for dim in axes)
