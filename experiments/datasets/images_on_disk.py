"""A user's own images: a folder or zip of PNG, JPEG and WebP files, or an npz."""

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.datasets import files, image_decoding
from experiments.datasets.images import Images, Split

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp")
OTHERS = (".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif", ".jxl", ".jp2")


class _ArrayEntry(NamedTuple):
    """An array of an npz that is not read yet."""

    place: Path
    name: str
    entry: zipfile.ZipInfo


class _Contents(NamedTuple):
    """The images of one path."""

    name: str  # with a checksum of the listing
    split: Split
    counts: Counter[str] = Counter()  # of skipped images
    left_out: tuple[str, ...] = ()  # their names


def image_files(
    *,
    path: Path | str,
    size: int,
    held_out_path: Path | str | None = None,
    held_out_share: float = 0.1,
    fit: str = "crop",
    flip: bool = True,
    convert_grey: bool = False,
    skip_corrupt: bool = False,
    cache_bytes: int = files.CACHE_BYTES,
    num_threads: int = 2,
) -> Images:
    """The PNG, JPEG and WebP files of a folder and its subfolders, or of a zip.

    Files are selected by suffix, hidden ones ignored, and numbered in the order of
    their names.  At once each is read to see that it is whole, without its pixels, or
    with them for `skip_corrupt`.  For 1000 files and more, what was found is kept in
    the user's cache folder.  docs/images_and_sounds.md lists what files may be like.

    size: pixels of a side of the square images.
    held_out_path: of the held-out images.  None: `held_out_share` of the files of
      `path`, the same for every seed.
    fit: "crop", the central square of `size`; "box", the largest central square,
      downsampled by a box filter.
    flip: whether half of the training images are mirrored.
    convert_grey: accept grey images, with three equal channels.
    skip_corrupt: skip corrupt files; name and source say how many, `left_out` which.
    cache_bytes: for decoded images.

    Raises MissingDataError for a path that does not exist, CorruptFileError for a
    corrupt file, and ValueError for an image that is grey, transparent or smaller than
    `size`, for no files or too few to hold some out, and for a file that is in both
    paths.  Each names the file.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for i in range(4):
    ...     Image.new("RGB", (40, 32)).save(folder / f"{i}.png")
    >>> images = image_files(path=folder, size=32)
    >>> images.training.num, images.held_out.num
    (3, 1)
    """
    wanted = image_decoding.Fit(size, fit, convert_grey)
    image_decoding.check_fit(wanted)
    files.check_reading(cache_bytes, num_threads)
    files.check_share(held_out_share)
    cache = files.Cache(cache_bytes)

    def read(listed: files.FileList) -> _Contents:
        images = image_decoding.decoded(
            listed.files,
            wanted,
            skip_corrupt=skip_corrupt,
            check_all=True,
            cache=cache,
            num_threads=num_threads,
        )
        if not images.split.num:
            raise ValueError(
                f"{listed.path}: all {listed.files.num} images are corrupt"
            )
        counts = images.counts + listed.counts
        return _Contents(listed.name, images.split, counts, images.left_out)

    all_files = files.list_files(Path(path), SUFFIXES, image_decoding.KINDS, OTHERS)
    if held_out_path is None:
        training, held_out = _hold_out(all_files.path, read(all_files), held_out_share)
    else:
        other = files.list_files(
            Path(held_out_path), SUFFIXES, image_decoding.KINDS, OTHERS
        )
        files.check_apart(all_files.parts, other.parts)
        training, held_out = read(all_files), read(other)
    return _images(
        "image_files",
        training,
        held_out,
        wanted,
        flip,
        num_threads,
        is_cut=held_out_path is None,
    )


def image_array(
    *,
    path: Path | str,
    size: int,
    array: str | None = None,
    held_out_path: Path | str | None = None,
    held_out_array: str | None = None,
    held_out_share: float = 0.1,
    fit: str = "crop",
    flip: bool = True,
    convert_grey: bool = False,
) -> Images:
    """The images of an array [images, height, width, 3] uint8 in an npz.

    The array stays in memory.

    array, held_out_array: names in the npz; None: the only array that it has.
    held_out_path: of an npz with the held-out images.  None: `path`, if
      `held_out_array` is given; else `held_out_share` of the images is held out, the
      same for every seed.

    The other arguments are those of `image_files`.  Raises MissingDataError for a path
    that does not exist, and ValueError, naming the file, if it is damaged or no npz,
    for an unknown name, another dtype or shape, grey images unless converted, images
    that are too small or too few, and for an array, or a copy of it, that is in
    training and held-out data.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "images.npz"
    >>> np.savez(path, images=np.zeros([10, 8, 8, 3], np.uint8))
    >>> image_array(path=path, size=8).training.num
    9
    """
    wanted = image_decoding.Fit(size, fit, convert_grey)
    image_decoding.check_fit(wanted)
    files.check_share(held_out_share)
    entry = _array_entry(Path(path), array)
    is_cut = held_out_path is None and held_out_array is None
    if is_cut:
        training, held_out = _hold_out(
            entry.place, _of_array(entry, wanted), held_out_share
        )
    else:
        other = _array_entry(
            Path(path if held_out_path is None else held_out_path), held_out_array
        )
        files.check_apart([_part(entry)], [_part(other)])
        training, held_out = _of_array(entry, wanted), _of_array(other, wanted)
    # Making a batch only copies, which holds Python's lock, so threads do not help.
    return _images(
        "image_array", training, held_out, wanted, flip, num_threads=1, is_cut=is_cut
    )


def _images(
    kind: str,
    training: _Contents,
    held_out: _Contents,
    fit: image_decoding.Fit,
    flip: bool,
    num_threads: int,
    is_cut: bool,
) -> Images:
    """is_cut: whether both splits come from one path or array."""
    sides = [training] if is_cut else [training, held_out]
    skipped = files.counts_text(*(side.counts for side in sides))
    origin = ", ".join(side.name for side in sides)
    counts = f"{training.split.num} + {held_out.split.num}"
    return Images(
        name=f"{kind}({origin}, {fit.how} {fit.size}, {counts} images{skipped})",
        source=f"{origin}: {counts} images (training + held out){skipped}",
        size=fit.size,
        training=training.split,
        held_out=held_out.split,
        flip=flip,
        num_threads=num_threads,
        left_out=tuple(name for side in sides for name in side.left_out),
    )


def _hold_out(
    path: Path, contents: _Contents, share: float
) -> tuple[_Contents, _Contents]:
    """Training images, and held-out images of the same path."""
    num_images = contents.split.num or 0
    num_held_out = max(1, round(share * num_images))
    if num_held_out >= num_images:
        raise ValueError(
            f"{path}: {num_images} images, wanted at least 2, of which some are to be "
            "held out"
        )
    # At random, since neighbours by name are often alike.  The same for every seed, so
    # that no run is evaluated on images that another has trained on.
    order = np.random.default_rng(0).permutation(num_images)
    numbers = np.sort(order[num_held_out:]), np.sort(order[:num_held_out])
    training, held_out = (
        contents._replace(split=_some_of(contents.split, chosen)) for chosen in numbers
    )
    return training, held_out


def _some_of(split: Split, numbers: np.ndarray) -> Split:
    return Split(len(numbers), lambda n, random: split.example(int(numbers[n]), random))


# Arrays.


def _array_entry(place: Path, name: str | None) -> _ArrayEntry:
    """The array of that name in an npz, or its only one."""
    if not zipfile.is_zipfile(files.existing(place)):
        raise ValueError(f"{place}: no npz, or a damaged one")
    entries = _read(place, lambda archive: archive.infolist())
    arrays = {entry.filename.removesuffix(".npy"): entry for entry in entries}
    if name is None and len(arrays) != 1:
        raise ValueError(f"{place}: holds {sorted(arrays)}, wanted one of them named")
    name = next(iter(arrays)) if name is None else name
    if name not in arrays:
        raise ValueError(f"{place}: holds {sorted(arrays)}, wanted {name!r}")
    return _ArrayEntry(place, name, arrays[name])


def _part(array: _ArrayEntry) -> files.Part:
    """The array, identified by its content, so that a copy is the same."""
    content = (array.entry.file_size, array.entry.CRC)
    return files.Part(content, f"{array.place}: {array.name!r}")


def _of_array(array: _ArrayEntry, fit: image_decoding.Fit) -> _Contents:
    """The images of an array, whose header is checked before it is read."""
    place, name, entry = array
    shape, dtype = _read(place, lambda archive: _array_header(archive, entry))
    _check_array(f"{place}: {name}", shape, dtype, fit)
    pixels = _read(place, lambda archive: _array(archive, entry))

    def image(number: int, _: np.random.Generator) -> np.ndarray:
        one = pixels[number]
        if one.ndim == 2 or one.shape[2] == 1:
            one = np.broadcast_to(one.reshape(*one.shape[:2], 1), (*one.shape[:2], 3))
        if one.shape[:2] == (fit.size, fit.size):
            return one
        return image_decoding.fitted(Image.fromarray(np.ascontiguousarray(one)), fit)

    content = [f"{entry.filename} {entry.file_size} {entry.CRC}"]
    return _Contents(
        files.name_with_checksum(place, content), Split(len(pixels), image)
    )


def _read[Out](place: Path, read: Callable[[zipfile.ZipFile], Out]) -> Out:
    try:
        with zipfile.ZipFile(place) as archive:
            return read(archive)
    except files.BROKEN_ZIP as error:
        raise ValueError(f"{place}: a damaged npz ({error})") from error


def _array_header(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _check_array(
    label: str, shape: tuple[int, ...], dtype: np.dtype, fit: image_decoding.Fit
) -> None:
    if dtype != np.uint8:
        raise ValueError(f"{label} is {dtype}, wanted uint8 from 0 to 255")
    is_grey = len(shape) == 3 or len(shape) == 4 and shape[3] == 1
    if not is_grey and (len(shape) != 4 or shape[3] != 3):
        raise ValueError(
            f"{label} has shape {shape}, wanted [images, height, width, 3]"
        )
    image_decoding.check_colour(label, is_grey, fit)
    if not shape[0]:
        raise ValueError(f"{label} has shape {shape}, wanted at least one image")
    image_decoding.check_large_enough(label, shape[1], shape[2], fit)
