"""Images of a person's own: a folder or zip of PNG and JPEG files, or an npz."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.datasets.files import (
    BROKEN_ZIP,
    CACHE_BYTES,
    Cache,
    Listed,
    Part,
    check_apart,
    check_share,
    existing,
    listed,
    named,
)
from experiments.datasets.image_decoding import (
    Fit,
    check_colour,
    check_fit,
    check_large_enough,
    check_reading,
    decoded,
    fitted,
)
from experiments.datasets.images import Images, Split

SUFFIXES = (".png", ".jpg", ".jpeg")
KIND = "PNG or JPEG"


class _Chosen(NamedTuple):
    """An array of an npz, not read yet."""

    place: Path
    name: str
    entry: zipfile.ZipInfo


class _Found(NamedTuple):
    """What one path holds."""

    name: str  # as it was listed
    split: Split
    num_skipped: int = 0


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
    cache_bytes: int = CACHE_BYTES,
    num_threads: int = 2,
) -> Images:
    """The PNG and JPEG files of a folder, with all folders in it, or of a zip.

    Files are told by their suffixes and numbered by their names; hidden ones are left
    alone.  The header of each is read at once, with `skip_corrupt` the whole of it.

    held_out_path: where those held out are; None: `held_out_share` of the others is,
      chosen once and for all.
    fit: "crop", the square of `size` in the middle; "box", the largest square there
      made smaller by a box filter.
    flip: whether half of the images trained on are mirrored.
    convert_grey: whether grey images are taken, with all three channels alike.
    skip_corrupt: whether corrupt files are counted and left out; the name and the
      source tell how many.
    cache_bytes: of images kept once decoded.

    Raises FileNotFoundError for a path that is not there, CorruptFileError for a
    corrupt file, and ValueError for one that is grey, transparent or smaller than
    wanted, for no files at all, for too few of them to hold some out, and for one that
    both paths hold; each names the file.
    """
    wanted = Fit(size, fit, convert_grey)
    check_fit(wanted)
    check_reading(cache_bytes, num_threads)
    check_share(held_out_share)
    cache = Cache(cache_bytes)

    def found(given: Listed) -> _Found:
        images = decoded(
            given.files,
            wanted,
            skip_corrupt=skip_corrupt,
            check_all=True,
            cache=cache,
            num_threads=num_threads,
        )
        if not images.split.num_images:
            raise ValueError(
                f"{given.place}: all {images.num_skipped} images are corrupt"
            )
        return _Found(given.name, *images)

    whole = listed(Path(path), SUFFIXES, KIND)
    if held_out_path is None:
        training, held_out = _cut(whole.place, found(whole), held_out_share)
    else:
        other = listed(Path(held_out_path), SUFFIXES, KIND)
        check_apart(whole.parts, other.parts)
        training, held_out = found(whole), found(other)
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

    It is held in memory whole.

    array, held_out_array: names in the npz; None: the only one that there is.
    held_out_path: of an npz with those held out; None: the same one where
      `held_out_array` is given, and else `held_out_share` of the others is held out,
      chosen once and for all.

    The rest is as `image_files` has it.  Raises FileNotFoundError for a path that is
    not there, and ValueError, naming the file, for one that is no npz or damaged, for
    a name that is not in it, another dtype or shape, grey images unless they are to be
    converted, images smaller than wanted, too few of them, and for an array that is
    held out and trained on, be it a copy.
    """
    wanted = Fit(size, fit, convert_grey)
    check_fit(wanted)
    check_share(held_out_share)
    whole = _chosen(Path(path), array)
    is_cut = held_out_path is None and held_out_array is None
    if is_cut:
        training, held_out = _cut(whole.place, _of_array(whole, wanted), held_out_share)
    else:
        other = _chosen(
            Path(path if held_out_path is None else held_out_path), held_out_array
        )
        check_apart([_part(whole)], [_part(other)])
        training, held_out = _of_array(whole, wanted), _of_array(other, wanted)
    # Making a batch is copying, which holds Python's lock: threads are of no use.
    return _images(
        "image_array", training, held_out, wanted, flip, num_threads=1, is_cut=is_cut
    )


def _images(
    kind: str,
    training: _Found,
    held_out: _Found,
    fit: Fit,
    flip: bool,
    num_threads: int,
    is_cut: bool,
) -> Images:
    """is_cut: whether both are of one path, or of the same array."""
    num_skipped = training.num_skipped + (0 if is_cut else held_out.num_skipped)
    skipped = f", {num_skipped} corrupt skipped" if num_skipped else ""
    given = training.name if is_cut else f"{training.name}, {held_out.name}"
    counts = f"{training.split.num_images} + {held_out.split.num_images}"
    return Images(
        name=f"{kind}({given}, {fit.how} {fit.size}, {counts} images{skipped})",
        source=f"{given}: {counts} images (training + held out){skipped}",
        size=fit.size,
        training=training.split,
        held_out=held_out.split,
        flip=flip,
        num_threads=num_threads,
    )


def _cut(place: Path, whole: _Found, share: float) -> tuple[_Found, _Found]:
    """What is trained on and, of the same, what is held out."""
    num_images = whole.split.num_images or 0
    num_held_out = max(1, round(share * num_images))
    if num_held_out >= num_images:
        raise ValueError(
            f"{place}: {num_images} images, wanted at least 2, of which some are to be "
            "held out"
        )
    # Chosen at random, since neighbours by name are often alike; and always the same,
    # whatever the seed of a run, so that what one trains on no other is judged by.
    order = np.random.default_rng(0).permutation(num_images)
    numbers = np.sort(order[num_held_out:]), np.sort(order[:num_held_out])
    return (
        whole._replace(split=_some_of(whole.split, numbers[0])),
        whole._replace(split=_some_of(whole.split, numbers[1])),
    )


def _some_of(split: Split, numbers: np.ndarray) -> Split:
    return Split(
        len(numbers), lambda number, random: split.image(int(numbers[number]), random)
    )


# Arrays.


def _chosen(place: Path, name: str | None) -> _Chosen:
    """The array of that name in an npz, or the only one that there is."""
    if not zipfile.is_zipfile(existing(place)):
        raise ValueError(f"{place}: no npz, or a damaged one")
    entries = _read(place, lambda archive: archive.infolist())
    held = {entry.filename.removesuffix(".npy"): entry for entry in entries}
    if name is None and len(held) != 1:
        raise ValueError(f"{place}: holds {sorted(held)}, wanted one of them named")
    name = next(iter(held)) if name is None else name
    if name not in held:
        raise ValueError(f"{place}: holds {sorted(held)}, wanted {name!r}")
    return _Chosen(place, name, held[name])


def _part(chosen: _Chosen) -> Part:
    """The array by its content: a copy is the same."""
    content = (chosen.entry.file_size, chosen.entry.CRC)
    return Part(content, f"{chosen.place}: {chosen.name!r}")


def _of_array(chosen: _Chosen, fit: Fit) -> _Found:
    """The images of an array, which is looked at before it is read."""
    place, name, entry = chosen
    shape, dtype = _read(place, lambda archive: _array_header(archive, entry))
    _check_array(f"{place}: {name}", shape, dtype, fit)
    pixels = _read(place, lambda archive: _array(archive, entry))

    def image(number: int, _: np.random.Generator) -> np.ndarray:
        one = pixels[number]
        if one.ndim == 2 or one.shape[2] == 1:
            one = np.broadcast_to(one.reshape(*one.shape[:2], 1), (*one.shape[:2], 3))
        if one.shape[:2] == (fit.size, fit.size):
            return one
        return fitted(Image.fromarray(np.ascontiguousarray(one)), fit)

    content = [f"{entry.filename} {entry.file_size} {entry.CRC}"]
    return _Found(named(place, content), Split(len(pixels), image))


def _read[Out](place: Path, read: Callable[[zipfile.ZipFile], Out]) -> Out:
    try:
        with zipfile.ZipFile(place) as archive:
            return read(archive)
    except BROKEN_ZIP as error:
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


def _check_array(label: str, shape: tuple[int, ...], dtype: np.dtype, fit: Fit) -> None:
    if dtype != np.uint8:
        raise ValueError(f"{label} is {dtype}, wanted uint8 from 0 to 255")
    is_grey = len(shape) == 3 or len(shape) == 4 and shape[3] == 1
    if not is_grey and (len(shape) != 4 or shape[3] != 3):
        raise ValueError(
            f"{label} has shape {shape}, wanted [images, height, width, 3]"
        )
    check_colour(label, is_grey, fit)
    if not shape[0]:
        raise ValueError(f"{label} has shape {shape}, wanted at least one image")
    check_large_enough(label, shape[1], shape[2], fit)
