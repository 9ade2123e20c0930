"""Entries of a tensor by known indices, in a form that suits XLA on a CPU.

TensorFlow's gradient of tf.gather adds each entry to its sum in turn, in a loop that
XLA does not spread over a vector's lanes.  Known indices make tables of which entries
each sum consists of, so that a gather and a sum over the tables' rows do the same.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

MAX_TERMS = 8  # in a row of a table: longer sums are sums of sums


def take(value: tf.Tensor, places: np.ndarray, axis: int) -> tf.Tensor:
    """tf.gather(value, places, axis=axis), whose gradient has no scatter.

    places: whole numbers of any shape, from 0 to the axis's size - 1.
    """
    size = value.shape[axis]
    is_dense = size is not None and 0 < size <= 2 * places.size
    # Eagerly, and where most entries are left out, TensorFlow's sparse gradient is
    # cheaper.
    if tf.executing_eagerly() or not is_dense or not value.dtype.is_floating:
        return tf.gather(value, tf.constant(places), axis=axis)
    taken = _entries(value, places.ravel().astype(np.int32), size, axis)
    if places.ndim == 1:
        return taken
    shape = tf.shape(value)
    full = tf.concat([shape[:axis], places.shape, shape[axis + 1 :]], 0)
    static = [*value.shape[:axis], *places.shape, *value.shape[axis + 1 :]]
    return tf.ensure_shape(tf.reshape(taken, full), static)


def _entries(value: tf.Tensor, places: np.ndarray, size: int, axis: int) -> tf.Tensor:
    """The entries at `places` [n] of an axis of this size: [..., n, ...]."""

    @tf.custom_gradient
    def entries(value: tf.Tensor) -> tuple[tf.Tensor, Any]:
        taken = tf.gather(value, tf.constant(places), axis=axis)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            upstream = tf.ensure_shape(upstream, taken.shape)
            return _sums(upstream, places, size, axis)

        return taken, gradient

    return entries(value)


def _sums(entries: tf.Tensor, places: np.ndarray, size: int, axis: int) -> tf.Tensor:
    """The sums of the entries [..., n, ...] of each place: [..., size, ...]."""

    @tf.custom_gradient
    def sums(entries: tf.Tensor) -> tuple[tf.Tensor, Any]:
        total, num = entries, len(places)
        for table in sum_tables(places, size):
            if table.max() == num:
                paddings = np.zeros([total.shape.rank, 2], np.int32)
                paddings[axis, 1] = 1
                total = tf.pad(total, paddings)
            rows = tf.gather(total, tf.constant(table), axis=axis)
            total, num = tf.reduce_sum(rows, axis + 1), len(table)
        return total, lambda upstream: _entries(upstream, places, size, axis)

    return sums(entries)


def sum_tables(groups: np.ndarray, size: int) -> list[np.ndarray]:
    """How to add up entries by group: tables [sums, terms], one after another.

    The first table's numbers are those of entries, the next one's those of the first
    one's sums, and so on; the last has a row for each group.  The number behind the
    last stands for a zero.

    groups: [entries], from 0 to size - 1.
    """
    counts = np.bincount(groups, minlength=size)
    # As many as the groups have on average, so that few are zeros.
    terms = int(np.clip(len(groups) / np.count_nonzero(counts), 2, MAX_TERMS))
    tables = []
    while counts.max() > terms:
        blocks = -(-counts // terms)
        tables.append(_table(groups, counts, blocks, terms))
        groups, counts = np.repeat(np.arange(size), blocks), blocks
    return [*tables, _table(groups, counts, np.ones_like(counts), int(counts.max()))]


def _table(
    groups: np.ndarray, counts: np.ndarray, blocks: np.ndarray, terms: int
) -> np.ndarray:
    """The numbers of each group's entries, in its `blocks` rows of `terms`."""
    num = len(groups)
    rank = np.arange(num) - np.repeat(np.cumsum(counts) - counts, counts)
    row = np.repeat(np.cumsum(blocks) - blocks, counts) + rank // terms
    table = np.full([blocks.sum(), terms], num, np.int32)
    table[row, rank % terms] = np.argsort(groups, kind="stable")
    return table


def _share_indices() -> None:
    """Lets tf.vectorized_map gather from all entries of a batch by the same indices.

    TensorFlow would repeat the indices for each, so that XLA looks up pairs of numbers.
    """
    converters = pfor._pfor_converter_registry
    stock = converters["GatherV2"]

    def convert(gather: Any) -> Any:
        (value, is_batch, _), (places, repeated, _) = gather.input(0), gather.input(1)
        axis = tf.get_static_value(gather.unstacked_input(2))
        is_plain = gather.get_attr("batch_dims") == 0 and axis is not None
        if not (is_batch and is_plain) or repeated:
            return stock(gather)
        axis = int(axis) + int(axis >= 0)  # behind the batch's
        return pfor.wrap(tf.gather(value, places, axis=axis), True)

    converters["GatherV2"] = convert


_share_indices()
