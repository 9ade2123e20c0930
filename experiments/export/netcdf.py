"""Draws as netCDF files that ArviZ reads: one file a group, written with SciPy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import io

LIBRARY = "accelerated-ppl"


def write_group(
    path: Path,
    values: Mapping[str, np.ndarray],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
) -> None:
    """Writes the variables of one group, whole or not at all.

    dims: of each variable by name, as many as it has axes.
    coords: labels along dimensions; others count from 0.

    netCDF-3 has neither bools nor integers of 64 bits: the former become bytes that
    xarray takes for bools, the latter integers of 32.
    """
    partial = path.with_suffix(".tmp")
    try:
        # version 2: files of more than 2 GB.
        with io.netcdf_file(partial, "w", version=2) as file:
            sizes: dict[str, int] = {}
            for name, value in values.items():
                sizes |= dict(zip(dims[name], value.shape, strict=True))
            for dim, size in sizes.items():
                file.createDimension(dim, size)
                _put(file, dim, np.asarray(coords.get(dim, np.arange(size))), (dim,))
            for name, value in values.items():
                _put(file, name, value, tuple(dims[name]))
            for name, value in {"inference_library": LIBRARY, **attributes}.items():
                setattr(file, name, value)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _put(file: Any, name: str, value: np.ndarray, dims: tuple[str, ...]) -> None:
    is_bool = value.dtype == bool
    if is_bool:
        value = value.astype(np.int8)
    elif value.dtype.kind in "iu":
        value = value.astype(np.int32)
    elif value.dtype.kind in "UO":
        text = np.char.encode(value.astype(str), "utf-8")
        width = max(1, text.dtype.itemsize)
        dim = f"{name}_characters"
        file.createDimension(dim, width)
        value = np.ascontiguousarray(text).view("S1").reshape(*value.shape, width)
        dims = (*dims, dim)
    variable = file.createVariable(name, value.dtype.newbyteorder("="), dims)
    if value.ndim == 0:
        variable.assignValue(value)
    else:
        variable[:] = value
    if is_bool:
        variable.dtype = "bool"
    elif value.dtype.kind == "S":
        variable._Encoding = "utf-8"
