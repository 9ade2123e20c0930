"""Which columns of a feature matrix are numbers, and which are one-hot groups."""

from typing import NamedTuple

import numpy as np


class Structure(NamedTuple):
    """Features [rows, dim] as numbers, and the hot column of each group and row.

    A row is base + rise at its hot columns, besides the numbers.
    """

    numbers: np.ndarray  # [numbers] the columns that hold them
    hot: np.ndarray  # [groups, rows] the group's high column
    base: np.ndarray  # [dim] float64, a column's low value; 0 of numbers
    rise: np.ndarray  # [dim] float64, by how much its high value is above


def find(features: np.ndarray) -> Structure:
    """The structure of features [rows, dim].

    A group is a run of columns of two values each, standardised or not, of which
    exactly one is high in each row.  A column of one value is no number: it is base
    alone.
    """
    dim = features.shape[1]
    low = features.min(axis=0).astype(np.float64)
    high = features.max(axis=0).astype(np.float64)
    base, rise = np.zeros(dim), np.zeros(dim)
    numbers, groups = [], []
    first = 0
    while first < dim:
        if low[first] == high[first]:
            base[first] = low[first]
            first += 1
            continue
        group = _group(features, first, low, high)
        if group is None:
            numbers.append(first)
            first += 1
            continue
        hot, last = group
        groups.append(hot)
        base[first:last] = low[first:last]
        rise[first:last] = (high - low)[first:last]
        first = last
    hot = np.reshape(groups, [len(groups), len(features)])
    return Structure(np.array(numbers, np.int64), hot.astype(np.int64), base, rise)


def _group(
    features: np.ndarray, first: int, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, int] | None:
    """The hot column of each row, and the first column after the group.

    The group begins at `first`; None where none does.
    """
    found = np.full(len(features), -1)
    for column in range(first, features.shape[1]):
        values = features[:, column]
        is_high = (values == high[column]) & (high[column] > low[column])
        if not np.all(is_high | (values == low[column])) or np.any(
            is_high & (found >= 0)
        ):
            return None
        found[is_high] = column
        if np.all(found >= 0):
            return found, column + 1
    return None
