"""Philox, chain by chain: bit for bit what TensorFlow draws for all chains at once."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import philox, philox_tensors, prng

SEEDS = [[0, 0], [7, -11], [-1, 5], [2**31 - 1, -(2**31)]]
NUM = 64


def streams():
    """One stream for each seed."""
    return philox.stream(*np.transpose(SEEDS).astype(np.int32))


def of_prng(draw):
    """`draw` of each seed, side by side: [..., seeds]."""
    return np.stack([draw(tf.constant(seed, tf.int32)) for seed in SEEDS], axis=-1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_element_is_that_of_the_whole_array(jit_compile):
    wanted = of_prng(lambda seed: prng.uniform(seed, (NUM,)))
    first, second = map(tf.constant, np.transpose(SEEDS).astype(np.int32))

    @tf.function(jit_compile=jit_compile, autograph=False)
    def draw(place):
        return philox_tensors.uniform(first, second, tf.repeat(place, len(SEEDS)))

    for place in (0, 1, 2, 31, NUM - 1):
        np.testing.assert_array_equal(draw(tf.constant([place])), wanted[place])


@pytest.mark.parametrize("blocks", [philox.PASS_BLOCKS, 1])
def test_consecutive_elements_are_those_of_the_whole_array(monkeypatch, blocks):
    """Row by row, from where each chain says."""
    monkeypatch.setattr(philox, "PASS_BLOCKS", blocks)
    wanted = of_prng(lambda seed: prng.uniform(seed, (NUM,)))
    one = streams()
    rows = philox.Stream(*(np.stack([part, part[::-1]]) for part in one))
    for num in (1, 2, 5, 6):
        for start in ([0, 0, 0, 0], [0, 1, 2, 31], [5, 57, 58, 7]):
            found = philox.consecutive(rows, np.array(start, np.int32), num)
            assert found.shape == (num, 2, len(SEEDS))
            for i, first in enumerate(start):
                for row, stream in enumerate((i, -1 - i)):
                    np.testing.assert_array_equal(
                        found[:, row, i], wanted[first:][:num, stream]
                    )


def test_seeds_made_of_seeds_are_prngs():
    numbers = [0, 3, -1, 2**31 - 1]
    folded = philox.fold(streams())
    for number in numbers:
        wanted = of_prng(lambda seed, n=number: prng.fold_in(seed, tf.constant(n)))
        np.testing.assert_array_equal(wanted, [folded, [number] * len(SEEDS)])
        found = [philox.fold_in(seed, number) for seed in SEEDS]
        np.testing.assert_array_equal(np.transpose(found), wanted)
    wanted = of_prng(lambda seed: tf.stack(prng.split(seed, 4)))
    np.testing.assert_array_equal(philox.split(streams()), wanted.swapaxes(0, 1))


@pytest.mark.parametrize("shape", [(5, 3), (4, 4), (1, 1)])
def test_arrays_of_numbers_are_prngs(shape):
    for first in (0, 7):
        for seed in SEEDS:
            wanted = prng.uniform(tf.constant(seed, tf.int32), shape, first)
            found = philox.uniform(seed, shape, first)
            np.testing.assert_array_equal(found, wanted)


def test_no_number_is_0_or_1_at_the_ends_of_the_words(monkeypatch):
    for word in (0, 2**32 - 1):
        words = (tf.constant([word], tf.uint32),) * 4
        monkeypatch.setattr(philox_tensors, "_tensor_words", lambda *_, w=words: w)
        zeros = tf.constant([0])
        (found,) = philox_tensors.uniform(zeros, zeros, zeros).numpy()
        assert 0 < found < 1
        words = (np.array([[[word]]], np.uint64),) * 4
        monkeypatch.setattr(philox, "_words", lambda *_, w=words: w)
        one = philox.Stream(*(np.zeros((1, 1), np.uint64) for _ in range(4)))
        found = philox.consecutive(one, np.array([0]), 2)
        assert np.all((found > 0) & (found < 1))
