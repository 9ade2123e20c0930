"""What the bytes of a recording show before its samples are decoded."""

import io
import struct
from typing import BinaryIO, NamedTuple

PIPE_SLACK = (
    2**16
)  # how far from 2**31 or 2**32 a size is that a pipe's writer makes up


class _Chunk(NamedTuple):
    """A chunk of a WAV, AIFF or CAF file: where its content is, as its header says."""

    kind: bytes
    start: int
    size: int


def prepared(stream: BinaryIO) -> tuple[BinaryIO, str]:
    """The stream for libsndfile, at its start, and what is missing from it, if it is.

    A WAV that a pipe wrote has no size of its samples: 0, or one near 2**31 or 2**32.
    libsndfile reads to the end for all but 0, which is replaced here.
    """
    head = stream.read(12)
    size = stream.seek(0, io.SEEK_END)
    missing = ""
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        chunks = _chunks(stream, 12, size, "<4sI")
        if _is_empty_pipe(stream, chunks, size):
            return _with_size(stream, chunks[-1], size), ""
        missing = _missing_of_wav(stream, head, chunks, size)
    elif head[:4] == b"FORM":
        end = 8 + int.from_bytes(head[4:8], "big")
        missing = "" if _is_made_up(end) else _missing(size, end)
    elif head[:4] == b"caff":
        last = _chunks(stream, 8, size, ">4sq")[-1:]
        missing = "".join(_missing(size, end.start + end.size) for end in last)
    elif head[:4] == b"OggS" and not _ogg_pages_end(stream, size):
        missing = "ends within a page"
    stream.seek(0)
    return stream, missing


def _chunks(stream: BinaryIO, at: int, size: int, header: str) -> list[_Chunk]:
    """The chunks up to the samples, or to the end if there are none."""
    chunks: list[_Chunk] = []
    length = struct.calcsize(header)
    while at + length <= size:
        stream.seek(at)
        kind, num_bytes = struct.unpack(header, stream.read(length))
        chunks.append(_Chunk(kind, at + length, num_bytes))
        if kind == b"data" or num_bytes < 0:  # -1 in a CAF: to the end
            break
        at += length + num_bytes + (num_bytes % 2 if header[0] == "<" else 0)
    return chunks


def _is_empty_pipe(stream: BinaryIO, chunks: list[_Chunk], size: int) -> bool:
    """Whether the samples have size 0 and bytes after them that are no chunks."""
    if not chunks or chunks[-1].kind != b"data" or chunks[-1].size:
        return False
    start = chunks[-1].start
    others = _chunks(stream, start, size, "<4sI")
    end = others[-1].start + others[-1].size if others else start
    named = all(one.kind.replace(b"_", b"").strip().isalnum() for one in others)
    are_chunks = bool(others) and named and size <= end + 1 <= size + 2
    return size > start and not are_chunks


def _with_size(stream: BinaryIO, samples: _Chunk, size: int) -> BinaryIO:
    """A copy of a WAV whose samples reach to the end."""
    stream.seek(0)
    data = bytearray(stream.read())
    num_bytes = min(size - samples.start, 2**32 - 1)
    data[samples.start - 4 : samples.start] = struct.pack("<I", num_bytes)
    return io.BytesIO(data)


def _missing_of_wav(
    stream: BinaryIO, head: bytes, chunks: list[_Chunk], size: int
) -> str:
    if head[:4] == b"RF64":  # the sizes of 64 bits come first
        stream.seek(20)
        ends = [8 + struct.unpack("<Q", stream.read(8))[0]] if size >= 28 else []
    else:
        ends = [8 + int.from_bytes(head[4:8], "little")]
        ends += [chunk.start + chunk.size for chunk in chunks[-1:]]
        ends = [end for end in ends if not _is_made_up(end)]
    return _missing(size, max(ends, default=0))


def _is_made_up(num_bytes: int) -> bool:
    return any(abs(num_bytes - near) <= PIPE_SLACK for near in (2**31, 2**32))


def _missing(size: int, wanted: int) -> str:
    # The last byte of an odd number may be left out.
    return f"{size} bytes, its header says {wanted}" if size + 1 < wanted else ""


def _ogg_pages_end(stream: BinaryIO, size: int) -> bool:
    """Whether an Ogg file ends where a page does: RFC 3533, section 6."""
    at = 0
    while at + 27 <= size:
        stream.seek(at)
        header = stream.read(27)
        if header[:4] != b"OggS":
            return True  # something else follows the pages
        at += 27 + header[26] + sum(stream.read(header[26]))
    return at == size
