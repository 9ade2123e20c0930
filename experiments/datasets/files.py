"""Files of a folder or zip by number, what is amiss with them, and what is kept."""

import concurrent.futures
import io
import lzma
import threading
import zipfile
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

CACHE_BYTES = 2**29
BROKEN_ZIP = (  # what comes of reading one that is damaged, or packed in an odd way
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # encrypted
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class CorruptFileError(ValueError):
    """A file that is not of its kind, or a damaged one; the text names it."""


class Encoded(NamedTuple):
    """Files by number."""

    num: int
    label: Callable[[int], str]  # what an error calls one
    # Raises CorruptFileError where what holds them is damaged there.
    open: Callable[[int], BinaryIO]


class Part(NamedTuple):
    """Some of the examples of a file."""

    file: Hashable  # the same for the same file, however it is reached
    label: str  # what an error calls them
    numbers: range = range(1)  # which of the file's examples


class Listed(NamedTuple):
    """The files of one folder or zip."""

    place: Path

    name: str  # with a number of its content, since a path says nothing
    names: Sequence[str]  # of the files, within it and in their order
    files: Encoded
    parts: tuple[Part, ...]  # each file by itself


class Cache:
    """Arrays kept once made, until there is no room; safe for threads.

    What is kept stays: in an epoch every example comes once, so the one used longest
    ago is the one needed soonest, and throwing it out would throw all out in turn.
    """

    def __init__(self, num_bytes: int) -> None:
        self._left = num_bytes
        self._held: dict[object, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this key, made where it is not kept; read-only."""
        found = self._held.get(key)
        if found is not None:
            return found
        made = make()
        made.flags.writeable = False
        with self._lock:
            if key not in self._held and self._left >= made.nbytes:
                self._left -= made.nbytes
                self._held[key] = made
        return made


def on_threads[Out](
    function: Callable[[int], Out], numbers: Sequence[int], num_threads: int
) -> Iterator[Out]:
    """`function` of each number, in order; what one raises ends them all."""
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        many = 64 * num_threads  # asked for at a time, so that an error comes soon
        for first in range(0, len(numbers), many):
            yield from pool.map(function, numbers[first : first + many])


def listed(place: Path, suffixes: Sequence[str], kind: str) -> Listed:
    """The files of a folder, with all folders in it, or of a zip, sorted by name.

    They are told by their suffixes; hidden ones are left alone.

    kind: what an error calls them.

    Raises FileNotFoundError for a place that is not there, and ValueError, naming it,
    for one that is neither, or damaged, or holds none of them.
    """
    if place.is_dir():
        held = {
            path.relative_to(place).as_posix(): path.stat()
            for path in place.rglob("*")
            if path.is_file()
        }
        sizes = {name: file.st_size for name, file in held.items()}
        same = {name: (file.st_dev, file.st_ino) for name, file in held.items()}

        def open_one(name: str) -> BinaryIO:
            return (place / name).open("rb")

    elif zipfile.is_zipfile(existing(place)):
        try:
            archive = zipfile.ZipFile(place)
        except BROKEN_ZIP as error:
            raise ValueError(f"{place}: a damaged zip ({error})") from error
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        sizes = {entry.filename: entry.file_size for entry in entries}
        whole = place.stat()
        same = {name: (whole.st_dev, whole.st_ino, name) for name in sizes}

        def open_one(name: str) -> BinaryIO:
            return io.BytesIO(archive.read(name))

    else:
        raise ValueError(f"{place}: wanted a folder or a zip of {kind} files")

    names = sorted(name for name in sizes if _is_wanted(name, tuple(suffixes)))
    if not names:
        raise ValueError(f"{place}: no {kind} among its {len(sizes)} files")

    def label(number: int) -> str:
        return f"{place}/{names[number]}"

    def open_number(number: int) -> BinaryIO:
        try:
            return open_one(names[number])
        except BROKEN_ZIP as error:
            raise CorruptFileError(f"{label(number)}: damaged ({error})") from error

    return Listed(
        place,
        named(place, [f"{name} {sizes[name]}" for name in names]),
        names,
        Encoded(len(names), label, open_number),
        tuple(Part(same[name], f"{place}/{name}") for name in names),
    )


def existing(place: Path) -> Path:
    """The place itself; FileNotFoundError where no file is there."""
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such file or folder")
    return place


def named(place: Path, contents: Sequence[str]) -> str:
    """A name of the place: its own, and a number of what it holds."""
    return f"{place.name} {zlib.crc32('\n'.join(contents).encode()):08x}"


def check_apart(training: Iterable[Part], held_out: Iterable[Part]) -> None:
    """Raises ValueError, naming it, where an example is trained on and held out."""
    of_file: dict[Hashable, list[Part]] = {}
    for part in training:
        of_file.setdefault(part.file, []).append(part)
    for part in held_out:
        for other in of_file.get(part.file, ()):
            first = max(part.numbers.start, other.numbers.start)
            if first < min(part.numbers.stop, other.numbers.stop):
                also = f", as {other.label}" if other.label != part.label else ""
                raise ValueError(
                    f"{part.label}: is to be trained on and held out{also}"
                )


def check_share(share: float) -> None:
    """Raises ValueError for a share to hold out that is none."""
    if not 0 < share < 1:
        raise ValueError(f"held_out_share: given {share}, wanted between 0 and 1")


def _is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    """By suffix; what is hidden, and what one system adds to its zips, is not."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return name.lower().endswith(suffixes) and not hidden
