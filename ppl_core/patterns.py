"""Columns of a design matrix that repeat a few patterns, found in NumPy."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

MAX_PATTERNS = 1024  # of one group, whose table is then at most some MB
MIN_COLUMNS = 3  # a look-up costs as much as this many columns
BLOCK_ROWS = (512, 256, 128, 64, 32)

# Nanoseconds of a gradient on one core, measured with XLA on 2,000 to 600,000 rows.
ROW_LOOKED_UP = 6.0
BLOCK, BLOCK_COLUMN = 5.0, 0.2


class Group(NamedTuple):
    """Columns whose values are, in each row, one of few patterns."""

    columns: tuple[int, ...]
    codes: np.ndarray  # [rows] the pattern of each row, unsigned
    table: np.ndarray  # [patterns, columns]


class Split(NamedTuple):
    """A matrix by its structure."""

    numbers: np.ndarray  # [columns of numbers, rows]
    places: tuple[int, ...]  # of these columns
    groups: list[Group]


def split_array(array: np.ndarray) -> Split:
    """The array's numbers, and its columns of two values each in groups."""
    numbers: dict[int, np.ndarray] = {}
    parts: list[Group] = []
    for index, column in enumerate(array.T):
        place(column, index, numbers, parts)
    return split(numbers, parts, len(array), array.dtype)


def place(
    column: np.ndarray, index: int, numbers: dict[int, np.ndarray], parts: list[Group]
) -> None:
    """Adds the column to the parts if it has at most two values, or to the numbers."""
    for some in (column[:1000], column):  # most columns of numbers end at the first
        low, high = some.min(), some.max()
        if not np.all((some == low) | (some == high)):
            numbers[index] = column
            return
    codes = (column == high).astype(np.uint8)
    parts.append(Group((index,), codes, np.array([[low], [high]])))


def group_of_ones(index: int, rows: int, dtype: Any) -> Group:
    """A column of ones."""
    return Group((index,), np.zeros(rows, np.uint8), np.ones([1, 1], dtype))


def split(
    numbers: dict[int, np.ndarray], parts: Sequence[Group], rows: int, dtype: Any
) -> Split:
    """The numbers, by their place, and the parts in groups of enough columns."""
    groups = []
    for group in _join(parts):
        if len(group.columns) >= MIN_COLUMNS:
            groups.append(group)
            continue
        for index, values in zip(group.columns, group.table.T, strict=True):
            numbers[index] = values[group.codes]
    places = tuple(sorted(numbers))
    stacked = np.empty([len(places), rows], dtype)
    for row, index in zip(stacked, places, strict=True):
        row[:] = numbers[index]
    return Split(stacked, places, groups)


def _join(parts: Sequence[Group]) -> list[Group]:
    """Fewer groups: a part joins the last one while their patterns stay few."""
    groups: list[Group] = []
    for part in parts:
        joined = _joined(groups[-1], part) if groups else None
        if joined is None:
            groups.append(part)
        else:
            groups[-1] = joined
    return groups


def _joined(group: Group, part: Group) -> Group | None:
    size = len(part.table)
    codes = group.codes.astype(np.int64) * size + part.codes
    present = np.flatnonzero(np.bincount(codes, minlength=len(group.table) * size))
    if len(present) > min(MAX_PATTERNS, max(8, len(codes) // 8)):
        return None  # or the table would be as large as the matrix
    new = np.zeros(len(group.table) * size, _small_dtype(len(present)))
    new[present] = np.arange(len(present))
    table = np.concatenate(
        [group.table[present // size], part.table[present % size]], axis=1
    )
    return Group(group.columns + part.columns, new[codes], table)


def _small_dtype(size: int) -> Any:
    return np.uint8 if size <= 256 else np.uint16


def find_blocks(groups: Sequence[Group], block_rows: int | None) -> tuple[int, int]:
    """The rows of a block, and the number of blocks at the front.

    All rows of a block have the same patterns.  Rows after the last block are looked up
    one by one.

    block_rows: None: the size for which a gradient is cheapest.
    """
    sizes = BLOCK_ROWS if block_rows is None else (block_rows,)
    if not groups:
        return sizes[0], 0
    cell = _cells(groups)
    found = []
    for size in sizes:
        blocks = cell[: len(cell) // size * size].reshape(-1, size)
        mixed = np.flatnonzero((blocks != blocks[:, :1]).any(axis=1))
        num = int(mixed[0]) if len(mixed) else len(blocks)
        found.append((_nanoseconds(groups, size, num, len(cell)), size, num))
    _, size, num = min(found)
    return size, num


def order(groups: Sequence[Group], rows: int) -> np.ndarray:
    """The order of rows that puts as many as pays into blocks: [rows] int64."""
    if not groups:
        return np.arange(rows)
    cell = _cells(groups)
    by_cell = np.argsort(cell, kind="stable")
    counts = np.bincount(cell)
    place = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    found = []
    for size in BLOCK_ROWS:
        num = int(np.sum(counts // size))
        found.append((_nanoseconds(groups, size, num, rows), size))
    size = min(found)[1]
    whole = place < np.repeat(counts // size * size, counts)
    return np.concatenate([by_cell[whole], by_cell[~whole]])


def _nanoseconds(groups: Sequence[Group], size: int, num: int, rows: int) -> float:
    columns = sum(len(group.columns) for group in groups)
    a_block = BLOCK + BLOCK_COLUMN * columns
    return num * a_block + (rows - num * size) * ROW_LOOKED_UP * len(groups)


def _cells(groups: Sequence[Group]) -> np.ndarray:
    """A number for each row, the same where the patterns of all groups are: [rows]."""
    cell = groups[0].codes.astype(np.int64)
    for group in groups[1:]:
        cell = cell * len(group.table) + group.codes
        cell = np.unique(cell, return_inverse=True)[1]
    return cell
