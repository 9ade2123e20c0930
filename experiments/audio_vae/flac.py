"""The size of clips in FLAC: a codec baseline, in bits per sample."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soundfile

MARKER = b"fLaC"
BLOCK_HEADER = 4  # bytes before each metadata block: a last-block flag, its length


class BitsPerSample(NamedTuple):
    """The size of the clips in FLAC.

    Frames have headers too, of at least 9 bytes with their checksums for up to 4,096
    samples.  These count everywhere, because a decoder needs them.
    """

    together: float  # all clips concatenated in one file
    together_frames: float  # the same without the file's metadata
    alone: float  # each clip in a file of its own
    alone_frames: float  # the same without each file's metadata


def flac(clips: np.ndarray, rate: int) -> BitsPerSample:
    """Bits per sample of [clips, length] integers of 16 bits.

    The encoder is libsndfile's (Xiph's libFLAC) at its highest compression level.

    Raises ValueError for another shape, no samples, and numbers beyond 16 bits.
    """
    clips = np.asarray(clips)
    if clips.ndim != 2 or not clips.size or clips.dtype.kind not in "iu":
        raise ValueError(
            f"clips: given {clips.dtype} of shape {clips.shape}, wanted whole numbers "
            "[clips, length]"
        )
    bounds = np.iinfo(np.int16)
    if clips.min() < bounds.min or clips.max() > bounds.max:
        raise ValueError(f"clips: given {clips.min()} to {clips.max()}, wanted 16 bits")
    clips = clips.astype(np.int16)
    together = [encoded(clips.reshape(-1), rate)]
    alone = [encoded(clip, rate) for clip in clips]
    return BitsPerSample(
        *_bits(together, clips.size),
        *_bits(alone, clips.size),
    )


def encoded(samples: np.ndarray, rate: int) -> bytes:
    """The FLAC file of [positions] int16."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, rate, format="FLAC", subtype="PCM_16", compression_level=1.0
    )
    return buffer.getvalue()


def frames_begin(file: bytes) -> int:
    """The bytes of a FLAC file before its frames: RFC 9639, sections 6 to 8."""
    if not file.startswith(MARKER):
        raise ValueError(f"file: begins with {file[:4]!r}, wanted {MARKER!r}")
    at, is_last = len(MARKER), False
    while not is_last:
        is_last = bool(file[at] & 128)
        at += BLOCK_HEADER + int.from_bytes(file[at + 1 : at + BLOCK_HEADER], "big")
    return at


def _bits(files: Sequence[bytes], num_samples: int) -> tuple[float, float]:
    """Bits per sample of the files, and of their frames alone."""
    total = sum(map(len, files))
    frames = total - sum(map(frames_begin, files))
    return 8 * total / num_samples, 8 * frames / num_samples
