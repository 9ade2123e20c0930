"""The random numbers: the same everywhere, and of the law they claim."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from experiments.inference import prng
from tests.helpers import distance_allowed, distance_from

SEED = tf.constant([7, -11])
SHAPES = [(1,), (7,), (5, 3), (4, 1), (3, 2, 5), (1000,)]
NUM = 200_000


@pytest.mark.parametrize("shape", SHAPES)
def test_xla_draws_the_same_bits(shape):
    plain = prng.uniform(SEED, shape).numpy()
    compiled = tf.function(lambda seed: prng.uniform(seed, shape), jit_compile=True)
    np.testing.assert_array_equal(compiled(SEED).numpy(), plain)


def test_xla_makes_the_same_seeds():
    def seeds(seed):
        return tf.stack(
            prng.split(seed, 5) + [prng.fold_in(seed, tf.constant(i)) for i in range(5)]
        )

    plain = seeds(SEED).numpy()
    compiled = tf.function(seeds, jit_compile=True)(SEED).numpy()
    np.testing.assert_array_equal(compiled, plain)
    assert len({tuple(seed) for seed in plain}) == 10


def test_xla_draws_the_same_normals_up_to_rounding():
    plain = prng.normal(SEED, (2000, 3), tf.float64).numpy()
    compiled = tf.function(
        lambda seed: prng.normal(seed, (2000, 3), tf.float64), jit_compile=True
    )
    np.testing.assert_allclose(compiled(SEED).numpy(), plain, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("trailing", [(), (3,)])
def test_a_larger_first_dimension_adds_draws_behind(trailing, jit_compile):
    def draw(num):
        return tf.function(
            lambda seed: prng.uniform(seed, (num, *trailing)),
            jit_compile=jit_compile,
        )(SEED).numpy()

    longest = draw(33)
    for num in (1, 2, 5, 16, 32) if not jit_compile else (1, 16):
        np.testing.assert_array_equal(draw(num), longest[:num])


@pytest.mark.parametrize("seed", [[0, 0], [7, -11], [2**31 - 1, -(2**31)]])
def test_uniforms_are_uniform(seed):
    draws = prng.uniform(tf.constant(seed, tf.int32), (NUM,)).numpy()
    assert draws.dtype == np.float64
    assert distance_from(stats.uniform.cdf, draws) < distance_allowed(NUM)
    # Their low bits too: what is left after the first 20.
    assert distance_from(stats.uniform.cdf, draws * 2**20 % 1) < distance_allowed(NUM)


@pytest.mark.parametrize("bits", [0, -1, 1, 2**63 - 1, -(2**63)])
def test_uniforms_are_never_0_nor_1(monkeypatch, bits):
    monkeypatch.setattr(
        tf.random,
        "stateless_uniform",
        lambda shape, *args, dtype, **kwargs: tf.fill(shape, tf.constant(bits, dtype)),
    )
    (draw,) = prng.uniform(SEED, (1,)).numpy()
    assert 0 < draw < 1
    assert np.isfinite(prng.normal(SEED, (1,), tf.float64).numpy()).all()
    assert draw == pytest.approx((bits % 2**64) / 2**64, abs=2.0**-52)


def test_normals_are_normal():
    draws = prng.normal(SEED, (NUM,), tf.float64).numpy()
    assert distance_from(stats.norm.cdf, draws) < distance_allowed(NUM)
    moments = [np.mean(draws**k) for k in (1, 2, 3, 4)]
    spread = np.sqrt(np.array([1, 2, 15, 96]) / NUM)
    assert np.all(np.abs(np.array(moments) - [0, 1, 0, 3]) < 5 * spread)


def test_normals_have_the_dtype_asked_for():
    wide = prng.normal(SEED, (50,), tf.float64).numpy()
    narrow = prng.normal(SEED, (50,), tf.float32).numpy()
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


def test_streams_of_one_seed_have_nothing_in_common():
    seeds = prng.split(SEED, 4) + [
        prng.fold_in(SEED, tf.constant(i)) for i in range(20)
    ]
    draws = np.stack([prng.uniform(seed, (20_000,)).numpy() for seed in seeds])
    correlation = np.corrcoef(draws)[np.triu_indices(len(seeds), 1)]
    assert np.max(np.abs(correlation)) * np.sqrt(20_000) < 5.5


def test_one_seed_draws_alike_and_another_differently():
    first, again = (prng.uniform(SEED, (100,)).numpy() for _ in range(2))
    other = prng.uniform(tf.constant([7, -12]), (100,)).numpy()
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


def test_a_part_is_drawn_as_in_the_whole():
    whole = prng.uniform(SEED, (7, 3)).numpy()
    for first, num in ((0, 7), (3, 4), (2, 1)):
        part = prng.uniform(SEED, (num, 3), first)
        np.testing.assert_array_equal(part, whole[first : first + num])
    normals = prng.normal(SEED, (7,), tf.float32)
    np.testing.assert_array_equal(prng.normal(SEED, (3,), tf.float32, 4), normals[4:])
