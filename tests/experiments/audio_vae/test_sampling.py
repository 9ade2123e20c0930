"""Sound drawn step by step equals what the flows' plain forward makes."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.audio_vae import block_network, linear_prediction, network, sampling
from tests.experiments.audio_vae.small_audio import GRID, SMALL, loud_clips, weights_for

SEED = tf.constant([5, 6])


@pytest.fixture(scope="module")
def weights():
    return weights_for(SMALL)


@pytest.mark.parametrize("name", ["prior", "decoder"])
def test_the_cached_loop_is_the_plain_forward(name, weights):
    length = SMALL.latents if name == "prior" else SMALL.length
    random = np.random.default_rng(0)
    noise = tf.constant(random.standard_normal((2, length)), tf.float32)
    flow = network.flow(weights, SMALL, name)
    wanted = tf.function(flow.forward, autograph=False)(noise)
    found = sampling.forward(weights, SMALL, name, noise)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * scale)
    np.testing.assert_allclose(flow.inverse(found), noise, atol=5e-3)


def test_samples_are_of_the_seed_and_have_sixteen_bits(weights):
    one, again = (sampling.sample(weights, SMALL, SEED, 2) for _ in range(2))
    other = sampling.sample(weights, SMALL, SEED + 1, 2)
    assert one.shape == (2, SMALL.length) and one.dtype == np.int32
    assert one.min() >= -(2**15) and one.max() < 2**15 and one.std() > 1
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5 and (one[0] != one[1]).mean() > 0.5


def test_a_reconstruction_is_of_its_own_clip(weights):
    clips = loud_clips(SMALL, 2)
    made = sampling.reconstruct(weights, SMALL, SEED, clips)
    swapped = sampling.reconstruct(
        weights, SMALL, SEED, np.stack([clips[0], 0 * clips[1]])
    )
    np.testing.assert_array_equal(made[0], swapped[0])
    assert (made[1] != swapped[1]).any()


def test_sound_that_would_run_away_is_cut_off_as_it_is_made(weights):
    noise = np.random.default_rng(7).logistic(size=(2, SMALL.length))
    noise = tf.constant(noise, tf.float32)
    free, cut = (
        sampling.forward(weights, SMALL, "decoder", noise, **more).numpy()
        for more in ({}, {"limit": 1.0})
    )
    assert np.abs(free).max() > 1 and np.abs(cut).max() == 1
    for whole, limited in zip(free, cut, strict=True):
        first = np.argmax(np.abs(whole) > 1)  # what follows is of what was cut off
        np.testing.assert_allclose(limited[:first], whole[:first], rtol=1e-4, atol=1e-5)
        assert not np.allclose(limited[first + 1 :], np.clip(whole[first + 1 :], -1, 1))


def test_rows_do_not_run_away_whatever_their_weights():
    wild = weights_for(GRID, size=30.0)
    noise = tf.constant(np.random.default_rng(1).standard_normal((2, 64)), tf.float32)
    made = sampling.forward(wild, GRID, "prior", noise).numpy()
    most = np.abs(noise).max()
    for _ in range(GRID.num_flows + 1):
        most = most * np.exp(block_network.MAX_LOG_SCALE) + block_network.MAX_SHIFT
    assert np.abs(noise).max() < np.abs(made).max() <= most


@pytest.mark.parametrize("seen", [0, 8, 16, 24])
def test_a_line_foretells_once_it_is_solved_by_twice_as_many_samples(seen):
    """Two lines of 4 and 12 taps, refit every 8 samples."""
    sizes = SMALL._replace(linear_predictors=((4, 0.6), (12, 0.8)))
    clip = tf.constant(loud_clips(sizes, 1)[:, : seen + 8] / 2**15, tf.float32)
    weights = weights_for(sizes)
    own = {
        name.removeprefix("decoder/flow2/part0/"): weight
        for name, weight in weights.items()
        if name.startswith("decoder/flow2/part0/")
    }
    # Trusting the second line alone: silence is foretold until it is solved.
    own["trust"] = tf.zeros((3,))
    own["trust/bias"] = tf.constant([0.0, 0.0, 50.0])
    own["out"] = tf.zeros_like(own["out"])
    own["out/bias"] = tf.zeros_like(own["out/bias"])
    adaptive = network.flow_networks(sizes, "decoder")[-1]
    shift, _ = linear_prediction.shift_and_log_scale(adaptive, own, clip)
    told = np.abs(shift[0, seen:]).max()
    assert told < 1e-9 if seen < 24 else told > 0.01


def test_weights_that_make_no_numbers_are_an_error(weights):
    spoilt = weights | {"decoder/tail": tf.constant([np.nan])}
    with pytest.raises(ValueError, match="not finite, wanted finite"):
        sampling.sample(spoilt, SMALL, SEED, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_clips": 0}, "num_clips: given 0"),
        ({"seed": tf.constant([1.0, 2.0])}, "wanted two int32"),
        ({"weights": {}}, "weights: without"),
        ({"sizes": SMALL._replace(channels=7)}, "of shape"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(change, said, weights):
    given = {"weights": weights, "sizes": SMALL, "seed": SEED, "num_clips": 1}
    with pytest.raises(ValueError, match=said):
        sampling.sample(**(given | change))


def test_clips_of_another_length_are_refused(weights):
    with pytest.raises(ValueError, match=r"wanted integers \[clips, 64\]"):
        sampling.reconstruct(weights, SMALL, SEED, np.zeros((1, 63), np.int32))
