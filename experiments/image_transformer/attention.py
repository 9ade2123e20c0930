"""Masked local self-attention in blocks: its memory is linear in the length.

The sequence is padded to whole blocks and ordered as it is generated.  A position
attends to itself and those before it in its own block, and to all of a memory around
the block: Parmar et al. (2018), Image Transformer, section 4.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

MASKED = -1e9  # added to a masked score, whose attention weight is then exactly 0


class Blocks(NamedTuple):
    """The padded sequence, and what each of its blocks attends to; all static.

    Positions are numbered in raster order and generated in the order of the padded
    sequence.  Its length is `num_blocks * size`; indices into it are "padded indices".
    """

    num_blocks: int
    size: int  # of a block
    position_at: np.ndarray  # [padded length] int32: the position there; -1: padding
    index_of: np.ndarray  # [positions] int32: the padded index of each
    order: np.ndarray  # [positions] int32: the position that is generated k-th
    # What a block attends to besides itself.  None: the block before it;
    # [blocks, memory] int32: these padded indices, or -1.
    memory: np.ndarray | None


def local_1d(positions: int, block: int) -> Blocks:
    """Blocks of `block` positions in raster order; memory is the block before.

    There is one block if the positions do not fill two.

    >>> local_1d(5, 2).position_at
    array([ 0,  1,  2,  3,  4, -1], dtype=int32)
    """
    size = positions if positions < 2 * block else block
    num_blocks = -(-positions // size)
    indices = np.arange(num_blocks * size, dtype=np.int32)
    own = indices[:positions]
    return Blocks(
        num_blocks=num_blocks,
        size=size,
        position_at=np.where(indices < positions, indices, -1).astype(np.int32),
        index_of=own,
        order=own,
        memory=None,
    )


def local_2d(
    rows: int, columns: int, block: tuple[int, int], flange: tuple[int, int]
) -> Blocks:
    """Rectangular blocks in raster order, with their positions in raster order.

    block: rows and columns of a block.
    flange: rows above, and columns at either side, that make a block's memory.  Rows
      above reach over the width and both sides; its own rows reach to the left only.
    """
    high, wide = min(block[0], rows), min(block[1], columns)
    above, beside = flange
    down, across = -(-rows // high), -(-columns // wide)
    row = np.arange(down * high).reshape(down, 1, high, 1)
    column = np.arange(across * wide).reshape(1, across, 1, wide)
    inside = (row < rows) & (column < columns)  # [down, across, high, wide]
    position_at = np.where(inside, row * columns + column, -1).ravel()
    order = position_at[position_at >= 0]
    index_of = np.empty(rows * columns, np.int64)
    index_of[order] = np.flatnonzero(position_at >= 0)

    top, left = np.divmod(np.arange(down * across), across)
    top, left = (top * high)[:, None], (left * wide)[:, None]
    memory_row, memory_column = _memory_offsets(high, wide, above, beside)
    row, column = top + memory_row, left + memory_column  # [blocks, memory]
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    position = np.where(inside, row * columns + column, 0)
    memory = np.where(inside, index_of[position], -1)
    return Blocks(
        num_blocks=down * across,
        size=high * wide,
        position_at=position_at.astype(np.int32),
        index_of=index_of.astype(np.int32),
        order=order.astype(np.int32),
        memory=memory.astype(np.int32),
    )


def key_mask(blocks: Blocks) -> np.ndarray:
    """Which keys of memory and block are positions: [blocks, memory + size] bool."""
    if blocks.memory is None:
        memory = np.ones((blocks.num_blocks, blocks.size), bool)
        memory[0] = False
        memory = memory[:, : blocks.size if blocks.num_blocks > 1 else 0]
    else:
        memory = blocks.memory >= 0
    own = blocks.position_at.reshape(blocks.num_blocks, blocks.size) >= 0
    return np.concatenate([memory, own], axis=1)


def local_attention(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, *, blocks: Blocks, heads: int
) -> tf.Tensor:
    """The attention's outputs: [batch, padded length, value_size].

    query, key: [batch, padded length, key_size]; value: [batch, padded length,
      value_size].  Sizes are of all heads together.
    """
    batch, length, value_size = value.shape

    def split(x: tf.Tensor) -> tf.Tensor:  # [batch * blocks, heads, size, depth]
        x = tf.reshape(x, (-1, blocks.size, heads, x.shape[-1] // heads))
        return tf.transpose(x, (0, 2, 1, 3))

    query, key, value = split(query), split(key), split(value)
    mask = key_mask(blocks)
    if mask.shape[1] > blocks.size:
        key, value = (
            tf.concat([_memory(x, blocks, batch), x], axis=2) for x in (key, value)
        )
    key_bias = np.where(np.tile(mask, (batch, 1)), 0, MASKED)
    output = _causal_attention(query, key, value, tf.cast(key_bias, query.dtype))
    return tf.reshape(tf.transpose(output, (0, 2, 1, 3)), (batch, length, value_size))


@tf.custom_gradient
def _causal_attention(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, key_bias: tf.Tensor
) -> tuple:
    """Attention with the causal mask of a block: [blocks, heads, size, depth].

    query: [blocks, heads, size, depth]; key, value: [blocks, heads, keys, depth], the
      last `size` of which are the block's own; key_bias: [blocks, keys], MASKED or 0.

    The bias of a key is one more coordinate of it, and so are the means that the
    gradient subtracts: no mask is as large as the scores, and fewer passes over memory
    are needed.  With attention weights P and the upstream gradient g of a query, the
    gradient of its scores is P (g . value - g . output).  Autodiff computes the last
    term as a sum over the keys.
    """
    scale = query.shape[-1] ** -0.5
    size, keys = query.shape[2], key.shape[2]
    causal = np.triu(np.full((size, keys), MASKED), keys - size + 1)
    one = tf.ones_like(query[..., :1])
    key_bias = key_bias[:, tf.newaxis, :, tf.newaxis]
    key_bias = tf.broadcast_to(key_bias, (*key.shape[:3], 1))
    scores = tf.matmul(
        tf.concat([query * scale, one], -1),
        tf.concat([key, key_bias], -1),
        transpose_b=True,
    )
    weights = tf.nn.softmax(scores + tf.cast(causal, scores.dtype))
    output = tf.matmul(weights, value)

    def gradient(upstream: tf.Tensor) -> tuple:
        by_value = tf.matmul(weights, upstream, transpose_a=True)
        mean = tf.reduce_sum(upstream * output, -1, keepdims=True)
        by_scores = weights * tf.matmul(
            tf.concat([upstream, -mean], -1),
            tf.concat([value, tf.ones_like(value[..., :1])], -1),
            transpose_b=True,
        )
        by_query = tf.matmul(by_scores, key) * scale
        by_key = tf.matmul(by_scores, query * scale, transpose_a=True)
        return by_query, by_key, by_value, None

    return output, gradient


def _memory(x: tf.Tensor, blocks: Blocks, batch: int) -> tf.Tensor:
    """Keys or values of each block's memory: [batch * blocks, heads, memory, depth].

    x: those of the blocks, [batch * blocks, heads, size, depth].
    """
    if blocks.memory is None:
        previous = _previous_blocks(
            tf.reshape(x, (batch, blocks.num_blocks, *x.shape[1:]))
        )
        return tf.reshape(previous, x.shape)
    _, heads, _, depth = x.shape
    padded = tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (batch, -1, heads, depth))
    memory = tf.gather(padded, np.maximum(blocks.memory, 0), axis=1)
    memory = tf.reshape(memory, (-1, blocks.memory.shape[1], heads, depth))
    return tf.transpose(memory, (0, 2, 1, 3))


@tf.custom_gradient
def _previous_blocks(x: tf.Tensor) -> tuple:
    """The block before each block, zeros for the first: [batch, blocks, ...]."""
    more = [[0, 0]] * (x.shape.rank - 2)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.pad(upstream[:, 1:], [[0, 0], [0, 1], *more])

    return tf.pad(x[:, :-1], [[0, 0], [1, 0], *more]), gradient


def _memory_offsets(
    high: int, wide: int, above: int, beside: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the memory, relative to the block's first: [memory] each."""
    upper = np.meshgrid(
        np.arange(-above, 0), np.arange(-beside, wide + beside), indexing="ij"
    )
    left = np.meshgrid(np.arange(high), np.arange(-beside, 0), indexing="ij")
    row, column = (
        np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(upper, left, strict=True)
    )
    return row, column
