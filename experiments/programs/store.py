"""The draws of a run on disk: chunks as they come, then one netCDF file."""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr

from experiments.inference import Samples
from experiments.inference.metric import Moments
from experiments.inference.results import Constrained, group, sample_stats
from experiments.inference.step_size import StepSize
from experiments.inference.warmup_state import WarmupState
from experiments.records import jsonlines

NETCDF = "draws.nc"
_CHUNKS = "chunks"  # unconstrained draws and statistics: what --resume goes on from
_IDENTITY = "identity.json"
_WARMUP = "warmup.npz"
_NESTED: dict[str, Any] = {"step": StepSize, "moments": Moments}  # of WarmupState
_DAMAGED = (OSError, ValueError, EOFError, TypeError, KeyError, zipfile.BadZipFile)


def begin(run_dir: Path, identity: Mapping[str, Any]) -> None:
    """Makes the folder of chunks; `identity` says of which posterior they are."""
    folder = run_dir / _CHUNKS
    folder.mkdir(exist_ok=True)
    jsonlines.write_text(folder / _IDENTITY, jsonlines.dumps(identity, indent=2) + "\n")


def check_resumed(run_dir: Path, identity: Mapping[str, Any]) -> None:
    """Raises ValueError, with the differences, for the chunks of another posterior."""
    path = run_dir / _CHUNKS / _IDENTITY
    if not path.is_file():
        if any(chunk_paths(run_dir)):
            raise ValueError(f"resume: {path} is gone: of what are the draws?")
        return
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"resume: {path} is damaged: {error}") from error
    differences = [
        f"{name} is {identity.get(name)!r}, was {before.get(name)!r}"
        for name in sorted({*before, *identity})
        if before.get(name) != identity.get(name)
    ]
    if differences:
        raise ValueError(
            f"resume: {run_dir.name} holds draws of another posterior or sampler: "
            + "; ".join(differences)
        )


def save(run_dir: Path, first: int, chunk: Samples) -> None:
    """Writes the chunk whose first draw has number `first`, whole or not at all."""
    _write(run_dir / _CHUNKS / f"{first:09d}.npz", chunk._asdict())


def chunk_paths(run_dir: Path) -> list[Path]:
    """The chunks of a run, in order."""
    return sorted((run_dir / _CHUNKS).glob("[0-9]*.npz"))


def save_warmup(run_dir: Path, state: WarmupState) -> None:
    """Writes all that a warm-up carries on, and keeps what was there before it."""
    arrays: dict[str, Any] = {}
    for name, value in state._asdict().items():
        parts = value._asdict() if name in _NESTED else {"": value}
        arrays |= {f"{name}.{part}": array for part, array in parts.items()}
    path = run_dir / _CHUNKS / _WARMUP
    if path.exists():
        path.replace(path.with_suffix(".before"))
    _write(path, arrays)


def load_warmup(run_dir: Path) -> WarmupState | None:
    """What a warm-up carries on; None where there is none.

    A damaged file is passed over for the one before it, and a line says so.
    """
    path = run_dir / _CHUNKS / _WARMUP
    damaged = None
    for place in (path, path.with_suffix(".before")):
        if not place.exists():
            continue
        try:
            arrays = _read(place)
            fields: dict[str, Any] = {}
            for name in WarmupState._fields:
                own = {
                    key.partition(".")[2]: value
                    for key, value in arrays.items()
                    if key.partition(".")[0] == name
                }
                fields[name] = _NESTED[name](**own) if name in _NESTED else own[""]
        except _DAMAGED as error:
            damaged = ValueError(f"{place.name}: damaged warm-up: {error}")
            print(f"{damaged}; going on from the one before it, if any", flush=True)
            continue
        return WarmupState(**fields)
    if damaged is not None:
        raise damaged
    return None


def chunks(run_dir: Path) -> Iterator[Samples]:
    """The chunks of a run, in order, one in memory at a time.

    Raises ValueError for one that is damaged, and for one that is missing.
    """
    done = 0
    for path in chunk_paths(run_dir):
        try:
            chunk = Samples(**_read(path))
        except _DAMAGED as error:
            raise ValueError(f"{path.name}: damaged chunk of draws: {error}") from error
        if int(path.stem) != done:
            raise ValueError(f"{path.name}: no chunk of draws from {done} on before it")
        done += chunk.draws.shape[1]
        yield chunk


def write_netcdf(
    run_dir: Path,
    posterior: Any,
    first_tree: xr.DataTree,
    *,
    step_size: Any,
    max_depth: int,
) -> Path:
    """Writes draws.nc from the chunks, one at a time, whole or not at all.

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
            for chunk in chunks(run_dir):
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


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes the arrays whole or not at all; a full disk gets its last space back."""
    partial = path.with_suffix(".tmp")
    try:
        with open(partial, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as parts:
        return dict(parts)
