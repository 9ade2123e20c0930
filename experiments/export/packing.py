"""Arrays on disk in less room, and the same to the last bit when they come back.

Columns of data have few values that differ, since they were counted or measured with
few digits.  Each row of a large matrix with at most 65,536 of them is kept as the
values and their numbers.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

MIN_BYTES = 1 << 16  # smaller arrays are kept as they are
MAX_VALUES = 1 << 16  # of a row


def digest(array: np.ndarray) -> str:
    """The sha256 of an array's dtype, shape and values."""
    array = np.asarray(array)
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    found.update(np.ascontiguousarray(array).data if array.size else b"")
    return found.hexdigest()


def pack(path: Path, array: np.ndarray) -> None:
    """Writes the array to `path`, an npz."""
    array = np.asarray(array)
    parts: dict[str, Any] = {}
    if array.ndim == 2 and array.nbytes >= MIN_BYTES:
        parts = _by_values(array)
    np.savez_compressed(path, **(parts or {"array": array}))


def unpack(path: Path) -> np.ndarray:
    """The array that `pack` wrote."""
    with np.load(path, allow_pickle=False) as parts:
        if "array" in parts:
            return np.asarray(parts["array"])
        shape = tuple(int(size) for size in parts["shape"])
        array = np.empty(shape, parts["dtype"].dtype)
        for row in range(shape[0]):
            array[row] = parts[f"values_{row}"][parts[f"numbers_{row}"]]
    return array


def _by_values(array: np.ndarray) -> dict[str, Any]:
    """The parts of a matrix whose rows have few values; none for another."""
    parts: dict[str, Any] = {
        "shape": np.array(array.shape),
        "dtype": np.zeros(0, array.dtype),
    }
    bits = f"u{array.dtype.itemsize}"  # NaN and -0.0 keep their bits
    for row, values in enumerate(array):
        found, numbers = np.unique(
            np.ascontiguousarray(values).view(bits), return_inverse=True
        )
        if len(found) > MAX_VALUES:
            return {}
        small = np.uint8 if len(found) <= 256 else np.uint16
        parts[f"values_{row}"] = found.view(array.dtype)
        parts[f"numbers_{row}"] = numbers.astype(small)
    return parts
