"""What the bytes of an image file show before its pixels are decoded."""

import re
import zlib
from typing import NamedTuple

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
# A JPEG's next marker in coded data: not a stuffed zero, a restart or a fill byte.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
END_OF_IMAGE = 0xD9
GREY_TYPES = (0, 4)  # a PNG's colour types without and with alpha


class PngHeader(NamedTuple):
    """The start of a PNG."""

    depth: int  # bits of a channel
    is_grey: bool


def png_header(data: bytes) -> PngHeader | None:
    """The header of a PNG file; None for another file."""
    if not data.startswith(PNG) or len(data) < 26:
        return None
    return PngHeader(data[24], data[25] in GREY_TYPES)


def is_whole(data: bytes) -> bool:
    """Whether the file reaches its end; for a file of another kind, True.

    A file that does not may still have all its pixels: a decoder tells.
    """
    if data.startswith(PNG):
        chunks = png_chunks(data)
        return bool(chunks) and chunks[-1][0] == b"IEND"
    if data.startswith(JPEG):
        return _jpeg_ends(data)
    if data.startswith(b"RIFF"):
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return True


def damaged_png_chunk(data: bytes) -> str | None:
    """The first chunk of a PNG whose checksum is wrong, of those that make pixels.

    Pillow skips the checksum of the pixels.
    """
    if data.startswith(PNG):
        for kind, start, end in png_chunks(data):
            found = int.from_bytes(data[end : end + 4], "big")
            is_critical = kind[:1].isupper()
            if is_critical and found != zlib.crc32(memoryview(data)[start - 4 : end]):
                return kind.decode("ascii", "replace")
    return None


def png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """The kind, start and end of the content of each whole chunk, up to IEND."""
    chunks = []
    at = len(PNG)
    while at + 12 <= len(data):
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : start]
        if end + 4 > len(data):
            break
        chunks.append((kind, start, end))
        if kind == b"IEND":
            break
        at = end + 4
    return chunks


def _jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG's markers lead to the end of its first picture."""
    at = 2
    while marker := MARKER.search(data, at):
        kind = data[marker.end() - 1]
        if kind == END_OF_IMAGE:
            return True
        length = data[marker.end() : marker.end() + 2]
        at = marker.end() + max(2, int.from_bytes(length, "big"))
    return False
