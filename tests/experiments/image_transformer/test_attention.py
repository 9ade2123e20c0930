"""Attention in blocks is attention under a mask, and its memory is linear."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.image_transformer import attention
from experiments.image_transformer.network import Sizes, blocks
from tests.experiments.image_transformer import plain

HEADS = 2
ONE_D = [(1, 4), (7, 4), (8, 4), (9, 4), (12, 4), (13, 4), (13, 1), (13, 5), (6, 6)]
TWO_D = [  # (rows, columns), block, flange
    ((4, 6), (2, 3), None),
    ((5, 7), (2, 3), None),
    ((5, 7), (2, 3), (1, 2)),
    ((5, 7), (3, 2), (4, 5)),
    ((4, 4), (2, 2), (0, 0)),
    ((4, 4), (2, 2), (2, 0)),
    ((4, 4), (2, 2), (0, 2)),
    ((3, 5), (8, 8), (1, 1)),
    ((3, 4), (1, 1), (1, 1)),
]


def sizes_of(rows, columns, **given):
    """Of a grid with a position a pixel."""
    return Sizes(
        height=rows,
        width=columns,
        likelihood="dmol",
        layers=1,
        heads=HEADS,
        hidden=8,
        key_size=6,
        value_size=4,
        filter_size=8,
        **given,
    )


CASES = {
    **{f"1d-{n}-by-{block}": sizes_of(1, n, block=block) for n, block in ONE_D},
    **{
        f"2d-{rows}x{columns}-by-{block}-{flange}": sizes_of(
            rows, columns, attention="local_2d", block=block, flange=flange
        )
        for (rows, columns), block, flange in TWO_D
    },
}
each_case = pytest.mark.parametrize("sizes", CASES.values(), ids=CASES.keys())


def drawn(sizes, batch=2, dtype=np.float32):
    random = np.random.default_rng(3)
    positions = sizes.height * sizes.width
    return [
        tf.constant(2 * random.standard_normal((batch, positions, size)), dtype)
        for size in (sizes.key_size, sizes.key_size, sizes.value_size)
    ]


def in_blocks(sizes, *given):
    """Attention of positions in the order of generation, [batch, positions, size]."""
    laid = blocks(sizes)
    slots = laid.index_of[laid.order]
    filled = [  # what stands in slots without a position must not matter
        tf.tensor_scatter_nd_update(
            tf.fill((len(laid.position_at), x.shape[0], x.shape[2]), 7.0),
            slots[:, np.newaxis],
            tf.transpose(x, (1, 0, 2)),
        )
        for x in given
    ]
    filled = [tf.transpose(x, (1, 0, 2)) for x in filled]
    found = attention.local_attention(*filled, blocks=laid, heads=sizes.heads)
    return tf.gather(found, slots, axis=1)


def under_mask(sizes, query, key, value):
    """The same by one mask over all pairs, every score made."""
    found = []
    visible = tf.constant(plain.mask(sizes))
    by_head = (tf.split(x, HEADS, -1) for x in (query, key, value))
    for q, k, v in zip(*by_head, strict=True):
        scores = tf.matmul(q, k, transpose_b=True) / np.sqrt(q.shape[-1])
        found.append(tf.matmul(tf.nn.softmax(tf.where(visible, scores, -1e9)), v))
    return tf.concat(found, -1)


@each_case
def test_blocks_find_what_one_mask_over_all_pairs_does(sizes):
    given = drawn(sizes)
    np.testing.assert_allclose(
        in_blocks(sizes, *given), under_mask(sizes, *given), rtol=1e-5, atol=1e-5
    )


@each_case
def test_gradients_by_hand_are_autodiffs_of_the_masked_scores(sizes):
    given = drawn(sizes)
    by = []
    for attend in (in_blocks, under_mask):
        with tf.GradientTape() as tape:
            tape.watch(given)
            found = attend(sizes, *given)
            aim = tf.reshape(tf.range(tf.size(found), dtype=tf.float32), found.shape)
            goal = tf.reduce_sum(found * tf.sin(aim))
        by.append(tape.gradient(goal, given))
    for one, other in zip(*by, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@each_case
def test_every_position_has_one_slot_and_one_turn(sizes):
    laid = blocks(sizes)
    rows, columns = sizes.height, sizes.width
    assert [divmod(p, columns) for p in laid.order] == plain.places(sizes)
    np.testing.assert_array_equal(
        laid.position_at[laid.index_of], np.arange(rows * columns)
    )
    assert np.count_nonzero(laid.position_at >= 0) == rows * columns
    assert (np.diff(laid.index_of[laid.order]) > 0).all()


def test_rectangles_come_in_raster_order_and_so_do_their_positions():
    laid = attention.local_2d(4, 4, (2, 2), (2, 2))
    corner = [0, 1, 4, 5]
    assert laid.order.tolist() == [p + by for by in (0, 2, 8, 10) for p in corner]


def test_fewer_than_two_blocks_of_positions_are_one_block():
    assert [attention.local_1d(n, 4).size for n in (1, 7, 8, 9)] == [1, 7, 4, 4]
    assert [attention.local_1d(n, 4).num_blocks for n in (1, 7, 8, 9)] == [1, 1, 2, 3]


@pytest.mark.parametrize("kind", ["local_1d", "local_2d"])
def test_memory_is_linear_in_the_number_of_positions(kind):
    def largest(rows):
        block = 8 if kind == "local_1d" else (2, 4)
        sizes = sizes_of(rows, 8, attention=kind, block=block)

        def value_and_gradient(*given):
            with tf.GradientTape() as tape:
                tape.watch(given)
                found = attention.local_attention(
                    *given, blocks=blocks(sizes), heads=HEADS
                )
            return tape.gradient(found, given)

        graph = tf.function(value_and_gradient).get_concrete_function(*drawn(sizes))
        made = [x.shape for op in graph.graph.get_operations() for x in op.outputs]
        return max(shape.num_elements() for shape in made if shape.is_fully_defined())

    small, large = largest(16), largest(64)
    assert large == 4 * small


@pytest.mark.parametrize("hidden_far", [True, False])
def test_what_is_not_seen_has_no_share_even_where_its_score_is_large(hidden_far):
    sizes = sizes_of(1, 12, block=4)
    query, key, value = drawn(sizes, batch=1)
    first = 3 if hidden_far else 8  # of a block before, or later, than those checked
    at = slice(0, first) if hidden_far else slice(first, None)
    checked = slice(8, None) if hidden_far else slice(0, first)
    changed = np.array(key)
    changed[:, at] *= 1e4
    other = np.array(value)
    other[:, at] = 1e4
    np.testing.assert_array_equal(
        in_blocks(sizes, query, key, value)[:, checked],
        in_blocks(sizes, query, tf.constant(changed), tf.constant(other))[:, checked],
    )


def test_bfloat16_is_close_to_float32():
    sizes = sizes_of(1, 64, block=16)
    given = drawn(sizes)
    exact = in_blocks(sizes, *given)
    laid = blocks(sizes)
    rounded = attention.local_attention(
        *(tf.cast(x, tf.bfloat16) for x in given), blocks=laid, heads=HEADS
    )
    assert rounded.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(rounded, tf.float32), exact, atol=0.1)
