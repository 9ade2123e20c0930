"""The columns of a data frame, numbers and categories, as those of a design matrix."""

from typing import Any

import numpy as np

from ppl_core import patterns
from ppl_core.patterns import Group, Split


def split_frame(
    frame: Any, label: str, *, intercept: bool, drop_first: bool
) -> tuple[Split, list[str]]:
    """The frame by its structure, and the names of the design's columns.

    frame: of pandas.
    label: what takes it, in errors.
    intercept: whether a column of ones is put in front.
    drop_first: whether the first category of each column is left out.

    Raises ValueError, with the column, as `DesignMatrix` does.
    """
    rows = len(frame)
    if not rows or not frame.shape[1]:
        raise ValueError(f"{label}: given shape {frame.shape}, wanted rows and columns")
    if not frame.columns.is_unique:
        twice = str(frame.columns[frame.columns.duplicated()][0])
        raise ValueError(f"{label}: given column {twice!r} twice, wanted one of each")
    names: list[str] = []
    numbers: dict[int, np.ndarray] = {}
    parts: list[Group] = []
    if intercept:
        names.append("intercept")
        parts.append(patterns.group_of_ones(0, rows, np.float64))
    for column in frame.columns:
        series = frame[column]
        where = f"{label}: given column {str(column)!r}"
        _check_present(series, where)
        if hasattr(series, "cat") or series.dtype.kind == "O":
            categories, codes = _categories(series, where)
            table = np.eye(len(categories))[:, drop_first:]
            places = range(len(names), len(names) + table.shape[1])
            if table.shape[1]:
                parts.append(Group(tuple(places), codes, table))
            names += [f"{column}[{category}]" for category in categories[drop_first:]]
            continue
        if series.dtype.kind not in "iufb":
            raise ValueError(
                f"{where} of {series.dtype}, wanted numbers, booleans, categories or "
                "strings"
            )
        values = series.to_numpy(np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise ValueError(
                f"{where} with {values[wrong[0]]} in row {wrong[0]}, wanted finite "
                "numbers"
            )
        patterns.place(values, len(names), numbers, parts)
        names.append(str(column))
    return patterns.split(numbers, parts, rows, np.float64), names


def _check_present(series: Any, where: str) -> None:
    missing = np.flatnonzero(np.asarray(series.isna()))
    if len(missing):
        raise ValueError(
            f"{where} with {len(missing)} missing entries, the first in row "
            f"{missing[0]}, wanted none: leave these rows out"
        )


def _categories(series: Any, where: str) -> tuple[list[Any], np.ndarray]:
    """The categories, and the index of each row's."""
    if not hasattr(series, "cat"):
        other = [part for part in series if not isinstance(part, str)]
        if other:
            raise ValueError(
                f"{where} with {other[0]!r}, wanted numbers, booleans, categories or "
                "strings"
            )
        series = series.astype("category")
    categories = list(series.cat.categories)
    if len(categories) > patterns.MAX_PATTERNS:
        raise ValueError(
            f"{where} of {len(categories):,} categories, wanted at most "
            f"{patterns.MAX_PATTERNS:,}; index a variable by it instead"
        )
    return categories, np.asarray(series.cat.codes).astype(np.uint16)
