"""The scalars of a run's variables by name, some at a time, and facts of the run."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.inference.results import FIXED, Constrain, Constrained
from experiments.inference.samples import Samples

BLOCK_NUMBERS = 1 << 22  # draws of some scalars that are read at once

# Labels of some scalars, their draws [scalars, chains, draws], and which of them the
# model keeps constant.
Scalars = Iterator[tuple[list[str], np.ndarray, np.ndarray]]


def scalars_of_samples(
    samples: Samples,
    constrain: Constrain | None,
    names: Sequence[str] | None,
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]],
) -> Scalars:
    """The coordinates, or with `constrain` the variables; see `summarize`."""
    if constrain is None:
        dim = samples.draws.shape[-1]
        labels = [f"x[{i}]" if names is None else names[i] for i in range(dim)]
        yield from _blocks(labels, samples.draws, np.zeros(dim, bool))
        return
    constrained = Constrained(constrain, samples.draws)
    fixed = constrained.fixed()
    for name, values in constrained.by_name(samples.draws).items():
        shape = values.shape[2:]
        axes = dims.get(name) or [""] * len(shape)
        parts = [
            coords.get(axis, range(size))
            for axis, size in zip(axes, shape, strict=True)
        ]
        yield from _blocks(_labels(name, parts), values, fixed[name])


def scalars_of_tree(
    tree: xr.DataTree,
) -> tuple[Scalars, dict[str, np.ndarray], dict[str, Any]]:
    """The variables, the statistics by ArviZ's names, and the settings in force.

    Raises ValueError for a DataTree without the groups posterior and sample_stats.
    """
    missing = [name for name in ("posterior", "sample_stats") if name not in tree]
    if missing:
        raise ValueError(
            f"draws: given a DataTree without {missing}, wanted them in it"
        )
    stats = tree["sample_stats"].to_dataset()
    wanted = [
        *("tree_depth", "n_steps", "acceptance_rate", "diverging", "energy"),
        "reached_max_treedepth",
    ]
    lacking = [name for name in wanted if name not in stats]
    if lacking:
        raise ValueError(f"sample_stats: given none of {lacking}, wanted them in it")
    arrays = {name: stats[name].transpose("chain", "draw").values for name in wanted}
    facts = {str(name): _fact(value) for name, value in stats.attrs.items()}
    facts.pop("inference_library", None)
    if "step_size" in stats:
        facts["step_size"] = stats["step_size"].isel(draw=-1).values.tolist()
    if "adaptation" in tree:
        found = tree["adaptation"].to_dataset()
        for name in ("divergences", "leapfrogs"):
            facts[f"warmup_{name}"] = int(found[name].sum())
        facts["warmup_seconds"] = float(found.attrs["seconds"])
    facts.setdefault("max_depth", int(arrays["tree_depth"].max()))
    fixed = json.loads(tree["posterior"].attrs.get(FIXED, "{}"))
    return _variables_of(tree["posterior"].to_dataset(), fixed), arrays, facts


def _variables_of(dataset: xr.Dataset, fixed: Mapping[str, list[int]]) -> Scalars:
    for name, whole in dataset.data_vars.items():
        variable = whole.transpose("chain", "draw", ...)
        shape = variable.shape[2:]
        parts = [
            variable.coords[dim].values if dim in variable.coords else range(size)
            for dim, size in zip(variable.dims[2:], shape, strict=True)
        ]
        constant = np.zeros(math.prod(shape), bool)
        constant[fixed.get(str(name), [])] = True
        yield from _blocks(_labels(str(name), parts), variable, constant)


def _blocks(labels: Sequence[str], values: Any, fixed: np.ndarray) -> Scalars:
    """A variable's scalars, some at a time, so that a file is not read at once.

    values: [chains, draws, ...], an array or an xarray variable.
    """
    per_scalar = math.prod(values.shape[:2])
    size = max(1, BLOCK_NUMBERS // max(1, per_scalar))
    fixed = fixed.reshape(-1)
    inner = math.prod(values.shape[3:])  # scalars of one entry of the first axis
    step = max(1, size // max(1, inner)) if values.ndim > 2 else 1
    for first in range(0, values.shape[2] if values.ndim > 2 else 1, step):
        part = values[:, :, first : first + step] if values.ndim > 2 else values
        part = np.asarray(part).reshape(*values.shape[:2], -1)
        for start in range(0, part.shape[2], size):
            block = np.moveaxis(part[..., start : start + size], 2, 0)
            place = slice(first * inner + start, first * inner + start + len(block))
            yield list(labels[place]), block, fixed[place]


def _labels(name: str, parts: Sequence[Sequence[Any]]) -> list[str]:
    """theta[A,0], theta[A,1] and so on; for a scalar its name.

    parts: the labels along each of its axes.
    """
    if not parts:
        return [name]
    return [f"{name}[{','.join(map(str, one))}]" for one in itertools.product(*parts)]


def _fact(value: Any) -> Any:
    """An attribute of a DataTree: its text may be JSON, its numbers NumPy's."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value.item() if isinstance(value, np.generic) else value
