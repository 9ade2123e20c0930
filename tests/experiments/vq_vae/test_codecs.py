"""FLAC, PNG and the histogram: cases that can be counted by hand, and read again."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from experiments.audio_vae import flac
from experiments.vq_vae import histogram, png


def noise(shape, dtype=np.int16):
    bounds = np.iinfo(dtype)
    random = np.random.default_rng(0)
    return random.integers(bounds.min, bounds.max + 1, size=shape).astype(dtype)


# FLAC.


def test_silence_takes_a_sample_a_frame_and_noise_all_of_its_bits():
    silent = flac.flac(np.zeros((4, 4096), np.int16), 8000)
    # A constant frame is a head of 6 bytes or a few more, 1 for its kind, 2 for the
    # sample and 2 of checksum; RFC 9639, section 9.
    assert 11 <= silent.alone_frames * 4096 / 8 <= 14
    assert silent.together_frames <= silent.alone_frames
    loud = flac.flac(noise((4, 4096)), 8000)
    assert 16 < loud.alone_frames < 16.05 and 16 < loud.together_frames < 16.05


def test_a_file_is_its_head_and_its_frames_and_is_read_again():
    clips = noise((3, 500)) // 64
    files = [flac.encoded(clip, 8000) for clip in clips]
    for clip, file in zip(clips, files, strict=True):
        found, rate = soundfile.read(io.BytesIO(file), dtype="int16")
        np.testing.assert_array_equal(found, clip)
        assert rate == 8000
        begin = flac.frames_begin(file)
        assert begin >= 42  # the marker, and the one block that there must be
        assert file[begin] == 0xFF and file[begin + 1] in (0xF8, 0xF9)  # a frame's sync
    found = flac.flac(clips, 8000)
    assert found.alone == 8 * sum(map(len, files)) / 1500
    heads = sum(map(flac.frames_begin, files))
    np.testing.assert_allclose(found.alone - found.alone_frames, 8 * heads / 1500)
    assert found.together < found.alone
    whole = flac.encoded(clips.reshape(-1), 8000)
    assert found.together == 8 * len(whole) / 1500


def test_the_most_effort_is_no_longer_than_the_least():
    clip = np.rint(8000 * np.sin(np.arange(4096) / 9) + noise(4096) / 256)
    clip = clip.astype(np.int16)
    least = io.BytesIO()
    soundfile.write(
        least, clip, 8000, format="FLAC", subtype="PCM_16", compression_level=0.0
    )
    assert len(flac.encoded(clip, 8000)) < len(least.getvalue())


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        (np.zeros(5, np.int16), r"int16 of shape \(5,\)"),
        (np.zeros((0, 5), np.int16), r"shape \(0, 5\)"),
        (np.zeros((2, 5)), "given float64"),
        (np.full((2, 5), 40_000), "given 40000 to 40000, wanted 16 bits"),
    ],
)
def test_what_are_no_clips_is_refused(clips, said):
    with pytest.raises(ValueError, match=said):
        flac.flac(clips, 8000)
    with pytest.raises(ValueError, match="wanted b'fLaC'"):
        flac.frames_begin(b"RIFF....")


# PNG.


def test_noise_takes_all_of_its_bits_and_one_colour_next_to_none():
    images = noise((2, 64, 64, 3), np.uint8)
    found = png.png(images)
    assert 8 < found.data < found.files < 8.2
    plain = png.png(np.full((2, 64, 64, 3), 7, np.uint8))
    assert plain.data < 0.06


def test_a_file_is_its_data_and_57_bytes_and_is_read_again():
    image = noise((5, 7, 3), np.uint8)
    file = png.encoded(image)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), image)
    # Besides one chunk's data: 8 of signature, 12 + 13 of IHDR, 12 of IDAT, 12 of IEND.
    assert len(file) - png.data_bytes(file) == 57
    found = png.png(image[np.newaxis])
    assert found.files == 8 * len(file) / 105
    assert found.data == 8 * png.data_bytes(file) / 105


def test_what_are_no_images_is_refused():
    for given in (np.zeros((2, 3, 3), np.uint8), np.zeros((1, 2, 2, 3))):
        with pytest.raises(ValueError, match="wanted uint8"):
            png.png(given)
    with pytest.raises(ValueError, match="wanted at least one"):
        png.png(np.zeros((0, 2, 2, 3), np.uint8))


# Histogram.


def test_bits_are_those_of_the_counts_by_channel():
    training = np.zeros((1, 2, 2, 2), np.uint8)
    training[..., 1] = [[[0, 1], [2, 3]]]
    held_out = np.zeros((1, 1, 2, 2), np.uint8)
    held_out[..., 1] = [[[3, 9]]]
    # Four counted in each channel, and one more of each of 256 values.
    wanted = -(2 * np.log2(5 / 260) + np.log2(2 / 260) + np.log2(1 / 260)) / 4
    found = histogram.histogram_bits_per_dim(training, held_out)
    np.testing.assert_allclose(found, wanted)


def test_noise_costs_eight_bits_and_one_colour_next_to_none():
    given = noise((8, 64, 64, 3), np.uint8)
    assert abs(histogram.histogram_bits_per_dim(given[:4], given[4:]) - 8) < 0.05
    plain = np.full((4, 64, 64, 3), 9, np.uint8)
    assert histogram.histogram_bits_per_dim(plain, plain) < 0.05


def test_images_of_other_kinds_are_refused():
    plain = np.zeros((1, 2, 2, 3), np.uint8)
    for given in (plain[0], plain.astype(np.int32), plain[:0]):
        with pytest.raises(ValueError, match="held_out: given"):
            histogram.histogram_bits_per_dim(plain, given)
    with pytest.raises(ValueError, match="given 1 channels, wanted the 3"):
        histogram.histogram_bits_per_dim(plain, plain[..., :1])
