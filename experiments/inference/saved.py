"""Draws on disk: files of arrays written whole or not at all, and chunks in order."""

import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference.samples import Samples

DAMAGED = (OSError, ValueError, EOFError, TypeError, KeyError, zipfile.BadZipFile)


class Damaged(ValueError):
    """A file of draws that cannot be read, or is not there; the text names it."""


def write(path: Path, arrays: Mapping[str, Any]) -> None:
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


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file.  Raises one of DAMAGED for one that is not whole."""
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as parts:
        return dict(parts)


def chunk_paths(folder: Path) -> list[Path]:
    """The chunks in a folder, in order: NUMBER.npz, by the number of the first draw."""
    found = folder.glob("[0-9]*.npz")
    return sorted(found, key=lambda path: (len(path.stem), path.stem))


def chunks(folder: Path, *, pass_over_last: bool = False) -> Iterator[Samples]:
    """The chunks in a folder, in order, one in memory at a time.

    pass_over_last: whether the last one, if it is damaged, is passed over, which a line
      says.  A run that is resumed then makes it again.

    Raises Damaged for any other that is damaged or missing.
    """
    done = 0
    paths = chunk_paths(folder)
    for path in paths:
        if int(path.stem) != done:
            raise Damaged(
                f"{path.name}: no chunk of draws from {done} on before it; to draw "
                "them again, remove it and those after it, and --resume"
            )
        try:
            chunk = Samples(**read(path))
            num = chunk.draws.shape[1]
        except DAMAGED as error:
            text = f"{path.name}: damaged chunk of draws: {_one_line(error)}"
            if pass_over_last and path == paths[-1]:
                print(f"{text}; going on from draw {done}, before it", flush=True)
                return
            raise Damaged(
                f"{text}; to draw them again, remove it and those after it, and "
                "--resume"
            ) from error
        done += num
        yield chunk


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
