"""Design matrices whose products read numbers and categories, not one-hot columns."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ppl_core import frames, indices, operators, patterns
from ppl_core.patterns import Group, Split

_LABEL = "DesignMatrix"
_Product = Callable[[tf.Tensor], tf.Tensor]


class DesignMatrix(tf.experimental.ExtensionType):
    """A matrix [rows, columns] of data, such as a regression's, kept by its structure.

    The columns of a category, or any columns of two values each, repeat a few patterns
    of values.  Of these it keeps a table, and for each row the number of its pattern;
    of the other columns it keeps the numbers.  `design @ coeffs` and its gradient are
    those of the whole matrix to rounding, and no array of [rows, columns] is made.

    coeffs: [columns], or [columns, k] for k products at once.  The product has their
      dtype.  Gradients reach the coefficients; the matrix is data.

    `weights @ design` takes weights [rows], or [k, rows].

    Rows stay in the order given.  Blocks of rows with one pattern, at the front, are
    the cheapest: they need no look-up for each row.  `argsort` gives such an order.

    `design[rows]` is the matrix of these rows, by a slice or an array, as NumPy's.

    >>> design = ppl.DesignMatrix([[0.5, 1.0, 0.0], [0.25, 0.0, 1.0]])
    >>> (design @ tf.constant([2.0, 3.0, 4.0])).numpy().tolist()
    [4.0, 4.5]
    """

    # With this, a NumPy array on the left of `@` leaves it to this class.
    __array_ufunc__ = None
    numbers: tf.Tensor  # [columns of numbers, rows]
    codes: tuple[tf.Tensor, ...]  # of each group, [rows] unsigned
    tables: tuple[tf.Tensor, ...]  # of each group, [patterns, columns of the group]
    blocks: tf.Tensor  # [blocks, columns of all groups], of the rows at the front
    block_rows: int  # rows of one block
    places: tuple[int, ...]  # of all columns: numbers first, then group by group
    names: tuple[str, ...]  # of the columns

    def __init__(
        self,
        data: Any,
        *,
        names: Sequence[str] | None = None,
        intercept: bool = False,
        drop_first: bool = False,
    ) -> None:
        """Takes a data frame of pandas, or an array [rows, columns].

        Of a frame, numbers and booleans are one column each.  Categories and strings
        become a column of 0 and 1 for each category, named "column[category]", in the
        order of the categories.  An array is searched for columns of two values each,
        whatever these are, so one-hot columns may have been standardised.

        Numbers keep an array's floating dtype; those of a frame, and whole numbers,
        become float64.

        names: of an array's columns; by default "x0", "x1", and so on.
        intercept: whether to put a column of ones, named "intercept", in front.
        drop_first: whether to leave out the first category of each column of a frame.

        Raises ValueError, with the column, for numbers that are missing or not finite,
        for missing categories, for a column of another kind or of more than 1,024
        categories; and for data without rows or columns, or names that are not one
        different name a column.
        """
        is_frame = hasattr(data, "columns") and hasattr(data, "iloc")
        if is_frame and names is not None:
            raise ValueError(
                f"{_LABEL}: given names={names!r} and a data frame, wanted no names: "
                "its columns have theirs"
            )
        if drop_first and not is_frame:
            raise ValueError(
                f"{_LABEL}: given drop_first={drop_first!r} and an array, wanted a "
                "data frame, which says what a category is"
            )
        if is_frame:
            split, names = frames.split_frame(
                data, _LABEL, intercept=intercept, drop_first=drop_first
            )
        else:
            split, names = _split_array(data, names, intercept)
        for key, part in _fields(split, tuple(names), None).items():
            setattr(self, key, part)

    @property
    def shape(self) -> tf.TensorShape:
        """[rows, columns]; rows are None where only a tf.function knows them."""
        return tf.TensorShape([self.numbers.shape[1], len(self.places)])

    @property
    def dtype(self) -> tf.DType:
        """The dtype of the numbers."""
        return self.numbers.dtype

    def __repr__(self) -> str:
        patterns_of = [
            f"{table.shape[1]} columns of {table.shape[0]} patterns"
            for table in self.tables
        ]
        parts = [f"{self.numbers.shape[0]} columns of numbers", *patterns_of]
        parts.append(f"{self.blocks.shape[0]} blocks of {self.block_rows} rows")
        return (
            f"<DesignMatrix {tuple(self.shape)} {self.dtype.name}: {', '.join(parts)}>"
        )

    def __matmul__(self, coeffs: Any) -> tf.Tensor:
        coeffs = self._check(coeffs, "[columns] or [columns, k]", (1, 2), 0)
        if coeffs.shape.rank == 1:
            return self.matvec(coeffs)
        return tf.transpose(self.matvec(tf.transpose(coeffs)))

    def __rmatmul__(self, weights: Any) -> tf.Tensor:
        weights = self._check(weights, "[rows] or [k, rows]", (1, 2), -1, rows=True)
        product = _products(self.cast(weights.dtype))[1]
        if weights.shape.rank == 1:
            return product(weights[tf.newaxis])[0]
        return product(weights)

    def matvec(self, coeffs: Any) -> tf.Tensor:
        """The products with coeffs [..., columns]: [..., rows]."""
        coeffs = self._check(coeffs, "[..., columns]", None, -1)
        return _product(self.cast(coeffs.dtype), coeffs)

    def argsort(self) -> np.ndarray:
        """The order of rows that is cheapest: [rows], for `design[order]`.

        Everything else that has one entry a row, the data first of all, is to be put in
        this order too: `y[order]`.

        >>> design = ppl.DesignMatrix(np.eye(3)[[0, 2, 0, 1]])
        >>> design.argsort().tolist()
        [1, 3, 0, 2]
        """
        return patterns.order(self._groups(), self.shape[0])

    def to_dense(self) -> tf.Tensor:
        """The whole matrix: [rows, columns]."""
        columns = self.matvec(tf.eye(len(self.places), dtype=self.dtype))
        return tf.transpose(columns)

    def cast(self, dtype: tf.DType) -> "DesignMatrix":
        """The matrix with its numbers in `dtype`, float32 or float64."""
        if dtype == self.dtype:
            return self
        # Data known when a tf.function is traced are cast once for all calls.
        known = _is_known(self.numbers)
        with tf.init_scope() if known else contextlib.nullcontext():
            return self._with(
                numbers=tf.cast(self.numbers, dtype),
                tables=tuple(tf.cast(table, dtype) for table in self.tables),
                blocks=tf.cast(self.blocks, dtype),
            )

    def __getitem__(self, rows: Any) -> "DesignMatrix":
        if isinstance(rows, (tuple, int, np.integer)) or rows is None:
            raise TypeError(
                f"{_LABEL}: given the index {rows!r}, wanted rows: a slice, or an "
                "array of numbers or booleans"
            )
        rows = rows.value if operators.is_variable(rows) else rows
        if rows is Ellipsis:
            return self
        numbers = indices.get_item(self.numbers, (slice(None), rows), _LABEL)
        codes = [indices.get_item(part, rows, _LABEL) for part in self.codes]
        changed = self._with(
            numbers=numbers, codes=tuple(codes), blocks=self.blocks[:0]
        )
        if not all(map(_is_known, (numbers, *codes, *self.tables))):
            return changed  # its rows are looked up one by one
        split = Split(numbers.numpy(), self.places[: len(numbers)], changed._groups())
        # Parts of one matrix have blocks of one size, and so one trace.
        block_rows = self.block_rows if len(self.blocks) else None
        return _from_fields(_fields(split, self.names, block_rows))

    def _with(self, **changes: Any) -> "DesignMatrix":
        names = (
            "numbers",
            "codes",
            "tables",
            "blocks",
            "block_rows",
            "places",
            "names",
        )
        return _from_fields({name: getattr(self, name) for name in names} | changes)

    def _groups(self) -> list[Group]:
        places = iter(self.places[self.numbers.shape[0] :])
        return [
            Group(
                tuple(itertools.islice(places, table.shape[1])),
                codes.numpy(),
                table.numpy(),
            )
            for codes, table in zip(self.codes, self.tables, strict=True)
        ]

    def _check(
        self,
        coeffs: Any,
        wanted: str,
        ranks: Sequence[int] | None,
        axis: int,
        *,
        rows: bool = False,
    ) -> tf.Tensor:
        """Coefficients as a tensor with one entry for each column along `axis`.

        rows: whether they are weights, with one for each row instead.
        """
        what = "weights" if rows else "coefficients"
        if isinstance(coeffs, DesignMatrix):
            raise TypeError(
                f"{_LABEL}: given two of them for `@`, wanted {what} {wanted}"
            )
        if operators.is_variable(coeffs):
            what = f"{coeffs.label} as {what}"
        elif not tf.is_tensor(coeffs):
            coeffs = np.asarray(coeffs)
            if coeffs.dtype.kind in "fiu":
                coeffs = coeffs.astype(self.dtype.as_numpy_dtype)
            if coeffs.dtype.kind != "f":
                raise TypeError(
                    f"{_LABEL}: given {what} of {coeffs.dtype}, wanted numbers"
                )
        coeffs = tf.convert_to_tensor(coeffs)
        if coeffs.dtype not in (tf.float32, tf.float64):
            raise TypeError(
                f"{_LABEL}: given {what} of {coeffs.dtype.name}, wanted float32 or "
                "float64"
            )
        rank = coeffs.shape.rank
        size = self.shape[0] if rows else len(self.places)
        is_known = rank is not None and (rank in ranks if ranks else rank > 0)
        given = coeffs.shape[axis] if is_known else None
        if not is_known or given != size and not (rows and None in (given, size)):
            raise ValueError(
                f"{_LABEL}: given {what} of shape {coeffs.shape}, wanted {wanted} for "
                f"{size} {'rows' if rows else 'columns'}"
            )
        return coeffs


def _split_array(
    data: Any, names: Sequence[str] | None, intercept: bool
) -> tuple[Split, list[str]]:
    """The array by its structure, and the names of its columns."""
    if operators.is_variable(data) or isinstance(data, DesignMatrix):
        raise TypeError(
            f"{_LABEL}: given a {type(data).__name__}, wanted a data frame or an array"
        )
    if np.ma.isMaskedArray(data) and np.ma.getmaskarray(data).any():
        raise ValueError(
            f"{_LABEL}: given an array with {int(np.ma.count_masked(data))} masked "
            "entries, wanted none: leave these rows out"
        )
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"{_LABEL}: given rows of different lengths") from error
    except NotImplementedError as error:
        raise TypeError(
            f"{_LABEL}: given a tensor of a tf.function, wanted data; make the design "
            "outside"
        ) from error
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{_LABEL}: given an array of shape {array.shape}, wanted [rows, columns]"
        )
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{_LABEL}: given an array of {array.dtype}, wanted numbers; categories "
            "come in a data frame"
        )
    is_float32 = array.dtype in (np.float32, np.float16)
    array = array.astype(np.float32 if is_float32 else np.float64, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"{_LABEL}: given {array[row, column]} in row {row} of column {column}, "
            "wanted finite numbers"
        )
    names = (
        [f"x{i}" for i in range(array.shape[1])]
        if names is None
        else list(map(str, names))
    )
    if len(names) != array.shape[1]:
        raise ValueError(
            f"{_LABEL}: given {len(names)} names, wanted {array.shape[1]}, one a column"
        )
    if intercept:
        names = ["intercept", *names]
        array = np.concatenate([np.ones([len(array), 1], array.dtype), array], axis=1)
    return patterns.split_array(array), names


def _fields(
    split: Split, names: tuple[str, ...], block_rows: int | None
) -> dict[str, Any]:
    """The fields of a design; block_rows: None: as is cheapest."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"{_LABEL}: given the name {twice!r} twice, wanted one of each"
        )
    numbers, places, groups = split
    dtype = numbers.dtype
    size, num = patterns.find_blocks(groups, block_rows)
    firsts = np.arange(num) * size
    blocks = [np.zeros([num, 0])]
    blocks += [group.table[group.codes[firsts]] for group in groups]
    return {
        "numbers": tf.constant(numbers),
        "codes": tuple(tf.constant(group.codes) for group in groups),
        "tables": tuple(tf.constant(group.table, dtype) for group in groups),
        "blocks": tf.constant(np.concatenate(blocks, axis=1), dtype),
        "block_rows": size,
        "places": places + tuple(i for group in groups for i in group.columns),
        "names": names,
    }


def _from_fields(fields: dict[str, Any]) -> DesignMatrix:
    design = object.__new__(DesignMatrix)
    for name, part in fields.items():
        object.__setattr__(design, name, part)
    return design


def _is_known(tensor: tf.Tensor) -> bool:
    """Whether it has its numbers now, and is no symbol of a tf.function."""
    return isinstance(tensor, tf.__internal__.EagerTensor)


def _products(design: DesignMatrix) -> tuple[_Product, _Product]:
    """The matrix times coeffs [n, columns], and its transpose times weights [n, rows].

    Each is the other's gradient, so that higher ones are products as well.
    """

    @tf.custom_gradient
    def product(coeffs: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return _times(design, coeffs), transposed

    @tf.custom_gradient
    def transposed(weights: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return _transposed_times(design, weights), product

    return product, transposed


def _product(design: DesignMatrix, coeffs: tf.Tensor) -> tf.Tensor:
    """The matrix times coeffs [..., columns]: [..., rows]; its gradient likewise."""
    product, _ = _products(design)
    if coeffs.shape.rank == 1:
        return product(coeffs[tf.newaxis])[0]
    flat = product(tf.reshape(coeffs, [-1, len(design.places)]))
    rows = tf.shape(design.numbers)[1:]
    result = tf.reshape(flat, tf.concat([tf.shape(coeffs)[:-1], rows], 0))
    return tf.ensure_shape(result, [*coeffs.shape[:-1], design.numbers.shape[1]])


def _times(design: DesignMatrix, coeffs: tf.Tensor) -> tf.Tensor:
    """[n, columns] -> [n, rows]."""
    coeffs = _moved(coeffs, design.places)
    split = design.numbers.shape[0]
    result = tf.matmul(coeffs[:, :split], design.numbers)
    if not design.codes:
        return result
    of_groups = coeffs[:, split:]
    shifts = []
    front = design.blocks.shape[0] * design.block_rows
    if front:
        of_blocks = tf.matmul(of_groups, design.blocks, transpose_b=True)
        of_rows = tf.tile(of_blocks[:, :, tf.newaxis], [1, 1, design.block_rows])
        shifts.append(tf.reshape(of_rows, [-1, front]))
    if not front or front != design.numbers.shape[1]:
        sizes = [table.shape[1] for table in design.tables]
        parts = zip(
            tf.split(of_groups, sizes, 1), design.tables, design.codes, strict=True
        )
        shifts.append(
            tf.add_n(
                tf.gather(
                    tf.matmul(of_group, table, transpose_b=True),
                    tf.cast(codes[front:], tf.int32),
                    axis=1,
                )
                for of_group, table, codes in parts
            )
        )
    return result + (shifts[0] if len(shifts) == 1 else tf.concat(shifts, 1))


def _transposed_times(design: DesignMatrix, weights: tf.Tensor) -> tf.Tensor:
    """[n, rows] -> [n, columns]."""
    of_numbers = tf.matmul(weights, design.numbers, transpose_b=True)
    if not design.codes:
        return _moved(of_numbers, _inverse(design.places))
    of_groups = []
    num, size = design.blocks.shape[0], design.block_rows
    front = num * size
    if front:
        blocks = tf.reshape(weights[:, :front], [-1, num, size])
        of_groups.append(tf.matmul(tf.reduce_sum(blocks, -1), design.blocks))
    if not front or front != design.numbers.shape[1]:
        rest = weights[:, front:]
        groups = [
            tf.matmul(_sums(rest, codes[front:], table.shape[0]), table)
            for codes, table in zip(design.codes, design.tables, strict=True)
        ]
        of_groups.append(tf.concat(groups, 1))
    columns = tf.concat([of_numbers, tf.add_n(of_groups)], 1)
    return _moved(columns, _inverse(design.places))


def _inverse(places: Sequence[int]) -> list[int]:
    return [int(index) for index in np.argsort(places)]


def _sums(weights: tf.Tensor, codes: tf.Tensor, size: int) -> tf.Tensor:
    """The sums of the weights [n, rows] by code: [n, size]."""
    codes = tf.cast(codes, tf.int32)
    if weights.shape[0] == 1:
        return tf.math.unsorted_segment_sum(weights[0], codes, size)[tf.newaxis]
    sums = tf.math.unsorted_segment_sum(tf.transpose(weights), codes, size)
    return tf.transpose(sums)


def _moved(columns: tf.Tensor, places: Sequence[int]) -> tf.Tensor:
    """The columns in the order of `places`."""
    if list(places) == list(range(len(places))):
        return columns
    return tf.gather(columns, tf.constant(places, tf.int32), axis=1)
