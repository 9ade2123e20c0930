"""Images and audio among a run's metrics, and their encoded files."""

import io
import wave
from typing import NamedTuple

import numpy as np
from PIL import Image as pillow

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names, by number of channels


class Image(NamedTuple):
    """An image."""

    pixels: np.ndarray  # [height, width, channels]: uint8, or floats from 0 to 1


class Audio(NamedTuple):
    """A sound."""

    samples: np.ndarray  # [positions] or [positions, channels]: floats from -1 to 1
    sample_rate: int  # positions per second


def encode_png(image: Image) -> bytes:
    """The image as a PNG file.  Floats are clipped to 0 and 1.

    Raises ValueError for NaN, and for other numbers of channels than 1, 3 and 4.
    """
    pixels = np.asarray(image.pixels)
    if pixels.ndim != 3 or pixels.shape[2] not in MODES or not pixels.size:
        raise ValueError(
            f"image: given pixels of shape {pixels.shape}, "
            f"wanted [height, width, channels] of {sorted(MODES)} channels"
        )
    if pixels.dtype != np.uint8:
        pixels = (255 * np.clip(_finite("image", pixels), 0, 1)).round()
        pixels = pixels.astype(np.uint8)
    height, width, channels = pixels.shape
    buffer = io.BytesIO()
    size, data = (width, height), pixels.tobytes()
    pillow.frombytes(MODES[channels], size, data).save(buffer, format="png")
    return buffer.getvalue()


def encode_wav(audio: Audio) -> bytes:
    """The sound as a 16-bit WAV file.  Samples are clipped to -1 and 1.

    Raises ValueError for NaN and for another shape.
    """
    samples = np.asarray(audio.samples)
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(
            f"audio: given samples of shape {samples.shape}, "
            "wanted [positions] or [positions, channels]"
        )
    clipped = np.clip(_finite("audio", samples), -1, 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(audio.sample_rate)
        file.writeframes((32767 * clipped).round().astype("<i2").tobytes())
    return buffer.getvalue()


def _finite(kind: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{kind}: given NaN or infinity, wanted numbers")
    return values
