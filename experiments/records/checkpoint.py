"""What a run goes on from: arrays by name, in folders that are whole or not there.

checkpoints/step-000100/ holds 0000.npy and so on, and manifest.json: of each array its
name, shape, dtype and checksum, and of the run what whoever goes on from it must share.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.records import jsonlines

SCHEMA = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")


class CheckpointError(Exception):
    """A checkpoint that cannot be written or gone on from; the text says why."""


class Checkpoint(NamedTuple):
    """What `load` gives back of what `save` was given."""

    step: int
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


def save(
    folder: Path,
    step: int,
    arrays: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, Any],
    keep_last: int,
    keep_every: int | None = None,
) -> Path:
    """Writes folder/step-NNNNNN, gives its path, and drops what is no longer kept.

    metadata: what `load` holds against its reader, as JSON can say it.
    keep_last: how many of the newest stay; those of multiples of `keep_every` do too.

    Raises CheckpointError when it cannot be written, a full disk for one; the earlier
    ones are then as they were.
    """
    final = folder / f"step-{step:06d}"
    if final.exists():
        raise CheckpointError(f"{final} is there already, and is never written over")
    partial = _partial(final)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*.partial"):  # of a process that was killed
            shutil.rmtree(left)
        partial.mkdir()
        listed = [
            _write(partial / f"{number:04d}.npy", name, np.asarray(array, order="C"))
            for number, (name, array) in enumerate(arrays.items())
        ]
        told = {"schema": SCHEMA, "step": step, "about": metadata, "arrays": listed}
        jsonlines.write_text(partial / MANIFEST, jsonlines.dumps(told, indent=1) + "\n")
        _sync(partial)
        os.replace(partial, final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        size = sum(np.asarray(array).nbytes for array in arrays.values())
        raise CheckpointError(
            f"{final}, {size:,} bytes, could not be written: "
            f"{error.strerror or error} ({_free(folder):,} bytes free); "
            f"the last good checkpoint is {latest(folder) or 'none'}"
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _prune(folder, keep_last, keep_every)
    return final


def latest(folder: Path) -> Path | None:
    """The checkpoint of the most steps; None where there is none."""
    found = _by_step(folder)
    return found[max(found)] if found else None


def load(path: Path, *, metadata: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint in `path`, once every array is known to be what was saved.

    metadata: what it must say of itself, such as the model's name; it may say more.

    Raises CheckpointError, naming the file, for one that is damaged, and for one of
    another schema or another run.
    """
    told = _manifest(path)
    for name, wanted in metadata.items():
        held = told["about"].get(name)
        if held != jsonlines.to_jsonable(wanted):
            raise CheckpointError(
                f"{path} is of another run: its {name} is {held!r}, wanted {wanted!r}"
            )
    arrays = {entry["name"]: _read(path, entry) for entry in told["arrays"]}
    return Checkpoint(told["step"], arrays, told["about"])


def _write(path: Path, name: str, array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: dtype {array.dtype}, wanted one of plain NumPy")
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return {
        "name": name,
        "file": path.name,
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "sha256": _checksum(array),
    }


def _read(path: Path, entry: dict[str, Any]) -> np.ndarray:
    file = path / entry["file"]
    said = f"{path} is damaged: {entry['file']}, which is {entry['name']},"
    try:
        array: np.ndarray = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise CheckpointError(f"{said} is missing{_otherwise(path)}") from error
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{said} cannot be read{_otherwise(path)}") from error
    if array.dtype.str != entry["dtype"] or list(array.shape) != entry["shape"]:
        raise CheckpointError(
            f"{said} is {array.dtype.str} {list(array.shape)}, "
            f"wanted {entry['dtype']} {entry['shape']}{_otherwise(path)}"
        )
    if _checksum(array) != entry["sha256"]:
        raise CheckpointError(f"{said} is not what was saved{_otherwise(path)}")
    return array


def _manifest(path: Path) -> dict[str, Any]:
    try:
        told = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        schema = told["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: no {MANIFEST} can be read{_otherwise(path)}"
        ) from error
    if schema != SCHEMA:
        raise CheckpointError(f"{path} has schema {schema!r}, wanted {SCHEMA}")
    lacking = {"step", "about", "arrays"} - told.keys()
    if lacking:
        raise CheckpointError(
            f"{path} is damaged: {MANIFEST} lacks {sorted(lacking)}{_otherwise(path)}"
        )
    return dict(told)


def _otherwise(path: Path) -> str:
    """What is left to a reader of a damaged checkpoint."""
    others = {s: p for s, p in _by_step(path.parent).items() if p != path}
    if not others:
        return "; there is no other"
    return f"; remove it to go on from {others[max(others)].name}"


def _by_step(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in named if match}


def _prune(folder: Path, keep_last: int, keep_every: int | None) -> None:
    found = _by_step(folder)
    kept = set(sorted(found)[-keep_last:])
    if keep_every is not None:
        kept |= {step for step in found if step and step % keep_every == 0}
    for step in found.keys() - kept:
        partial = _partial(found[step])  # first, lest half of one pass for a whole
        os.replace(found[step], partial)
        shutil.rmtree(partial)


def _partial(final: Path) -> Path:
    return final.with_name(f".{final.name}.partial")


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.atleast_1d(array)).hexdigest()


def _sync(folder: Path) -> None:
    """Makes the names in a folder outlast the machine's stopping."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free(folder: Path) -> int:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free
