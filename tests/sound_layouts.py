"""Sound files as recorders, pipes and editors lay them out, with their true samples."""

import io
import struct
from typing import NamedTuple

import numpy as np
import soundfile

RATE = 48000  # Opus has no other rate of music
PIPE_SIZES = (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
LOSSY = {"VORBIS": 0.06, "OPUS": 0.12, "MPEG_LAYER_III": 0.06, "ULAW": 0.04}


class Layout(NamedTuple):
    """A file and what a right reader makes of it."""

    suffix: str
    data: bytes
    samples: np.ndarray  # [samples] from -1 to 1
    tolerance: float = 2.0**-16  # of 1


def chord(random, num=9000):
    """[num] samples of three tones, whole numbers of 16 bits as a share of 2**15."""
    time = np.arange(num) / RATE
    pitches, phases = random.uniform(200, 3000, (3, 1)), random.uniform(0, 6, (3, 1))
    sound = 0.25 * np.sin(2 * np.pi * pitches * time + phases).sum(axis=0)
    return np.rint(2**15 * sound) / 2**15


def encoded(samples, form, subtype="PCM_16"):
    held = io.BytesIO()
    soundfile.write(held, samples, RATE, format=form, subtype=subtype)
    return bytearray(held.getvalue())


def plain(random, suffix, form, subtype):
    samples = chord(random)
    tolerance = LOSSY.get(subtype, 2.0**-16)
    return Layout(suffix, bytes(encoded(samples, form, subtype)), samples, tolerance)


def flac_of_unknown_length(random):
    """RFC 9639, section 8.2: 0 samples, and an MD5 of zeros, mean unknown."""
    samples = chord(random, 150_000)
    data = encoded(samples, "FLAC")
    data[21] &= 0xF0
    data[22:42] = bytes(20)
    return Layout("flac", bytes(data), samples)


def piped_wav(random, size, extra=b""):
    """A WAV whose sizes a writer could not go back to."""
    samples = chord(random)
    data = encoded(samples, "WAV")
    data[4:8] = struct.pack("<I", min(size + 36, 2**32 - 1) if size else 0)
    data[40:44] = struct.pack("<I", size)
    return Layout("wav", bytes(data + extra), samples)


def piped_silence(random):
    del random
    data = encoded(np.zeros(800), "WAV")
    data[4:8] = data[40:44] = bytes(4)
    return Layout("wav", bytes(data), np.zeros(800))


def with_chunks(random):
    """A WAV with chunks of odd length before and after the samples."""
    samples = chord(random)
    data = encoded(samples, "WAV")
    odd = b"note" + struct.pack("<I", 5) + b"hello\0"
    data = data[:36] + odd + data[36:] + odd
    data[4:8] = struct.pack("<I", len(data) - 8)
    return Layout("wav", bytes(data), samples)


FORMS = {
    "WAV, 16 bit": ("wav", "WAV", "PCM_16"),
    "WAV, 24 bit": ("wav", "WAV", "PCM_24"),
    "WAV, 32 bit": ("wav", "WAV", "PCM_32"),
    "WAV, float": ("wav", "WAV", "FLOAT"),
    "WAV, float of 64 bit": ("wav", "WAV", "DOUBLE"),
    "WAV, mu-law": ("wav", "WAV", "ULAW"),
    "WAV, extensible": ("wav", "WAVEX", "PCM_16"),
    "WAV, RF64": ("wav", "RF64", "PCM_16"),
    "FLAC, 16 bit": ("flac", "FLAC", "PCM_16"),
    "FLAC, 24 bit": ("flac", "FLAC", "PCM_24"),
    "Ogg Vorbis": ("ogg", "OGG", "VORBIS"),
    "Opus": ("opus", "OGG", "OPUS"),
    "AIFF, 16 bit": ("aiff", "AIFF", "PCM_16"),
    "AIFF, float": ("aifc", "AIFF", "FLOAT"),
    "CAF, 16 bit": ("caf", "CAF", "PCM_16"),
    "CAF, ALAC": ("caf", "CAF", "ALAC_16"),
    "MP3": ("mp3", "MP3", "MPEG_LAYER_III"),
}
LAYOUTS = {
    **{
        name: lambda random, form=form: plain(random, *form)
        for name, form in FORMS.items()
    },
    "FLAC, number of samples unknown": flac_of_unknown_length,
    **{
        f"WAV from a pipe, size {size:#x}": lambda r, s=size: piped_wav(r, s)
        for size in PIPE_SIZES
    },
    "WAV from a pipe, odd last byte": lambda r: piped_wav(r, 0, b"\1"),
    "WAV from a pipe, silent": piped_silence,
    "WAV, chunks of odd length": with_chunks,
}
