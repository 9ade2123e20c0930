"""The random numbers of chains that are each at a draw of their own."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import prng, stream_lookup, streams

CHAINS = np.array([0, 1, 8, 1001], np.int32)
FIRST = np.array([0, 3, 40, 2], np.int32)  # each chain's first row
ROWS, LEAVES = 3, 3
SEEDS = [[3, 5], [-7, 11], [2**31 - 1, -(2**31)]]


def draw(dim, max_depth, *, seed, first=FIRST, num_rows=ROWS, dtype=np.float64):
    return streams.draw(
        tf.constant(seed, tf.int32),
        CHAINS,
        first,
        num_rows,
        rows=ROWS,
        dim=dim,
        max_depth=max_depth,
        dtype=dtype,
        energy_dtype=np.float64,
    )


@functools.cache
def _of_prng(dim, max_depth, num):
    """The four arrays of a transition of chain num - 1, drawn for all by `prng`."""

    def arrays(seed, number):
        seeds = prng.split(prng.fold_in(seed, number), 4)
        leaf_seeds = [prng.fold_in(seeds[3], tf.constant(i)) for i in range(LEAVES)]
        return (
            prng.normal(seeds[0], (num, dim), tf.float64)[-1],
            prng.uniform(seeds[1], (num, max_depth))[-1] < 0.5,
            prng.uniform(seeds[2], (num, max_depth))[-1],
            tf.stack([prng.uniform(seed, (num,))[-1] for seed in leaf_seeds]),
        )

    return tf.function(arrays, autograph=False)


def of_prng(dim, max_depth, chain, number, seed):
    function = _of_prng(dim, max_depth, int(chain) + 1)
    return function(tf.constant(seed), tf.constant(int(number)))


@pytest.mark.parametrize(("dim", "max_depth"), [(3, 5), (4, 10), (1, 1), (3, 10)])
def test_a_chains_numbers_are_those_of_its_transition_for_all_chains(dim, max_depth):
    for seed, begin in zip(SEEDS, (0, 17, 2**30), strict=True):
        first = FIRST + np.int32(begin)
        found = draw(dim, max_depth, seed=seed, first=first)
        np.testing.assert_array_equal(found.first, first)
        row = np.arange(len(CHAINS), dtype=np.int32) % ROWS  # of each chain
        drawn = tf.constant(first + row)
        momenta = stream_lookup.momentum(found, drawn).numpy()
        levels = [tf.repeat(depth, len(CHAINS)) for depth in range(max_depth)]
        forward = np.stack(
            [stream_lookup.is_forward(found, drawn, depth) for depth in levels]
        )
        doubling = np.stack(
            [stream_lookup.doubling_uniform(found, drawn, depth) for depth in levels]
        )
        leaves = np.stack(
            [
                stream_lookup.leaf_uniform(
                    found, drawn, tf.repeat(leaf, len(CHAINS)), CHAINS
                )
                for leaf in range(LEAVES)
            ]
        )
        for i, number in enumerate(first + row):
            wanted = of_prng(dim, max_depth, CHAINS[i], number, seed)
            # TensorFlow's inverse of the distribution function rounds otherwise.
            np.testing.assert_allclose(momenta[:, i], wanted[0], rtol=1e-15)
            np.testing.assert_array_equal(forward[:, i], wanted[1])
            np.testing.assert_array_equal(doubling[:, i], wanted[2])
            np.testing.assert_array_equal(leaves[:, i], wanted[3])


def test_normals_have_the_dtype_of_positions_and_uniforms_that_of_energies():
    found = draw(3, 5, seed=SEEDS[0], dtype=np.float32)
    assert (found.momenta.dtype, found.doublings.dtype) == (np.float32, np.float64)
    wide = draw(3, 5, seed=SEEDS[0])
    np.testing.assert_array_equal(found.momenta, wide.momenta.astype(np.float32))


def test_a_chain_past_its_last_row_and_depth_reads_what_is_there():
    found = draw(3, 5, seed=SEEDS[0])
    past = tf.constant(FIRST + ROWS)
    last = tf.constant(FIRST + ROWS - 1)
    np.testing.assert_array_equal(
        stream_lookup.momentum(found, past), stream_lookup.momentum(found, last)
    )
    depth = tf.repeat(5, len(CHAINS))
    np.testing.assert_array_equal(
        stream_lookup.doubling_uniform(found, last, depth), found.doublings[ROWS - 1, 4]
    )


def test_rows_behind_those_wanted_are_zeros():
    found, all_rows = (draw(3, 5, seed=SEEDS[0], num_rows=num) for num in (2, ROWS))
    for part, whole in zip(found[1:], all_rows[1:], strict=True):
        np.testing.assert_array_equal(part[:2], whole[:2])
        assert part.shape == whole.shape and not np.any(part[2:])
