"""What a runtime keeps, by name: shapes, first values, and where a rule shards them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.training.model import Model, initial_weight
from experiments.training.optimizers import Optimizer
from experiments.training.topology import Topology

LOADABLE = ("weights", "ema", "state")  # collections that `init_from` takes
STEP = "step"  # int64: updates done; every other variable is float32


class VariableSpec(NamedTuple):
    """One of the arrays that training changes."""

    collection: str  # "weights", "slots", "ema", "state" or "step"
    weight: str  # of which it is; the state's own name; "" for the step
    axes: tuple[int, ...]  # of that weight's, that it has
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        """Of the array."""
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
    """The variable behind each name that the loss is given: weights, and state."""
    named = ema_name if ema else weight_name
    given = {name: named(name) for name in model.weights}
    return given | {name: state_name(name) for name in model.state}


def variable_specs(
    model: Model, optimizer: Optimizer, *, ema: bool
) -> dict[str, VariableSpec]:
    """All that a runtime keeps of this model, by name."""
    kept = {STEP: VariableSpec(STEP, "", (), ())}
    for name, weight in model.weights.items():
        every = tuple(range(len(weight.shape)))
        kept[weight_name(name)] = VariableSpec("weights", name, every, weight.shape)
        if ema:
            kept[ema_name(name)] = VariableSpec("ema", name, every, weight.shape)
        for slot, held in optimizer.slots(weight.shape).items():
            shape = tuple(weight.shape[axis] for axis in held.axes)
            kept[slot_name(name, slot)] = VariableSpec("slots", name, held.axes, shape)
    for name, state in model.state.items():
        every = tuple(range(len(state.shape)))
        kept[state_name(name)] = VariableSpec("state", name, every, state.shape)
    return kept


def initial_value(variable: VariableSpec, model: Model, seed: int) -> np.ndarray:
    """The array before any step: weights, averages and state drawn, all else zero."""
    if variable.collection == "state":
        return initial_weight(model.state[variable.weight], variable.weight, seed)
    if variable.collection in ("weights", "ema"):
        return initial_weight(model.weights[variable.weight], variable.weight, seed)
    return np.zeros(variable.shape, variable.dtype)


def sharding(model: Model, topology: Topology) -> dict[str, tuple[str | None, ...]]:
    """Along which mesh dimension each axis of each weight is sharded, or None.

    On a mesh of examples alone every weight is whole on every device.

    Raises ValueError for a weight that no rule matches, a rule of another rank than its
    weight or of a dimension used twice, an axis that does not divide, and a mesh
    dimension that no rule uses.
    """
    dims = [name for name, size in topology.dims if name != "batch" and size > 1]
    if not dims:
        return {name: (None,) * len(w.shape) for name, w in model.weights.items()}
    found = {
        name: _axes(model, topology, name, weight.shape, dims)
        for name, weight in model.weights.items()
    }
    idle = set(dims) - {dim for axes in found.values() for dim in axes}
    if idle:
        ruled = {dim for _, axes in model.sharding_rules for dim in axes if dim}
        raise ValueError(
            f"topology {topology}: nothing of {model.name} is sharded over "
            f"{sorted(idle)}; its rules name {sorted(ruled)}"
        )
    return found


def local_shape(
    variable: VariableSpec,
    sharded: Mapping[str, tuple[str | None, ...]],
    topology: Topology,
) -> tuple[int, ...]:
    """The shape of what one device keeps of it; `sharded` is what `sharding` gave."""
    dims = mesh_dims(variable, sharded)
    return tuple(
        size // (topology.size(dim) if dim else 1)
        for size, dim in zip(variable.shape, dims, strict=True)
    )


def mesh_dims(
    variable: VariableSpec, sharded: Mapping[str, tuple[str | None, ...]]
) -> tuple[str | None, ...]:
    """The mesh dimension of each of its axes: as its weight's, of which they are."""
    if variable.collection == "state":  # whole on every device
        return (None,) * len(variable.axes)
    return tuple(sharded[variable.weight][axis] for axis in variable.axes)


def check_arrays(
    kept: Mapping[str, VariableSpec], arrays: Mapping[str, np.ndarray], model: Model
) -> None:
    """Raises ValueError, naming each, unless `arrays` are all of `kept` and no more."""
    wrong = []
    for name in sorted(kept.keys() | arrays.keys()):
        if name not in arrays:
            wrong.append(f"{name} is missing")
        elif name not in kept:
            wrong.append(f"{name} is not a variable of it")
        else:
            array, wanted = np.asarray(arrays[name]), kept[name]
            if (array.shape, array.dtype) != (wanted.shape, wanted.dtype):
                wrong.append(
                    f"{name} is {array.dtype} {list(array.shape)}, "
                    f"wanted {wanted.dtype} {list(wanted.shape)}"
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
    told = f"{model.name}: rule {pattern!r} shards {name!r} {list(shape)} over {axes}"
    if len(axes) != len(shape):
        raise ValueError(f"{told}: wanted an entry for each of its {len(shape)} axes")
    if "batch" in axes:
        raise ValueError(f"{told}: 'batch' is of examples, not of weights")
    used = [dim for dim in axes if dim is not None]
    if len(set(used)) < len(used):
        raise ValueError(f"{told}: wanted each mesh dimension once")
    for axis, dim in enumerate(axes):
        if dim and shape[axis] % topology.size(dim):
            raise ValueError(
                f"{told}: axis {axis} of size {shape[axis]} does not divide by the "
                f"{topology.size(dim)} of topology {topology}"
            )
    return tuple(dim if dim in dims else None for dim in axes)
