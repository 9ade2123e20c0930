"""Checkpoints: arrays by name, in folders that are written whole or not at all.

checkpoints/step-000100/ holds 0000.npy and so on, and manifest.json: the name, shape,
dtype and checksum of each array, and the run's metadata.
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
    """A checkpoint that cannot be written or resumed from; the text says why."""


class Checkpoint(NamedTuple):
    """What `save` wrote."""

    step: int
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


class Summary(NamedTuple):
    """What a checkpoint says of itself."""

    step: int
    metadata: dict[str, Any]
    entries: list[dict[str, Any]]  # of each array: name, shape, dtype and more

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Each array's shape, by name."""
        return {entry["name"]: tuple(entry["shape"]) for entry in self.entries}


def save(
    folder: Path,
    step: int,
    arrays: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, Any],
    keep_last: int,
    keep_every: int | None = None,
) -> Path:
    """Writes folder/step-NNNNNN, returns its path, and deletes old checkpoints.

    metadata: JSON values that `load` compares with its reader's.
    keep_last: how many of the latest to keep.
    keep_every: checkpoints at multiples of this step are kept too.

    Raises CheckpointError if it cannot be written (such as on a full disk), and leaves
    the earlier checkpoints unchanged.
    """
    final = folder / f"step-{step:06d}"
    if final.exists():
        raise CheckpointError(f"{final} already exists and is never overwritten")
    partial = _partial(final)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob(".step-*.partial"):  # by a killed process
            shutil.rmtree(abandoned)
        partial.mkdir()
        entries = [
            _write(partial / f"{number:04d}.npy", name, np.asarray(array, order="C"))
            for number, (name, array) in enumerate(arrays.items())
        ]
        about = {"schema": SCHEMA, "step": step, "about": metadata, "arrays": entries}
        text = jsonlines.dumps(about, indent=1) + "\n"
        jsonlines.write_text(partial / MANIFEST, text)
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
    """The checkpoint of the highest step; None if there is none."""
    by_step = _by_step(folder)
    return by_step[max(by_step)] if by_step else None


def load(path: Path, *, metadata: Mapping[str, Any]) -> Checkpoint:
    """Returns the checkpoint in `path` after verifying every array's checksum.

    metadata: what its metadata must contain, such as the model's name.

    Raises CheckpointError, which names the file, for a damaged checkpoint and for one
    of another schema or another run.
    """
    about = summary(path, metadata=metadata)
    arrays = {entry["name"]: _read(path, entry) for entry in about.entries}
    return Checkpoint(about.step, arrays, about.metadata)


def summary(path: Path, *, metadata: Mapping[str, Any]) -> Summary:
    """What `load` returns, with the shapes of the arrays in place of these."""
    manifest = _manifest(path)
    for name, expected in metadata.items():
        stored = manifest["about"].get(name)
        if stored != jsonlines.to_jsonable(expected):
            raise CheckpointError(
                f"{path} is of another run: its {name} is {stored!r}, "
                f"wanted {expected!r}"
            )
    return Summary(manifest["step"], manifest["about"], manifest["arrays"])


def _write(path: Path, name: str, array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: given dtype {array.dtype}, wanted numbers")
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
    damaged = f"{path} is damaged: {entry['file']}, which is {entry['name']},"
    try:
        array: np.ndarray = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise CheckpointError(f"{damaged} is missing{_alternative(path)}") from error
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{damaged} cannot be read{_alternative(path)}"
        ) from error
    if array.dtype.str != entry["dtype"] or list(array.shape) != entry["shape"]:
        raise CheckpointError(
            f"{damaged} is {array.dtype.str} {list(array.shape)}, "
            f"wanted {entry['dtype']} {entry['shape']}{_alternative(path)}"
        )
    if _checksum(array) != entry["sha256"]:
        raise CheckpointError(
            f"{damaged} differs from what was saved{_alternative(path)}"
        )
    return array


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        schema = manifest["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {MANIFEST} cannot be read{_alternative(path)}"
        ) from error
    if schema != SCHEMA:
        raise CheckpointError(f"{path} has schema {schema!r}, wanted {SCHEMA}")
    missing = {"step", "about", "arrays"} - manifest.keys()
    if missing:
        raise CheckpointError(
            f"{path} is damaged: {MANIFEST} lacks {sorted(missing)}{_alternative(path)}"
        )
    return dict(manifest)


def _alternative(path: Path) -> str:
    """Advice to the reader of a damaged checkpoint."""
    others = {s: p for s, p in _by_step(path.parent).items() if p != path}
    if not others:
        return "; there is no other checkpoint"
    return f"; remove it to resume from {others[max(others)].name}"


def _by_step(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in matches if match}


def _prune(folder: Path, keep_last: int, keep_every: int | None) -> None:
    by_step = _by_step(folder)
    keep = set(sorted(by_step)[-keep_last:])
    if keep_every is not None:
        keep |= {step for step in by_step if step and step % keep_every == 0}
    for step in by_step.keys() - keep:
        partial = _partial(by_step[step])  # a half-deleted folder must not look whole
        os.replace(by_step[step], partial)
        shutil.rmtree(partial)


def _partial(final: Path) -> Path:
    return final.with_name(f".{final.name}.partial")


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.atleast_1d(array)).hexdigest()


def _sync(folder: Path) -> None:
    """Flushes a folder's entries to disk, so that they survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free(folder: Path) -> int:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    return shutil.disk_usage(existing).free
