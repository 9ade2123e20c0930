import zlib

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from experiments.training import prng as rnd
from experiments.training.model import Weight, initial_weight
from tests.helpers import ALARM, distance_allowed, distance_from

SEED = tf.constant([11, -7])


def of(first=0, seed=SEED):
    return rnd.BatchRng(seed, tf.constant(first))


def philox(counter, key):
    """Salmon et al. (2011), section 3.3, on Python's integers: four 32-bit words."""
    word = 2**32
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [b // word ^ x[1] ^ k[0], b % word, a // word ^ x[3] ^ k[1], a % word]
        k = [(k[0] + 0x9E3779B9) % word, (k[1] + 0xBB67AE85) % word]
    return x


@pytest.mark.parametrize(  # the known answers that Random123 1.14 comes with
    ("counter", "key", "answer"),
    [
        ((0,) * 4, (0,) * 2, "6627e8d5e169c58dbc57ac4c9b00dbd8"),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d41c83b0ea20bc7c66d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe0994fdcceb5001e42024126ea1",
        ),
    ],
)
def test_the_oracle_gives_philoxs_known_answers(counter, key, answer):
    assert "".join(f"{word:08x}" for word in philox(counter, key)) == answer


@pytest.mark.parametrize("shape", [(5, 8), (5, 2, 3), (5, 1), (5,)])
def test_bits_are_philox_of_seed_name_example_and_place(shape):
    found = rnd.bits(of(3), "x", shape).numpy().reshape(5, -1)
    key = [word % 2**32 for word in SEED.numpy().tolist()]
    counts = -(-found.shape[1] // 4)
    for example in range(5):
        words = []
        for count in range(counts):
            low = (3 + example) * counts + count
            words += philox((low, 0, zlib.crc32(b"x"), 0), key)
        assert found[example].tolist() == words[: found.shape[1]]


@pytest.mark.parametrize("rest", [(3, 2), (4,), (2, 4), ()])
def test_a_batch_in_pieces_draws_what_it_would_whole(rest):
    whole = rnd.bits(of(), "x", (12, *rest)).numpy()
    for pieces in (2, 3, 4):
        size = 12 // pieces
        parts = [rnd.bits(of(i * size), "x", (size, *rest)) for i in range(pieces)]
        np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_names_seeds_examples_and_places_draw_apart():
    whole = rnd.bits(of(), "x", (64, 64)).numpy()
    assert len(np.unique(whole)) > 64 * 64 - 5  # birthdays: 0.002 expected of 2**32
    others = [rnd.bits(of(), "y", (64, 64))]
    others += [rnd.bits(of(seed=seed), "x", (64, 64)) for seed in ([11, 8], [12, -7])]
    for other in others:
        assert np.sum(np.isin(whole, other)) < 3


def test_draws_are_the_same_with_xla():
    def draws(seed, first):
        random = rnd.BatchRng(seed, first)
        return rnd.uniform(random, "x", (5, 7)), rnd.bits(random, "x", (5, 4))

    given = SEED, tf.constant(3)
    plain, compiled = draws(*given), tf.function(draws, jit_compile=True)(*given)
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("axis", [0, 1])
def test_uniforms_are_uniform_over_examples_and_places(axis):
    shape = (20_000, 2) if axis == 0 else (2, 20_000)
    values = rnd.uniform(of(), "u", shape).numpy()
    assert values.min() > 0 and values.max() < 1
    rows = values.T if axis == 0 else values
    for row in rows:
        assert distance_from(stats.uniform.cdf, row) < distance_allowed(len(row))
    # Of independent rows the correlation is normal, of variance 1 / length.
    limit = stats.norm.isf(ALARM / 2) / np.sqrt(20_000)
    assert abs(np.corrcoef(*rows)[0, 1]) < limit
    assert abs(np.corrcoef(rows[0][1:], rows[0][:-1])[0, 1]) < limit


def test_normals_are_normal():
    values = rnd.normal(of(), "n", (20_000, 1)).numpy()[:, 0]
    assert distance_from(stats.norm.cdf, values) < distance_allowed(len(values))


def test_dropout_drops_at_its_rate_and_keeps_the_mean():
    x = tf.ones([100, 400])
    dropped = rnd.dropout(of(), "d", x, 0.3).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.7], rtol=1e-6)
    error = np.sqrt(0.3 * 0.7 / dropped.size)
    assert abs(np.mean(dropped == 0) - 0.3) < stats.norm.isf(ALARM / 2) * error
    assert rnd.dropout(of(), "d", x, 0) is x
    assert rnd.dropout(of()._replace(training=False), "d", x, 0.3) is x
    assert rnd.dropout(of(), "d", tf.cast(x, tf.bfloat16), 0.5).dtype == tf.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="d: dropout rate"):
        rnd.dropout(of(), "d", tf.ones([2, 2]), rate)


def test_too_many_draws_an_example_are_refused():
    with pytest.raises(ValueError, match="x: given 4294967296 numbers an example"):
        rnd.bits(of(), "x", (1, 2**16, 2**16))


def test_a_weight_is_drawn_of_seed_and_name_alone():
    weight = Weight((300, 40), stddev=0.5, mean=2.0)
    value = initial_weight(weight, "a", 3)
    np.testing.assert_array_equal(value, initial_weight(weight, "a", 3))
    for other in (initial_weight(weight, "b", 3), initial_weight(weight, "a", 4)):
        assert np.mean(value == other) < 0.01
    cdf = stats.norm(2.0, 0.5).cdf
    assert value.dtype == np.float32
    assert distance_from(cdf, value.ravel()) < distance_allowed(value.size)
    np.testing.assert_array_equal(
        initial_weight(Weight((2,), mean=1.5), "a", 3), [1.5, 1.5]
    )
