"""The draws of a run on disk: chunks as they come, then one netCDF file."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr

from experiments.inference import Samples, saved
from experiments.inference.metric import Moments
from experiments.inference.named_statistics import sample_stats
from experiments.inference.results import Constrained, group
from experiments.inference.samples import concatenate
from experiments.inference.step_size import StepSize
from experiments.inference.warmup_state import WarmupState

NETCDF = "draws.nc"
_CHUNKS = "chunks"  # unconstrained draws and statistics: what --resume goes on from
_WARMUP = "warmup.npz"
_NESTED: dict[str, Any] = {"step": StepSize, "moments": Moments}  # of WarmupState


def folder_of(folder: Path) -> Path:
    """The folder of chunks in that of a run, or of one of its processes."""
    return folder / _CHUNKS


def save(folder: Path, first: int, chunk: Samples) -> None:
    """Writes the chunk whose first draw has number `first`, whole or not at all."""
    saved.write(folder / _CHUNKS / f"{first:09d}.npz", chunk._asdict())


def save_warmup(folder: Path, state: WarmupState) -> None:
    """Writes all that a warm-up carries on, and keeps what was there before it."""
    arrays: dict[str, Any] = {}
    for name, value in state._asdict().items():
        parts = value._asdict() if name in _NESTED else {"": value}
        arrays |= {f"{name}.{part}": array for part, array in parts.items()}
    path = folder / _CHUNKS / _WARMUP
    if path.exists():
        path.replace(path.with_suffix(".before"))
    saved.write(path, arrays)


def load_warmup(folder: Path) -> WarmupState | None:
    """What a warm-up carries on; None where there is none.

    A damaged file is passed over for the one before it, and that for the beginning: a
    line says so.  What follows makes the same draws again.
    """
    path = folder / _CHUNKS / _WARMUP
    before = path.with_suffix(".before")
    for place, follows in ((path, f"{before.name}"), (before, "the beginning")):
        if not place.exists():
            continue
        try:
            arrays = saved.read(place)
            fields: dict[str, Any] = {}
            for name in WarmupState._fields:
                own = {
                    key.partition(".")[2]: value
                    for key, value in arrays.items()
                    if key.partition(".")[0] == name
                }
                fields[name] = _NESTED[name](**own) if name in _NESTED else own[""]
        except saved.DAMAGED as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            print(
                f"{place.name}: damaged warm-up: {text}; going on from {follows}",
                flush=True,
            )
            continue
        return WarmupState(**fields)
    return None


def chunks(folders: Sequence[Path]) -> Iterator[Samples]:
    """The chunks of a run's processes, each with the draws of all chains, in order.

    folders: of each process, in the order of their chains.

    Raises `saved.Damaged` for a chunk that is damaged, and for one that is missing.
    """
    if len(folders) == 1:
        yield from saved.chunks(folders[0] / _CHUNKS)
        return
    runs = [saved.chunks(folder / _CHUNKS) for folder in folders]
    held: list[Samples | None] = [None] * len(runs)
    while True:
        for i, run in enumerate(runs):
            if held[i] is None or held[i].depth.shape[1] == 0:
                held[i] = next(run, None)
        parts = [part for part in held if part is not None]
        if len(parts) < len(runs):
            return
        num = min(part.depth.shape[1] for part in parts)
        yield concatenate([_some(part, slice(num)) for part in parts], axis=0)
        held = [_some(part, slice(num, None)) for part in parts]


def _some(samples: Samples, draws: slice) -> Samples:
    return Samples(*(part[:, draws] for part in samples))


def num_saved(folder: Path) -> int:
    """The draws of each chain in the folder of a process, by its last chunk."""
    paths = saved.chunk_paths(folder / _CHUNKS)
    if not paths:
        return 0
    return int(paths[-1].stem) + saved.read(paths[-1])["depth"].shape[1]


def write_netcdf(
    run_dir: Path,
    folders: Sequence[Path],
    posterior: Any,
    first_tree: xr.DataTree,
    *,
    step_size: Any,
    max_depth: int,
) -> Path:
    """Writes draws.nc from the chunks, one at a time, whole or not at all.

    folders: of the run's processes, as of `chunks`.
    first_tree: the DataTree of the first chunk, with all other groups.
    """
    partial = run_dir / f".{NETCDF}.tmp"
    growing = {"posterior": {"draw"}, "sample_stats": {"draw"}}
    try:
        first_tree.to_netcdf(
            partial,
            engine="h5netcdf",
            unlimited_dims={f"/{name}": dims for name, dims in growing.items()},
        )
        constrained = None
        with h5netcdf.File(partial, "a") as file:
            done = 0
            for chunk in chunks(folders):
                num = chunk.draws.shape[1]
                if done:  # the first is there
                    if constrained is None:
                        constrained = Constrained(posterior.constrain, chunk.draws)
                    values = group(
                        constrained.by_name(chunk.draws), posterior, ("chain", "draw")
                    )
                    stats = group(
                        sample_stats(chunk, step_size, max_depth),
                        None,
                        ("chain", "draw"),
                    )
                    _append(file["posterior"], values, done)
                    _append(file["sample_stats"], stats, done)
                done += num
        os.replace(partial, run_dir / NETCDF)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return run_dir / NETCDF


def _append(file_group: Any, values: xr.Dataset, done: int) -> None:
    num = values.sizes["draw"]
    file_group.resize_dimension("draw", done + num)
    file_group.variables["draw"][done : done + num] = np.arange(done, done + num)
    for name, value in values.data_vars.items():
        stored = file_group.variables[name]
        array = value.transpose("chain", "draw", ...).values
        stored[:, done : done + num] = array.astype(stored.dtype)
