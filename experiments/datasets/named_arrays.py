"""Data by name from one file: JSON as Stan has it, npz, or the columns of a CSV."""

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.datasets.files import BROKEN_ZIP, CorruptFileError, MissingDataError

_NOT_FINITE = {  # as text in CmdStan's JSON, in lower case
    "nan": np.nan,
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity"), np.inf),
    **dict.fromkeys(("-inf", "-infinity"), -np.inf),
}


def named_arrays(path: str) -> dict[str, Any]:
    """The data in a file: numbers, and arrays of numbers or text, by name.

    A name's suffix says what the file is.
    .json: one object, as CmdStan and posteriordb write it: numbers, and nested lists,
      the outermost of which is the first dimension.  "NaN", "Inf" and "-Inf" are
      numbers.
    .json.zip: a zip with one such file.
    .npz: arrays by name, as `numpy.savez` writes them.
    .csv: columns by the names in the first line, of whole numbers, numbers or text; an
      empty cell is NaN.

    A scalar is a Python number, so that it may be a size.

    Raises MissingDataError where there is no such file, and CorruptFileError, with the
    name or the line, for what is not of this form.
    """
    file = Path(path)
    readers: dict[str, Callable[[Path], dict[str, Any]]] = {
        ".json": _json,
        ".json.zip": _json_zip,
        ".npz": _npz,
        ".csv": _csv,
    }
    known = [suffix for suffix in readers if file.name.lower().endswith(suffix)]
    if not known:
        raise ValueError(f"{path}: given this name, wanted it to end in {[*readers]}")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "no such file"
        raise MissingDataError(f"{path}: given {kind}, wanted a {known[0]} file")
    try:
        return readers[known[0]](file)
    except OSError as error:
        raise CorruptFileError(f"{path}: cannot be read: {error.strerror}") from error


def _json(file: Path) -> dict[str, Any]:
    return _parsed(file.read_bytes(), str(file))


def _json_zip(file: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            inside = [n for n in archive.namelist() if n.lower().endswith(".json")]
            if len(inside) != 1:
                raise CorruptFileError(
                    f"{file}: given {len(inside)} .json files in it, wanted one"
                )
            return _parsed(archive.read(inside[0]), f"{file}/{inside[0]}")
    except CorruptFileError:
        raise
    except BROKEN_ZIP as error:
        raise CorruptFileError(f"{file}: given a damaged zip ({error})") from error


def _parsed(content: bytes, label: str) -> dict[str, Any]:
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{label}: given no JSON ({error})") from error
    if not isinstance(data, dict):
        raise CorruptFileError(
            f"{label}: given a JSON {type(data).__name__}, wanted an object of names"
        )
    return {name: _numbers(value, f"{label}: {name}") for name, value in data.items()}


def _numbers(value: Any, label: str) -> Any:
    """A number, or an array of numbers, from what JSON has in its place."""
    numbers = _leaves(value, label)
    if not isinstance(value, list):
        return next(numbers)
    shape = _shape(value)
    flat = list(numbers)
    if len(flat) != int(np.prod(shape)):
        raise CorruptFileError(
            f"{label}: given lists of several lengths, wanted one length in each "
            "dimension"
        )
    whole = all(isinstance(number, int) for number in flat)
    try:
        array = np.array(flat, np.int64 if whole and flat else np.float64)
    except OverflowError:
        array = np.array(flat, np.float64)
    return array.reshape(shape)


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    return (len(value), *(_shape(value[0]) if value else ()))


def _leaves(value: Any, label: str, depth: int | None = None) -> Iterator[Any]:
    """The numbers of a nested list, in order."""
    depth = len(_shape(value)) if depth is None else depth
    if isinstance(value, list):
        if depth == 0:
            raise CorruptFileError(f"{label}: given a list among numbers")
        for item in value:
            yield from _leaves(item, label, depth - 1)
        return
    if isinstance(value, str) and value.lower() in _NOT_FINITE:
        value = _NOT_FINITE[value.lower()]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CorruptFileError(f"{label}: given {value!r}, wanted a number")
    if depth:
        raise CorruptFileError(
            f"{label}: given a number among lists, wanted one length in each dimension"
        )
    yield value


def _npz(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except BROKEN_ZIP as error:
        raise CorruptFileError(f"{file}: given a damaged npz ({error})") from error
    return {
        name: value.item() if value.ndim == 0 else value
        for name, value in found.items()
    }


def _csv(file: Path) -> dict[str, Any]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            rows = [row for row in csv.reader(text) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorruptFileError(f"{file}: given no CSV ({error})") from error
    if len(rows) < 2:
        raise CorruptFileError(f"{file}: given no rows, wanted names and then rows")
    names = [name.strip() for name in rows[0]]
    if "" in names or len({*names}) < len(names):
        raise CorruptFileError(
            f"{file}: given the names {names}, wanted a different one for each column"
        )
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            raise CorruptFileError(
                f"{file}: row {number}: given {len(row)} cells, wanted {len(names)}"
            )
    columns = zip(*rows[1:], strict=True)
    return {name: _column(cells) for name, cells in zip(names, columns, strict=True)}


def _column(cells: tuple[str, ...]) -> np.ndarray:
    """Whole numbers, numbers, or text if a cell is neither."""
    for convert, dtype in ((int, np.int64), (_float, np.float64)):
        try:
            return np.array([convert(cell) for cell in cells], dtype)
        except (ValueError, OverflowError):
            continue
    return np.array(cells)


def _float(cell: str) -> float:
    return float(cell) if cell.strip() else np.nan
