"""What PNG makes of images: the bits/dim that a model of images is held against."""

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

SIGNATURE_BYTES = 8
CHUNK_BYTES = 12  # of each chunk besides its data: length, type and checksum


class BitsPerDim(NamedTuple):
    """How long the images are in PNG."""

    files: float  # each in a file of its own
    data: float  # the same, the compressed pixels alone


def png(images: np.ndarray) -> BitsPerDim:
    """Bits/dim of [images, height, width, 3] uint8, by Pillow at its most effort.

    Raises ValueError for another shape or dtype, and for no images.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"images: given {images.dtype} of shape {images.shape}, wanted uint8 "
            "[images, height, width, 3]"
        )
    if not images.size:
        raise ValueError(f"images: given shape {images.shape}, wanted at least one")
    files = [encoded(image) for image in images]
    return BitsPerDim(
        8 * sum(map(len, files)) / images.size,
        8 * sum(map(data_bytes, files)) / images.size,
    )


def encoded(image: np.ndarray) -> bytes:
    """The PNG file of [height, width, 3] uint8."""
    held = io.BytesIO()
    Image.fromarray(image).save(held, "PNG", optimize=True)
    return held.getvalue()


def data_bytes(file: bytes) -> int:
    """How many bytes of a PNG file are compressed pixels: ISO/IEC 15948, section 5."""
    at, total = SIGNATURE_BYTES, 0
    while at < len(file):
        length, kind = struct.unpack(">I4s", file[at : at + 8])
        total += length if kind == b"IDAT" else 0
        at += CHUNK_BYTES + length
    return total
