"""Synthetic tones: the recursion by hand, the pitch, and what is promised of them."""

import numpy as np
import pytest

from experiments.datasets import synthetic_tones
from experiments.datasets.audio import held_out_batches, training_batches
from experiments.datasets.tones import plucked


def test_a_string_is_the_recursion_of_karplus_and_strong():
    random = np.random.default_rng(5)
    found = plucked(period=4.5, damping=0.9, length=40, random=random)
    wanted = np.zeros(45)  # five before the beginning
    burst = np.random.default_rng(5).uniform(-1.0, 1.0, 4)
    burst -= burst.mean()
    for n in range(40):
        burst_now = burst[n] if n < 4 else 0.0
        wanted[n + 5] = burst_now + 0.9 * (wanted[n + 1] + wanted[n]) / 2
    np.testing.assert_allclose(found, wanted[5:], atol=1e-12)


def test_a_string_has_the_pitch_asked_for():
    period = 40.5
    sound = plucked(
        period=period, damping=0.999, length=8100, random=np.random.default_rng(1)
    )
    power = np.abs(np.fft.rfft(sound[4050:])) ** 2  # of 4050: 100 periods
    loudest = np.argmax(power[50:150]) + 50
    assert loudest == 100


@pytest.fixture(scope="module")
def audio():
    return synthetic_tones(length=300, rate=8000)


def test_clips_are_of_their_number_and_those_held_out_are_others(audio):
    one, again, other = (
        training_batches(audio, seed=seed, batch_size=32)(5)["audio"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    held_out = held_out_batches(audio, batch_size=32)(5)["audio"]
    together = np.concatenate([one, other, held_out])
    assert len({clip.tobytes() for clip in together}) == 96
    assert one.shape == (32, 300) and one.dtype == np.int32


def test_no_clip_is_silent_or_cut_off_and_some_begin_in_a_sound(audio):
    clips = training_batches(audio, seed=0, batch_size=256)(0)["audio"]
    peaks = np.abs(clips).max(axis=1)
    assert peaks.min() >= 0.09 * 32767 and peaks.max() <= 0.91 * 32767
    assert (peaks > 0.7 * 32767).any() and (peaks < 0.3 * 32767).any()
    assert np.median(np.abs(clips[:, 0])) > 0


def test_the_tones_are_called_synthetic_wherever_they_are_named(audio):
    assert audio.name.startswith("synthetic plucked tones(length=300, rate=8000")
    assert audio.source.startswith("synthetic plucked tones, made by this project")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"length": 0}, "length: given 0"),
        ({"length": 8, "rate": 3000}, "rate: given 3000, wanted at least 3520"),
        ({"length": 8, "most_strings": 0}, "most_strings: given 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        synthetic_tones(**given)
