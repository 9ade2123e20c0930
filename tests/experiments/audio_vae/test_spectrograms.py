"""Spectrograms: known tones where and as loud as they are, and pictures of them."""

import numpy as np
import pytest

from experiments.audio_vae.spectrograms import levels, spectrograms

RATE = 8000


def sine(hertz, peak=32767, num=4096):
    moments = np.arange(num) / RATE
    return np.rint(peak * np.sin(2 * np.pi * hertz * moments)).astype(np.int16)


@pytest.mark.parametrize(
    ("hertz", "peak", "decibels"), [(1000, 32767, 0), (2500, 3277, -20)]
)
def test_a_sine_is_as_loud_as_it_is_and_where_it_is(hertz, peak, decibels):
    found = levels(sine(hertz, peak), RATE)
    middle = found.decibels[:, len(found.seconds) // 2]
    assert found.frequencies[np.argmax(middle)] == hertz
    assert abs(middle.max() - decibels) < 0.05
    far = np.abs(found.frequencies - hertz) > 500
    assert middle[far].max() < -60


def test_a_sound_is_heard_when_it_begins_and_silence_is_the_quietest():
    samples = sine(1000)
    samples[:2048] = 0
    found = levels(samples, RATE)
    loud = found.decibels.max(axis=0)
    assert (loud[found.seconds < 0.23] == -100).all()
    assert (loud[(found.seconds > 0.28) & (found.seconds < 0.49)] > -0.5).all()
    assert found.frequencies[-1] == RATE / 2


def test_a_sound_shorter_than_the_window_has_one_of_its_own():
    assert levels(sine(1000, num=40), RATE).decibels.shape[0] == 21


def test_pictures_stand_side_by_side_and_show_their_sounds():
    one = spectrograms({"": sine(1000)}, RATE).pixels
    two = spectrograms({"original": sine(1000), "made": sine(3000)}, RATE).pixels
    assert one.dtype == np.uint8 and one.shape[2] == 3
    assert two.shape == (one.shape[0], 2 * one.shape[1], 3)
    # The loud line, of the brightest colour, is low in the left panel, and in the right
    # one high; the bars of colours are not looked at.
    width = one.shape[1]
    heights = [
        np.nonzero(np.abs(part.astype(int) - (252, 253, 191)).sum(-1) < 40)[0].mean()
        for part in (two[:, : 2 * width // 3], two[:, width : width + 2 * width // 3])
    ]
    assert heights[0] > heights[1] + 30


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros((2, 5), np.int16), r"given shape \(2, 5\)"),
        (np.zeros(1, np.int16), r"given shape \(1,\)"),
        (np.array([0.0, np.nan, 0.0]), "given NaN"),
    ],
)
def test_what_is_no_sound_is_refused(samples, said):
    with pytest.raises(ValueError, match=said):
        spectrograms({"": samples}, RATE)
    with pytest.raises(ValueError, match="sounds: given none"):
        spectrograms({}, RATE)
