"""A pixel's values have together probability one, and draws are as likely as said."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.image_transformer import likelihood
from experiments.image_transformer.likelihood import MixtureOfLogistics, PixelMixture
from experiments.training.prng import BatchRng
from tests.experiments.image_transformer import plain
from tests.helpers import ALARM

MIXTURES = 3
SEED = tf.constant([4, 2])


def outputs_of(seed=0, scale=1.0, mixtures=MIXTURES, log_scale=None):
    """[10 mixtures] of a pixel."""
    made = np.random.default_rng(seed).standard_normal(10 * mixtures) * scale
    if log_scale is not None:
        made[4 * mixtures : 7 * mixtures] = log_scale
    return np.float32(made)


def every_pixel(num_values):
    return np.array(list(itertools.product(range(num_values), repeat=3)), np.int32)


def log_probs(outputs, values, num_values=256):
    of = MixtureOfLogistics(tf.constant(outputs), num_values)
    return of.log_prob(tf.constant(values)).numpy()


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -4.0, -1.0, 3.0])
@pytest.mark.parametrize("num_values", [2, 9])
def test_all_pixels_have_together_probability_one(log_scale, num_values):
    outputs = outputs_of(log_scale=log_scale)
    found = log_probs(outputs, every_pixel(num_values), num_values)
    assert np.exp(found.astype(float)).sum() == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 2.0])
@pytest.mark.parametrize("channel", range(3))
def test_the_256_values_of_a_channel_have_together_probability_one(log_scale, channel):
    outputs = outputs_of(log_scale=log_scale).reshape(10, MIXTURES)
    others = [c for c in range(3) if c != channel]
    outputs[1:4][others] = -1e4  # so that the other channels are surely 0
    values = np.zeros((256, 3), np.int32)
    values[:, channel] = np.arange(256)
    total = np.exp(log_probs(outputs.ravel(), values).astype(float)).sum()
    assert total == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("num_values", [5, 256])
def test_log_probs_are_those_of_masses_in_float64(scale, num_values):
    random = np.random.default_rng(1)
    values = random.integers(num_values, size=(60, 3)).astype(np.int32)
    values[:8] = every_pixel(2) * (num_values - 1)  # the open ends
    outputs = np.stack([outputs_of(i, scale) for i in range(60)])
    wanted = [
        plain.pixel_log_prob(out.astype(float), value, num_values)
        for out, value in zip(outputs, values, strict=True)
    ]
    found = log_probs(outputs, values, num_values)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-4)


def test_a_mass_too_small_for_a_difference_keeps_its_logarithm():
    outputs = outputs_of(mixtures=1, log_scale=-7.0)
    outputs[1:4] = 1.0  # a thousand scales and more from the values below
    values = np.array([[1, 1, 1], [120, 1, 3]], np.int32)
    wanted = [plain.pixel_log_prob(outputs.astype(float), v, 256) for v in values]
    assert max(wanted) < -1000
    np.testing.assert_allclose(log_probs(outputs, values), wanted, rtol=1e-5)


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, 0.0, 5.0])
def test_gradients_are_finite_and_right(log_scale):
    outputs = outputs_of(scale=2.0, log_scale=log_scale)
    values = np.array([0, 255, 100], np.int32)
    given = tf.constant(outputs)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = MixtureOfLogistics(given).log_prob(values)
    gradient = tape.gradient(found, given)
    assert np.isfinite(gradient).all()
    step, wanted = 1e-6, []
    for i in range(len(outputs)):
        sides = [outputs.astype(float) for _ in range(2)]
        sides[0][i] -= step
        sides[1][i] += step
        low, high = (plain.pixel_log_prob(side, values, 256) for side in sides)
        wanted.append((high - low) / (2 * step))
    if log_scale == -7.0:  # at the floor itself a difference is of both sides
        at = slice(4 * MIXTURES, 7 * MIXTURES)
        gradient, wanted = np.delete(gradient, at), np.delete(wanted, at)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-3)


def test_green_is_moved_by_red_and_blue_by_both():
    outputs = outputs_of(log_scale=-3.0)

    def odds(channel, given):  # log of a value's over another's, given the others
        values = np.array([given, given], np.int32)
        values[:, channel] = [100, 150]
        return np.subtract(*log_probs(outputs, values))

    # Later channels have their own say in odds of an earlier one: none are later here.
    plain_blue = odds(2, [90, 90, 0])
    assert abs(odds(2, [170, 90, 0]) - plain_blue) > 0.1
    assert abs(odds(2, [90, 170, 0]) - plain_blue) > 0.1
    outputs[7 * MIXTURES :] = 0.0  # without coefficients only the mixture ties them
    one = outputs.reshape(10, MIXTURES)[:, :1].ravel()

    def alone(given):
        values = np.array([[*given, 100], [*given, 150]], np.int32)
        return np.subtract(*log_probs(one, values))

    assert alone([90, 90]) == pytest.approx(alone([170, 20]), abs=1e-3)


def of_draws(draws, num_values):
    """How often each pixel of `every_pixel(num_values)` came up."""
    flat = np.asarray(draws) @ [num_values**2, num_values, 1]
    return np.bincount(flat, minlength=num_values**3)


def assert_drawn_with(counts, probabilities):
    """Pearson's test, over what is expected five times or more, and the rest as one."""
    expected = probabilities * counts.sum()
    often = expected >= 5
    seen = np.append(counts[often], counts[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum())
    assert often.sum() > 5
    if wanted[-1] < 5:
        assert seen[-1] < 40
        seen, wanted = seen[:-1], wanted[:-1] * seen[:-1].sum() / wanted[:-1].sum()
    assert stats.chisquare(seen, wanted).pvalue > ALARM


@pytest.mark.parametrize("way", ["sample", "sample_mixture"])
def test_pixels_are_drawn_as_often_as_their_probability_says(way):
    outputs, num, levels = outputs_of(scale=0.7, log_scale=-1.0), 20_000, 4
    probabilities = np.exp(log_probs(outputs, every_pixel(levels), levels))
    if way == "sample":
        of = MixtureOfLogistics(tf.constant(outputs), levels)
        draws = of.sample(num, seed=SEED)
    else:
        draws = likelihood.sample_mixture(
            tf.constant(np.tile(outputs, (num, 1))),
            BatchRng(SEED, tf.constant(0)),
            num_values=levels,
        )
    assert_drawn_with(of_draws(draws, levels), probabilities.astype(float))


def test_categories_are_drawn_as_often_as_their_probability_says():
    num, logits = 20_000, np.float32([0.0, 1.0, -2.0, 2.0, 0.5, -0.5, 1.5])
    draws = likelihood.sample_categorical(
        tf.constant(np.tile(logits, (num, 1))), BatchRng(SEED, tf.constant(0))
    )
    assert draws.shape == (num, 1)
    counts = np.bincount(draws[:, 0], minlength=len(logits))
    assert_drawn_with(counts, np.exp(logits.astype(float)) / np.exp(logits).sum())


@pytest.mark.parametrize("kind", ["categorical", "mixture"])
def test_a_draw_is_of_its_place_in_the_batch_whoever_else_is_in_it(kind):
    random = np.random.default_rng(0)
    outputs = tf.constant(random.standard_normal((6, 10 * MIXTURES)), tf.float32)
    draw = getattr(likelihood, f"sample_{kind}")
    whole = draw(outputs, BatchRng(SEED, tf.constant(0)))
    part = draw(outputs[2:5], BatchRng(SEED, tf.constant(2)))
    np.testing.assert_array_equal(whole[2:5], part)
    assert len({tuple(x) for x in whole.numpy()}) > 3


def test_at_no_temperature_the_likeliest_is_drawn():
    random = BatchRng(SEED, tf.constant(0))
    logits = tf.constant([[0.0, 3.0, 1.0], [2.0, 0.0, 1.9]])
    drawn = likelihood.sample_categorical(logits, random, temperature=0.0)
    assert drawn.numpy().ravel().tolist() == [1, 0]
    outputs = outputs_of(mixtures=1)
    outputs[1:] = [0.5, -0.25, 0.0, 1, 1, 1, 0, 0, 0]
    drawn = likelihood.sample_mixture(tf.constant([outputs]), random, temperature=0.0)
    assert drawn.numpy().tolist() == [[191, 96, 128]]


def test_at_no_temperature_a_mixture_gives_its_heaviest_components_mean():
    random = BatchRng(SEED, tf.constant(0))
    wide, narrow = -1.0, -6.0
    # By component: log weights, then of each channel means, log scales, coefficients.
    outputs = [0.2, 0.0, *[-0.5, 0.5] * 3, *[wide, narrow] * 3, *[0.0] * 6]
    drawn = likelihood.sample_mixture(tf.constant([outputs]), random, temperature=0.0)
    assert drawn.numpy().tolist() == [[64, 64, 64]]
    # Which is not the likeliest: the other, lighter one is narrower.
    heavy, light = log_probs(np.float32(outputs), [[64] * 3, [191] * 3])
    assert light > heavy + 10


def test_a_pixel_is_a_random_variable_of_the_language():
    outputs = tf.constant(np.stack([outputs_of(i) for i in range(5)]))

    def pixels():
        return PixelMixture(outputs, name="pixels")

    values = np.random.default_rng(2).integers(256, size=(5, 3)).astype(np.int32)
    found = ppl.make_log_joint_fn(pixels)(pixels=values)
    assert float(found) == pytest.approx(log_probs(outputs, values).sum(), rel=1e-5)
    with ppl.seeded(SEED):
        drawn = pixels()
    assert drawn.shape == (5, 3) and drawn.dtype == tf.int32
    assert 0 <= tf.reduce_min(drawn) and tf.reduce_max(drawn) <= 255
    assert drawn.distribution.event_shape == (3,)


def test_outputs_that_are_no_ten_a_component_are_refused():
    with pytest.raises(
        ValueError, match="outputs: given 15 a pixel, wanted a multiple of 10"
    ):
        MixtureOfLogistics(tf.zeros((2, 15)))
