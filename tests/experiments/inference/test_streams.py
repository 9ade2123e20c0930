"""The random numbers of chains that are each at a draw of their own."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import prng, streams

CHAINS = np.array([0, 1, 2, 5, 8, 1000], np.int32)
FIRST = np.array([0, 3, 1, 0, 40, 2], np.int32)  # each chain's first row
ROWS = 3
SEEDS = [[3, 5], [-7, 11], [2**31 - 1, -(2**31)]]


@functools.cache
def compiled(dim, max_depth, dtype, jit_compile):
    return tf.function(
        functools.partial(
            streams.draw,
            rows=ROWS,
            dim=dim,
            max_depth=max_depth,
            dtype=dtype,
            energy_dtype=tf.float64,
        ),
        jit_compile=jit_compile,
        autograph=False,
    )


def draw(dim, max_depth, *, seed, jit_compile, first_draw=0, dtype=tf.float64):
    function = compiled(dim, max_depth, dtype, jit_compile)
    arguments = (seed, CHAINS, first_draw, FIRST)
    return function(*(tf.constant(part, tf.int32) for part in arguments))


def of_prng(dim, max_depth, chain, number, seed):
    """The four arrays of a transition of one chain, as `prng` draws them for all."""
    seeds = prng.split(prng.fold_in(tf.constant(seed), tf.constant(number)), 4)
    num = int(chain) + 1
    return (
        prng.normal(seeds[0], (num, dim), tf.float64)[chain].numpy(),
        prng.uniform(seeds[1], (num, max_depth))[chain].numpy() < 0.5,
        prng.uniform(seeds[2], (num, max_depth))[chain].numpy(),
        [
            prng.uniform(prng.fold_in(seeds[3], tf.constant(leaf)), (num,))[chain]
            for leaf in range(3)
        ],
    )


@pytest.mark.parametrize(
    ("dim", "max_depth", "jit_compile"),
    [(3, 5, False), (4, 10, False), (1, 1, False), (3, 10, True), (4, 5, True)],
)
def test_a_chains_numbers_are_those_of_its_transition_for_all_chains(
    dim, max_depth, jit_compile
):
    """Rows, directions and uniforms bit for bit; normals too, but within XLA."""
    for seed, first_draw in zip(SEEDS, (0, 17, 4), strict=True):
        found = draw(
            dim, max_depth, seed=seed, jit_compile=jit_compile, first_draw=first_draw
        )
        np.testing.assert_array_equal(found.first, FIRST)
        for i in range(len(CHAINS)):
            row = i % ROWS
            normal, forward, doubling_u, leaf_u = of_prng(
                dim, max_depth, CHAINS[i], first_draw + FIRST[i] + row, seed
            )
            if jit_compile:  # of another ndtri
                np.testing.assert_allclose(found.momenta[row, :, i], normal, rtol=1e-13)
            else:
                np.testing.assert_array_equal(found.momenta[row, :, i], normal)
            np.testing.assert_array_equal(found.doublings[row, :, i], doubling_u)
            drawn = tf.constant(FIRST + row)
            for depth in range(max_depth):
                level = tf.repeat(depth, len(CHAINS))
                assert found.is_forward(drawn, level)[i] == forward[depth]
                uniform = found.doubling_uniform(drawn, level)
                assert uniform[i] == doubling_u[depth]
            np.testing.assert_array_equal(
                found.momentum(drawn)[:, i], found.momenta[row, :, i]
            )
            for leaf in range(3):
                level = tf.repeat(leaf, len(CHAINS))
                uniform = found.leaf_uniform(drawn, level, tf.constant(CHAINS))
                assert uniform[i] == leaf_u[leaf]


def test_normals_have_the_dtype_of_positions_and_uniforms_that_of_energies():
    found = draw(3, 5, seed=SEEDS[0], jit_compile=False, dtype=tf.float32)
    assert (found.momenta.dtype, found.doublings.dtype) == (tf.float32, tf.float64)
    wide = draw(3, 5, seed=SEEDS[0], jit_compile=False)
    np.testing.assert_array_equal(found.momenta, tf.cast(wide.momenta, tf.float32))


def test_a_chain_past_its_last_row_and_depth_reads_what_is_there():
    found = draw(3, 5, seed=SEEDS[0], jit_compile=False)
    past = tf.constant(FIRST + ROWS)
    last = tf.constant(FIRST + ROWS - 1)
    np.testing.assert_array_equal(found.momentum(past), found.momentum(last))
    depth = tf.repeat(5, len(CHAINS))
    np.testing.assert_array_equal(
        found.doubling_uniform(last, depth), found.doublings[ROWS - 1, 4]
    )
