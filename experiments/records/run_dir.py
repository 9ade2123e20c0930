"""The folder of one run: who may write it, and what run.json says of how it went."""

import contextlib
import datetime
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.records import jsonlines

SCHEMA = 1
_TOLD = {
    "running": "an unfinished",
    "done": "a finished",
    "failed": "a failed",
    "interrupted": "an interrupted",
}
STATUSES = tuple(_TOLD)
ATTEMPTS = "attempts"  # of a run that was resumed: what each earlier one said of itself


class RunDirError(Exception):
    """A folder that a run may not be written to; the text says why."""


class CheckFailed(Exception):
    """The run ended, but its accuracy check did not pass; the text says by how much."""


def utc_now() -> str:
    """The time as 2025-01-31T23:59:59Z."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check(path: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Raises RunDirError when `path` cannot become a run folder; changes nothing.

    overwrite: it may hold a run, which goes; resume: it may hold one, which stays.
    """
    for parent in (path, *path.parents):
        if parent.exists():
            if not parent.is_dir():
                raise RunDirError(f"{parent} is a file, wanted a folder")
            if not os.access(parent, os.W_OK | os.X_OK):
                raise RunDirError(f"{parent} cannot be written to")
            break
    if not path.exists() or not any(path.iterdir()):
        return
    status = read_status(path)
    if status is None:
        raise RunDirError(
            f"{path} is not empty and holds no run; such a folder is never overwritten"
        )
    if not overwrite and not resume:
        raise RunDirError(
            f"{path} holds {_TOLD[status]} run; "
            "choose another --workdir, or give --resume or --overwrite"
        )


def read_status(path: Path) -> str | None:
    """What run.json says of the run in `path`; None when it is no run folder."""
    status = _run_json(path).get("status")
    return status if status in STATUSES else None


def read_seed(path: Path) -> int | None:
    """The seed of the run in `path`; None when it holds none."""
    seed = _run_json(path).get("seed")
    return seed if type(seed) is int else None


def num_attempts(path: Path) -> int:
    """How often the run in `path` was ended and resumed."""
    return len(list((path / ATTEMPTS).glob("*/run.json")))


@contextlib.contextmanager
def claim(path: Path, *, overwrite: bool, resume: bool = False) -> Iterator[Path]:
    """Makes `path` an empty run folder and keeps other processes out of it meanwhile.

    resume: a run that it holds stays as it is, and what it said of itself is copied
      to attempts/, for the attempt that follows to say its own.

    Raises RunDirError as `check` does, and when another process is writing there.
    """
    check(path, overwrite=overwrite, resume=resume)
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise RunDirError(f"{path} cannot be made: {error.strerror}") from error
    try:
        try:  # released by the kernel, however the process ends
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirError(f"{path} is being written by another process") from error
        # Again, now that nobody else can change it.
        check(path, overwrite=overwrite, resume=resume)
        if resume and read_status(path) is not None:
            _keep_attempt(path)
        else:
            _clear(path)
        yield path
    finally:
        os.close(handle)


def write_run(path: Path, **fields: Any) -> None:
    """Writes run.json whole.  Raises ValueError for a status that is not known."""
    if fields.get("status") not in STATUSES:
        given = fields.get("status")
        raise ValueError(f"status: given {given!r}, wanted one of {STATUSES}")
    text = jsonlines.dumps({"schema": SCHEMA, **fields}, indent=2)
    jsonlines.write_text(path / "run.json", text + "\n")


def _run_json(path: Path) -> dict[str, Any]:
    """What run.json says; nothing where it is not there or not one."""
    try:
        told = json.loads((path / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _keep_attempt(path: Path) -> None:
    folder = path / ATTEMPTS / f"{num_attempts(path) + 1:03d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.gin", "operative.gin", "provenance.json", "run.json"):
            if (path / name).exists():  # run.json last: with it the copy is whole
                shutil.copyfile(path / name, folder / name)
    except OSError as error:
        raise RunDirError(f"{folder} cannot be made: {error.strerror}") from error


def _clear(path: Path) -> None:
    """Empties a run folder, run.json last: cut short, it is still seen to be one."""
    for held in sorted(path.iterdir(), key=lambda held: held.name == "run.json"):
        if held.is_dir() and not held.is_symlink():
            shutil.rmtree(held)
        else:
            held.unlink()
