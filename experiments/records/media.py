"""Pictures and sounds among a run's values, and the bytes of their files."""

import io
import struct
import wave
import zlib
from typing import NamedTuple

import numpy as np

COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels: PNG (ISO/IEC 15948) table 11.1


class Image(NamedTuple):
    """A picture."""

    pixels: np.ndarray  # [height, width, channels]: uint8, or floats from 0 to 1


class Audio(NamedTuple):
    """A sound."""

    samples: np.ndarray  # [positions] or [positions, channels]: floats from -1 to 1
    sample_rate: int  # positions per second


def encode_png(image: Image) -> bytes:
    """The picture as a PNG file.

    Raises ValueError unless it has 1, 3 or 4 channels, and for NaN.
    """
    pixels = np.asarray(image.pixels)
    if pixels.ndim != 3 or pixels.shape[2] not in COLOUR_TYPES or not pixels.size:
        raise ValueError(
            f"image: pixels have shape {pixels.shape}, "
            f"wanted [height, width, channels] of {sorted(COLOUR_TYPES)} channels"
        )
    if pixels.dtype != np.uint8:
        pixels = (255 * np.clip(_finite("image", pixels), 0, 1)).round()
        pixels = pixels.astype(np.uint8)
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins: no filter
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = {b"IHDR": head, b"IDAT": zlib.compress(rows.tobytes()), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def encode_wav(audio: Audio) -> bytes:
    """The sound as a WAV file of 16 bits; what is beyond -1 and 1 is cut off.

    Raises ValueError for another shape and for NaN.
    """
    samples = np.asarray(audio.samples)
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(
            f"audio: samples have shape {samples.shape}, "
            "wanted [positions] or [positions, channels]"
        )
    clipped = np.clip(_finite("audio", samples), -1, 1)
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(audio.sample_rate)
        file.writeframes((32767 * clipped).round().astype("<i2").tobytes())
    return held.getvalue()


def _finite(what: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{what}: given NaN or infinity, wanted numbers")
    return values
