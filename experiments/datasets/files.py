"""Files of a folder or zip by number, what is amiss with them, and what is kept."""

import concurrent.futures
import io
import lzma
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
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


class Listed(NamedTuple):
    """The files of one folder or zip."""

    name: str  # with a number of its content, since a path says nothing
    names: Sequence[str]  # of the files, within it and in their order
    files: Encoded


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
        files = [path for path in place.rglob("*") if path.is_file()]
        sizes = {
            path.relative_to(place).as_posix(): path.stat().st_size for path in files
        }

        def open_one(name: str) -> BinaryIO:
            return (place / name).open("rb")

    elif zipfile.is_zipfile(existing(place)):
        try:
            archive = zipfile.ZipFile(place)
        except BROKEN_ZIP as error:
            raise ValueError(f"{place}: a damaged zip ({error})") from error
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        sizes = {entry.filename: entry.file_size for entry in entries}

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
        named(place, [f"{name} {sizes[name]}" for name in names]),
        names,
        Encoded(len(names), label, open_number),
    )


def existing(place: Path) -> Path:
    """The place itself; FileNotFoundError where no file is there."""
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such file or folder")
    return place


def named(place: Path, contents: Sequence[str]) -> str:
    """A name of the place: its own, and a number of what it holds."""
    return f"{place.name} {zlib.crc32('\n'.join(contents).encode()):08x}"


def check_apart(training: Path, held_out: Path) -> None:
    """Raises ValueError where two places are one, or one folder lies in the other."""
    one, two = training.resolve(), held_out.resolve()
    both_folders = one.is_dir() and two.is_dir()
    if one == two or both_folders and (one in two.parents or two in one.parents):
        raise ValueError(
            f"{held_out}: is to be trained on and held out, given {training} to be "
            "trained on; wanted two places, neither of them in the other"
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
