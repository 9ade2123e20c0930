"""JSON files that survive a crash: written whole, truncated last lines dropped."""

import contextlib
import fcntl
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def to_jsonable(value: Any) -> Any:
    """`value` for strict JSON: NaN and infinity as None, arrays as lists."""
    if hasattr(value, "tolist"):  # a NumPy array or scalar, without importing NumPy
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_jsonable(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """`value` as strict JSON; raises TypeError for a type that JSON lacks."""
    return json.dumps(
        to_jsonable(value), allow_nan=False, ensure_ascii=False, indent=indent
    )


def write_text(path: Path, text: str) -> None:
    """Writes `path` atomically: a crash leaves the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp's 0600 would hide it from other users
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def append(path: Path, value: Any) -> None:
    """Adds `value` as one line, after removing a line that a crash truncated.

    Makes the folder.  Writers of one file wait for each other.
    """
    line = dumps(value).encode() + b"\n"  # may raise: before the file changes
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields (line number, value); a truncated last line is dropped.

    Raises ValueError, with file and line, for any other line that is not JSON.
    """
    lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: not JSON: {error}") from error
