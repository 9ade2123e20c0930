"""Philox, chain by chain: bit for bit what TensorFlow draws for all chains at once."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from experiments.inference import philox, prng

SEEDS = [[0, 0], [7, -11], [-1, 5], [2**31 - 1, -(2**31)]]
NUM = 64


def streams():
    """One stream for each seed."""
    first, second = np.transpose(SEEDS).astype(np.int32)
    return philox.stream(tf.constant(first), tf.constant(second))


def of_prng(draw):
    """`draw` of each seed, side by side: [..., seeds]."""
    return np.stack([draw(tf.constant(seed, tf.int32)) for seed in SEEDS], axis=-1)


def compiled(function, jit_compile):
    return tf.function(function, jit_compile=jit_compile, autograph=False)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_element_is_that_of_the_whole_array(jit_compile):
    wanted = of_prng(lambda seed: prng.uniform(seed, (NUM,)))

    def draw(place):
        return philox.uniform(streams(), tf.repeat(place, len(SEEDS)))

    draw = compiled(draw, jit_compile)
    for place in (0, 1, 2, 31, NUM - 1):
        np.testing.assert_array_equal(draw(tf.constant([place])), wanted[place])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unrolled_rounds_are_those_of_the_loop(jit_compile):
    def both(place):
        return [philox.words(streams(), place, loop=loop) for loop in (False, True)]

    place = tf.range(len(SEEDS))
    one, other = compiled(both, jit_compile)(place)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_consecutive_elements_are_those_of_the_whole_array(jit_compile):
    """Of several streams at once, from where each chain says."""
    wanted = of_prng(lambda seed: prng.uniform(seed, (NUM,)))
    one = streams()
    both = philox.Stream(*(tf.stack([part, part[::-1]])[:, tf.newaxis] for part in one))

    def draw(nums, start, other_start):
        places = zip((start, other_start), nums, strict=True)
        return [philox.to_unit(pair) for pair in philox.several(both, list(places))]

    for nums in ((1, 2), (5, 6)):
        function = compiled(functools.partial(draw, nums), jit_compile)
        for starts in itertools.permutations(
            [[0, 0, 0, 0], [0, 1, 2, 31], [5, 57, 58, 7]], 2
        ):
            found = function(*map(tf.constant, starts))
            for which, (part, num) in enumerate(zip(found, nums, strict=True)):
                assert part.shape == (1, num, len(SEEDS))
                for i, first in enumerate(starts[which]):
                    stream = -1 - i if which else i
                    np.testing.assert_array_equal(
                        part[0, :, i], wanted[first:][:num, stream]
                    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_seeds_made_of_seeds_are_prngs(jit_compile):
    numbers = [0, 3, -1, 2**31 - 1]

    def made():
        folded = philox.fold(streams())
        return folded, tf.stack(philox.split(streams()))

    folded, split = compiled(made, jit_compile)()
    for number in numbers:
        wanted = of_prng(lambda seed, n=number: prng.fold_in(seed, tf.constant(n)))
        np.testing.assert_array_equal(wanted, [folded, [number] * len(SEEDS)])
    wanted = of_prng(lambda seed: tf.stack(prng.split(seed, 4)))
    np.testing.assert_array_equal(split, np.swapaxes(wanted, 0, 1))


def test_no_number_is_0_or_1_at_the_ends_of_the_words(monkeypatch):
    for word in (0, 2**32 - 1):
        words = tf.constant([word], tf.uint32)
        monkeypatch.setattr(philox, "words", lambda *_, w=words: (w, w, w, w))
        (found,) = philox.uniform(streams(), tf.constant([0])).numpy()
        assert 0 < found < 1
