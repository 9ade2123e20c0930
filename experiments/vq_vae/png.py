"""The size of images in PNG: a codec baseline, in bits per dimension."""

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

SIGNATURE_BYTES = 8
CHUNK_BYTES = 12  # of a chunk's length, type and checksum


class BitsPerDim(NamedTuple):
    """The size of the images in PNG."""

    files: float  # one file for each image
    data: float  # the compressed pixels of these files alone


def png(images: np.ndarray) -> BitsPerDim:
    """Bits/dim of [images, height, width, 3] uint8, by Pillow's optimizing encoder.

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
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_bytes(file: bytes) -> int:
    """The bytes of compressed pixels in a PNG file: ISO/IEC 15948, section 5."""
    at, total = SIGNATURE_BYTES, 0
    while at < len(file):
        length, kind = struct.unpack(">I4s", file[at : at + 8])
        total += length if kind == b"IDAT" else 0
        at += CHUNK_BYTES + length
    return total
