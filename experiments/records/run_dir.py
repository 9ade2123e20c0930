"""The folder of one run: who may write it, and run.json on how it went."""

import contextlib
import datetime
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.records import jsonlines

SCHEMA = 1
_KINDS = {
    "running": "an unfinished",
    "done": "a finished",
    "failed": "a failed",
    "interrupted": "an interrupted",
}
STATUSES = tuple(_KINDS)
UNREADABLE = "unreadable"  # run.json is empty or cut short, as a full disk leaves it
ATTEMPTS = "attempts"  # of a resumed run: the records of the earlier attempts
_RECORDS = ("config.gin", "operative.gin", "provenance.json", "run.json")


class RunDirError(Exception):
    """A folder that a run may not be written to; the text says why."""


class CheckFailed(Exception):
    """The run ended, but its accuracy check did not pass; the text says by how much.

    brief: what a person who has read the run's output needs to be told.
    """

    def __init__(self, text: str, *, brief: str = "") -> None:
        super().__init__(text)
        self.brief = brief


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
    if path.exists():
        if _locked(path):
            raise RunDirError(f"{path} is being written by another process")
        _check_content(path, overwrite=overwrite, resume=resume)


def _check_content(path: Path, *, overwrite: bool, resume: bool) -> None:
    if not any(path.iterdir()):
        return
    status = read_status(path)
    if status is None:
        raise RunDirError(
            f"{path} is not empty and holds no run; such a folder is never overwritten"
        )
    if not overwrite and not resume:
        kind = _KINDS.get(status, "an unreadable run.json of a")
        raise RunDirError(
            f"{path} holds {kind} run; "
            "choose another --workdir, or give --resume or --overwrite"
        )


def read_status(path: Path) -> str | None:
    """The status in run.json, one of STATUSES; None when `path` is no run folder.

    UNREADABLE where run.json is no JSON and what lies beside it is a run's.
    """
    content = _run_json(path)
    if content is None:
        others = {p.name for p in path.iterdir()} - {"run.json"}
        return UNREADABLE if not others or others & set(_RECORDS) else None
    status = content.get("status")
    return status if status in STATUSES else None


def read_seed(path: Path) -> int | None:
    """The seed of the run in `path`; None when it holds none."""
    content = _run_json(path)
    if content is None:  # its config says it, too
        with contextlib.suppress(OSError):
            config = (path / "config.gin").read_text()
            found = re.search(r"^seed = (\d+)$", config, re.MULTILINE)
            return int(found[1]) if found else None
    seed = (content or {}).get("seed")
    return seed if type(seed) is int else None


def read_code(path: Path) -> int | None:
    """The exit code of the run in `path`; None for one that has not ended."""
    code = (_run_json(path) or {}).get("exit_code")
    return code if type(code) is int else None


def num_attempts(path: Path) -> int:
    """How many earlier attempts the run in `path` has had."""
    return len(list((path / ATTEMPTS).glob("*/run.json")))


@contextlib.contextmanager
def claim(path: Path, *, overwrite: bool, resume: bool = False) -> Iterator[Path]:
    """Makes `path` an empty run folder and keeps other processes out of it meanwhile.

    resume: a run that it holds stays as it is, and its records are copied to attempts/,
      before the new attempt writes its own.

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
        # Again, now that no other process can change it.
        _check_content(path, overwrite=overwrite, resume=resume)
        if resume and read_status(path) is not None:
            _keep_attempt(path)
        else:
            _clear(path)
        yield path
    finally:
        os.close(handle)


def write_run(path: Path, **fields: Any) -> None:
    """Writes run.json whole.  Raises ValueError for a status that is not known.

    Where a full disk has no room for a new file, the old one's is written over, without
    a traceback.
    """
    status = fields.get("status")
    if status not in STATUSES:
        raise ValueError(f"status: given {status!r}, wanted one of {STATUSES}")
    record = {"schema": SCHEMA, **fields}
    try:
        text = jsonlines.dumps(record, indent=2) + "\n"
        jsonlines.write_text(path / "run.json", text)
    except OSError:
        short = {**record, "traceback": None} if record.get("traceback") else record
        with open(path / "run.json", "r+b") as file:
            file.write(jsonlines.dumps(short, indent=2).encode() + b"\n")
            file.truncate()


def close(path: Path, *, status: str, exit_code: int, reason: str) -> None:
    """Says how a run ended whose process could not; one that did end stays as it is."""
    content = _run_json(path)
    if content and content.get("status") == "running":
        ended = {"status": status, "exit_code": exit_code, "reason": reason}
        write_run(path, **{**content, **ended, "finished_at": utc_now()})


def withdraw(path: Path) -> bool:
    """Removes a run folder that holds nothing but a run's first records.

    Returns whether it did: False where a run wrote more, or had an earlier attempt.
    """
    if any(p.name not in _RECORDS for p in path.iterdir()):
        return False
    _clear(path)
    path.rmdir()
    return True


def _locked(path: Path) -> bool:
    """Whether another process has claimed the folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _run_json(path: Path) -> dict[str, Any] | None:
    """The content of run.json, empty where there is none; None where it is no JSON."""
    try:
        content = json.loads((path / "run.json").read_text())
    except OSError:
        return {}
    except ValueError:
        return None
    return content if isinstance(content, dict) else {}


def _keep_attempt(path: Path) -> None:
    folder = path / ATTEMPTS / f"{num_attempts(path) + 1:03d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _RECORDS:
            if (path / name).exists():  # run.json last: with it the copy is whole
                shutil.copyfile(path / name, folder / name)
    except OSError as error:
        raise RunDirError(f"{folder} cannot be made: {error.strerror}") from error


def _clear(path: Path) -> None:
    """Empties a run folder, run.json last: cut short, it is still a run folder."""
    for child in sorted(path.iterdir(), key=lambda child: child.name == "run.json"):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
