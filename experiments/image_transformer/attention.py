"""Masked local self-attention in blocks: its memory is linear in the length.

Positions stand in slots, a block of them after another, in the order in which they are
generated.  A slot sees those up to itself in its own block, and all of a memory around
the block: Parmar et al. (2018), Image Transformer, section 4.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

MASKED = -1e9  # added to the score of what may not be seen: its share is exactly 0


class Blocks(NamedTuple):
    """Where positions stand, and what each block of them sees; all static.

    Positions count as a grid's do, row after row.  They are generated in the order of
    their slots; slots without a position only fill blocks up.
    """

    num_blocks: int
    size: int  # slots of a block
    position_at: np.ndarray  # [slots] int32: the position there, or -1
    index_of: np.ndarray  # [positions] int32: where it stands
    order: np.ndarray  # [positions] int32: the position that is generated k-th
    # What a block sees besides its own slots: None, the whole block before it;
    # [blocks, memory] int32, these slots, or -1.
    memory: np.ndarray | None


def local_1d(positions: int, block: int) -> Blocks:
    """Blocks of `block` positions in raster order; memory is the block before.

    Fewer than two blocks' positions make one block.
    """
    size = positions if positions < 2 * block else block
    num_blocks = -(-positions // size)
    slots = np.arange(num_blocks * size, dtype=np.int32)
    every = slots[:positions]
    return Blocks(
        num_blocks=num_blocks,
        size=size,
        position_at=np.where(slots < positions, slots, -1).astype(np.int32),
        index_of=every,
        order=every,
        memory=None,
    )


def local_2d(
    rows: int, columns: int, block: tuple[int, int], flange: tuple[int, int]
) -> Blocks:
    """Rectangles of a grid of positions, in raster order, as are those in each.

    block: rows and columns of a rectangle.
    flange: how many rows above and how many columns to either side make its memory: the
      rows above over its width and both sides, its own rows to the left alone.
    """
    high, wide = min(block[0], rows), min(block[1], columns)
    above, beside = flange
    down, across = -(-rows // high), -(-columns // wide)
    row = np.arange(down * high).reshape(down, 1, high, 1)
    column = np.arange(across * wide).reshape(1, across, 1, wide)
    there = (row < rows) & (column < columns)  # [down, across, high, wide]
    position = np.where(there, row * columns + column, -1).ravel()
    order = position[position >= 0]
    slot = np.empty(rows * columns, np.int64)
    slot[order] = np.flatnonzero(position >= 0)

    top, left = np.divmod(np.arange(down * across), across)
    top, left = (top * high)[:, None], (left * wide)[:, None]
    seen_row, seen_column = _offsets(high, wide, above, beside)
    row, column = top + seen_row, left + seen_column  # [blocks, memory]
    there = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    memory = np.where(there, slot[np.where(there, row * columns + column, 0)], -1)
    return Blocks(
        num_blocks=down * across,
        size=high * wide,
        position_at=position.astype(np.int32),
        index_of=slot.astype(np.int32),
        order=order.astype(np.int32),
        memory=memory.astype(np.int32),
    )


def key_mask(blocks: Blocks) -> np.ndarray:
    """[blocks, memory + size] bool: what of memory and block is a position at all."""
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
    """What every slot finds: [batch, slots, value_size].

    query, key: [batch, slots, key_size]; value: [batch, slots, value_size].  Sizes are
    of all heads together.
    """
    batch, slots, value_size = value.shape

    def split(x: tf.Tensor) -> tf.Tensor:  # [batch * blocks, heads, size, depth]
        x = tf.reshape(x, (-1, blocks.size, heads, x.shape[-1] // heads))
        return tf.transpose(x, (0, 2, 1, 3))

    query, key, value = split(query), split(key), split(value)
    visible = key_mask(blocks)
    if visible.shape[1] > blocks.size:
        key, value = (
            tf.concat([_memory(x, blocks, batch), x], axis=2) for x in (key, value)
        )
    unseen = np.where(np.tile(visible, (batch, 1)), 0, MASKED)
    found = _found(query, key, value, tf.cast(unseen, query.dtype))
    return tf.reshape(tf.transpose(found, (0, 2, 1, 3)), (batch, slots, value_size))


@tf.custom_gradient
def _found(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, unseen: tf.Tensor
) -> tuple:
    """Means of values by their share of each query: [blocks, heads, size, depth].

    query: [blocks, heads, size, depth]; key, value: [blocks, heads, keys, depth], the
      last `size` of which are the block's own; unseen: [blocks, keys], MASKED or 0.

    What a key adds to every score of it is one more coordinate, and so are the means
    that the gradient takes off: no mask is as large as the scores, and memory is passed
    over less often.  With P the shares and g a query's upstream gradient, that of its
    scores is P (g . value - g . found), whose last term autodiff sums over the keys.
    """
    scale = query.shape[-1] ** -0.5
    size, keys = query.shape[2], key.shape[2]
    later = np.triu(np.full((size, keys), MASKED), keys - size + 1)
    one = tf.ones_like(query[..., :1])
    unseen = tf.broadcast_to(unseen[:, tf.newaxis, :, tf.newaxis], (*key.shape[:3], 1))
    scores = tf.matmul(
        tf.concat([query * scale, one], -1),
        tf.concat([key, unseen], -1),
        transpose_b=True,
    )
    shares = tf.nn.softmax(scores + tf.cast(later, scores.dtype))
    found = tf.matmul(shares, value)

    def gradient(upstream: tf.Tensor) -> tuple:
        by_value = tf.matmul(shares, upstream, transpose_a=True)
        mean = tf.reduce_sum(upstream * found, -1, keepdims=True)
        by_scores = shares * tf.matmul(
            tf.concat([upstream, -mean], -1),
            tf.concat([value, tf.ones_like(value[..., :1])], -1),
            transpose_b=True,
        )
        by_query = tf.matmul(by_scores, key) * scale
        by_key = tf.matmul(by_scores, query * scale, transpose_a=True)
        return by_query, by_key, by_value, None

    return found, gradient


def _memory(x: tf.Tensor, blocks: Blocks, batch: int) -> tf.Tensor:
    """Of each block's memory: [batch * blocks, heads, memory, depth].

    x: of the blocks themselves, [batch * blocks, heads, size, depth].
    """
    if blocks.memory is None:
        before = _before(tf.reshape(x, (batch, blocks.num_blocks, *x.shape[1:])))
        return tf.reshape(before, x.shape)
    _, heads, _, depth = x.shape
    slots = tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (batch, -1, heads, depth))
    found = tf.gather(slots, np.maximum(blocks.memory, 0), axis=1)
    found = tf.reshape(found, (-1, blocks.memory.shape[1], heads, depth))
    return tf.transpose(found, (0, 2, 1, 3))


@tf.custom_gradient
def _before(x: tf.Tensor) -> tuple:
    """Of each block the one before it, zeros before the first: [batch, blocks, ...]."""
    more = [[0, 0]] * (x.shape.rank - 2)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.pad(upstream[:, 1:], [[0, 0], [0, 1], *more])

    return tf.pad(x[:, :-1], [[0, 0], [1, 0], *more]), gradient


def _offsets(
    high: int, wide: int, above: int, beside: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a block's memory, from its first position: [memory] each."""
    strip = np.meshgrid(
        np.arange(-above, 0), np.arange(-beside, wide + beside), indexing="ij"
    )
    side = np.meshgrid(np.arange(high), np.arange(-beside, 0), indexing="ij")
    row, column = (
        np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(strip, side, strict=True)
    )
    return row, column
