"""Numbered files of a folder or zip, the errors of reading them, and a cache."""

import concurrent.futures
import io
import lzma
import os
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

CACHE_BYTES = 2**29
BROKEN_ZIP = (  # what zipfile raises for a damaged or unsupported archive
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
    """A damaged file, or one of another format.  The message names it."""


class MissingDataError(ValueError, FileNotFoundError):
    """A file, folder or data set that does not exist.  The message names it."""


class Encoded(NamedTuple):
    """Files by number."""

    num: int
    label: Callable[[int], str]  # the name of one in errors
    # Raises CorruptFileError if the archive is damaged there.
    open: Callable[[int], BinaryIO]
    origin: str = ""  # the folder or zip that they are in
    # Name, size and time of change of one; None where these are unknown.
    version: Callable[[int], str] | None = None


class Part(NamedTuple):
    """Some of the examples of a file."""

    file: Hashable  # equal for the same file, whatever its path
    label: str  # their name in errors
    numbers: range = range(1)  # which of the file's examples


class FileList(NamedTuple):
    """The files of one folder or zip."""

    path: Path
    name: str  # with a checksum of its listing, since a path says nothing
    names: Sequence[str]  # of the files, relative to it, in order
    files: Encoded
    parts: tuple[Part, ...]  # each file by itself
    counts: Counter[str]  # of files of other kinds, which are not read, by suffix


class Cache:
    """Arrays in memory, until the cache is full.  Safe for threads.

    Nothing is evicted.  Every example comes once an epoch, so the least recently used
    one is needed soonest, and evicting it would evict all of them one after another.
    """

    def __init__(self, num_bytes: int) -> None:
        self._left = num_bytes
        self._arrays: dict[object, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this key, from `make` if it is not cached.  Read-only."""
        cached = self._arrays.get(key)
        if cached is not None:
            return cached
        array = make()
        array.flags.writeable = False
        with self._lock:
            if key not in self._arrays and self._left >= array.nbytes:
                self._left -= array.nbytes
                self._arrays[key] = array
        return array


def on_threads[Out](
    function: Callable[[int], Out], numbers: Sequence[int], num_threads: int
) -> Iterator[Out]:
    """`function` of each number, in order.  The first error ends all of them."""
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        chunk = (
            64 * num_threads
        )  # submitted at a time, so that an error stops the work soon
        for first in range(0, len(numbers), chunk):
            yield from pool.map(function, numbers[first : first + chunk])


def list_files(
    path: Path, suffixes: Sequence[str], kind: str, others: Sequence[str] = ()
) -> FileList:
    """The files of a folder and its subfolders, or of a zip, sorted by name.

    They are selected by suffix; hidden files are ignored.

    kind: their name in errors.
    others: suffixes of files that are not read, and counted.

    Raises MissingDataError for a path that does not exist, and ValueError, naming it,
    if it is neither folder nor zip, is damaged or has no such file.
    """
    if path.is_dir():
        stats = {
            file.relative_to(path).as_posix(): file.stat()
            for file in path.rglob("*")
            if file.is_file()
        }
        sizes = {name: stat.st_size for name, stat in stats.items()}
        changed = {name: stat.st_mtime_ns for name, stat in stats.items()}
        identities = {name: (stat.st_dev, stat.st_ino) for name, stat in stats.items()}

        def open_one(name: str) -> BinaryIO:
            return (path / name).open("rb")

    elif zipfile.is_zipfile(existing(path)):
        try:
            archive = zipfile.ZipFile(path)
        except BROKEN_ZIP as error:
            raise ValueError(f"{path}: a damaged zip ({error})") from error
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        sizes = {entry.filename: entry.file_size for entry in entries}
        stat = path.stat()
        changed = dict.fromkeys(sizes, stat.st_mtime_ns)
        identities = {name: (stat.st_dev, stat.st_ino, name) for name in sizes}

        def open_one(name: str) -> BinaryIO:
            return io.BytesIO(archive.read(name))

    else:
        raise ValueError(f"{path}: wanted a folder or a zip of {kind} files")

    names = sorted(name for name in sizes if _is_wanted(name, tuple(suffixes)))
    if not names:
        raise ValueError(f"{path}: no {kind} among its {len(sizes)} files")

    def label(number: int) -> str:  # a name may be in another encoding than UTF-8
        return os.fsencode(path / names[number]).decode(errors="backslashreplace")

    def open_number(number: int) -> BinaryIO:
        try:
            return open_one(names[number])
        except BROKEN_ZIP as error:
            raise CorruptFileError(f"{label(number)}: damaged ({error})") from error

    def version(number: int) -> str:
        name = names[number]
        return f"{changed[name]} {sizes[name]} {os.fsencode(name).hex()}"

    return FileList(
        path,
        name_with_checksum(path, [f"{name} {sizes[name]}" for name in names]),
        names,
        Encoded(len(names), label, open_number, str(path.resolve()), version),
        tuple(Part(identities[name], f"{path}/{name}") for name in names),
        Counter(
            f"{Path(name).suffix.lower()} not read"
            for name in sizes
            if _is_wanted(name, tuple(others))
        ),
    )


def counts_text(*counts: Counter[str]) -> str:
    """The counts of changed and skipped ones, for a data set's name and source."""
    total = sum(counts, Counter())
    return "".join(f", {num} {what}" for what, num in sorted(total.items()))


def existing(path: Path) -> Path:
    """The path of a file.  Raises MissingDataError if there is none."""
    if not path.is_file():
        raise MissingDataError(f"path: given {path}: no such file or folder")
    return path


def name_with_checksum(path: Path, contents: Sequence[str]) -> str:
    """The last part of the path, and a checksum of its contents."""
    text = "\n".join(contents).encode(errors="surrogateescape")
    return f"{path.name} {zlib.crc32(text):08x}"


def check_apart(training: Iterable[Part], held_out: Iterable[Part]) -> None:
    """Raises ValueError, naming it, for an example in training and held-out data."""
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


def check_reading(cache_bytes: int, num_threads: int) -> None:
    """Raises ValueError for a negative cache size, and for no threads."""
    if cache_bytes < 0:
        raise ValueError(f"cache_bytes: given {cache_bytes}, wanted 0 or more")
    if num_threads < 1:
        raise ValueError(f"num_threads: given {num_threads}, wanted 1 or more")


def check_share(share: float) -> None:
    """Raises ValueError unless 0 < share < 1."""
    if not 0 < share < 1:
        raise ValueError(f"held_out_share: given {share}, wanted between 0 and 1")


def _is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether it has a suffix, is not hidden and not what macOS adds to its zips."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return name.lower().endswith(suffixes) and not hidden
