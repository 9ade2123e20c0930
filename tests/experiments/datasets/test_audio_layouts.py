"""Every layout of a sound file gives its true samples; level and rate hold."""

import io
import re

import numpy as np
import pytest
import soundfile

from experiments.datasets import audio_decoding, audio_files, files
from tests import sound_layouts
from tests.sound_layouts import RATE

FORM = audio_decoding.Form(length=2, rate=RATE)


def of_file(data, form=FORM):
    """The header and the samples of one file."""
    encoded = files.Encoded(1, lambda number: "odd", lambda number: io.BytesIO(data))
    one = audio_decoding.recordings(encoded, form)
    return one.header(0), one.samples(0)


@pytest.mark.parametrize("name", sound_layouts.LAYOUTS)
def test_a_layout_gives_its_true_samples(name):
    layout = sound_layouts.LAYOUTS[name](np.random.default_rng(0))
    header, found = of_file(layout.data)
    assert header.num_samples == len(found) == len(layout.samples)
    error = found / 2**15 - layout.samples
    assert np.sqrt(np.mean(error**2)) <= layout.tolerance
    if layout.tolerance < 1e-4:
        np.testing.assert_array_equal(found, np.rint(2**15 * layout.samples))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WAV, 16 bit", "damaged; .* bytes, its header says"),
        ("WAV, RF64", "damaged; .* bytes, its header says"),
        ("AIFF, 16 bit", "damaged; .* bytes, its header says"),
        ("CAF, 16 bit", "damaged; .* bytes, its header says"),
        ("FLAC, 16 bit", "damaged"),
        ("Ogg Vorbis", "damaged; ends within a page"),
        ("Opus", "damaged; ends within a page"),
        ("MP3", "damaged"),
    ],
)
def test_a_file_that_ends_too_soon_is_named_when_its_header_is_read(name, said):
    data = sound_layouts.LAYOUTS[name](np.random.default_rng(0)).data
    encoded = files.Encoded(
        1, lambda number: "odd", lambda number: io.BytesIO(data[: len(data) * 2 // 3])
    )
    with pytest.raises(files.CorruptFileError, match=f"odd: {said}"):
        audio_decoding.recordings(encoded, FORM).header(0)


def test_a_wav_without_samples_is_not_taken_for_a_pipes():
    held = bytearray(sound_layouts.encoded(np.zeros(0), "WAV"))
    for data in (held, held + b"LIST\4\0\0\0INFO"):
        with pytest.raises(files.CorruptFileError, match="odd: holds no samples"):
            of_file(bytes(data))


def test_sounds_that_are_not_read_are_counted_by_suffix(tmp_path):
    for name in ("a.wav", "b.wav"):
        soundfile.write(
            tmp_path / name, sound_layouts.chord(np.random.default_rng(1)), RATE
        )
    for name in ("c.m4a", "d.M4A", "e.wma", ".f.wma"):
        (tmp_path / name).write_bytes(b"")
    audio = audio_files(path=tmp_path, length=1000, rate=RATE)
    for text in (audio.name, audio.source):
        assert text.count("2 .m4a not read") == text.count("1 .wma not read") == 1


def spectrum(samples):
    """The share of the power at each whole frequency of one second, and the power."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return power / power.sum(), np.mean((samples / 2**15) ** 2)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000])
def test_a_sine_keeps_its_frequency_and_its_power_at_any_rate(rate):
    wave = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    held = io.BytesIO()
    soundfile.write(held, np.stack([wave, wave], axis=1), rate, "PCM_24", format="WAV")
    form = audio_decoding.Form(2, 16000, mix_channels=True)
    header, found = of_file(held.getvalue(), form)
    assert header.num_samples == len(found) == 32000
    assert f"resampled from {rate} a second" in header.changes
    share, power = spectrum(found[8000:24000])  # the second in the middle
    assert share[998:1003].sum() > 1 - 1e-6
    assert power == pytest.approx(0.125, rel=1e-3)


def test_what_the_lower_rate_cannot_hold_is_filtered_out():
    wave = 0.5 * np.sin(2 * np.pi * 6000 * np.arange(32000) / 16000)
    data = io.BytesIO()
    soundfile.write(data, wave, 16000, "PCM_16", format="WAV")
    _, found = of_file(data.getvalue(), audio_decoding.Form(2, 8000))
    assert np.abs(found[4000:12000].astype(int)).max() <= 1  # 16 bits' last one


def test_channels_are_averaged_so_a_sound_on_one_side_has_half_its_level():
    wave = sound_layouts.chord(np.random.default_rng(2))
    form = audio_decoding.Form(2, RATE, mix_channels=True)
    for right, level in ((wave, 1.0), (0 * wave, 0.5), (-wave, 0.0)):
        data = sound_layouts.encoded(np.stack([wave, right], axis=1), "FLAC")
        header, found = of_file(bytes(data), form)
        np.testing.assert_array_equal(found, np.rint(2**15 * level * wave))
        assert re.search("mixed to one channel", header.changes[0])
