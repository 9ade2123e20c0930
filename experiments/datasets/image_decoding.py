"""Decodes image files into square images of one size."""

import io
import struct
import zlib
from collections import Counter
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from experiments.datasets import image_colour, image_containers
from experiments.datasets.examined import examine
from experiments.datasets.files import Cache, CorruptFileError, Encoded
from experiments.datasets.images import Split

FITS = ("crop", "box")
FORMATS = ("PNG", "JPEG", "WEBP")  # Pillow opens an MPO as a JPEG
KINDS = "PNG, JPEG or WebP"
BROKEN = (  # what Pillow raises for damaged files
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Fit(NamedTuple):
    """How images become square."""

    size: int  # pixels of a side
    # "crop": the central square of `size`.  "box": the largest central square,
    # downsampled by a box filter; for an integer ratio, the mean of a box's pixels.
    how: str = "crop"
    convert_grey: bool = (
        False  # whether grey images are accepted, with three equal channels
    )


class Decoded(NamedTuple):
    """Square images by number, read-only."""

    split: Split
    counts: Counter[str]  # of skipped images, which have no number
    left_out: tuple[str, ...]  # their names


def check_fit(fit: Fit) -> None:
    """Raises ValueError for a size below 1, and an unknown `how`."""
    if fit.size < 1:
        raise ValueError(f"size: given {fit.size}, wanted at least 1 pixel")
    if fit.how not in FITS:
        raise ValueError(f"fit: given {fit.how!r}, wanted one of {FITS}")


def check_large_enough(label: str, height: int, width: int, fit: Fit) -> None:
    """Raises ValueError, naming the image, if it is smaller than `fit.size`."""
    if min(height, width) < fit.size:
        raise ValueError(
            f"{label}: {height} x {width} pixels, wanted at least "
            f"{fit.size} x {fit.size}"
        )


def check_colour(label: str, is_grey: bool, fit: Fit) -> None:
    """Raises ValueError, naming the image, if it is grey and not to be converted."""
    if is_grey and not fit.convert_grey:
        raise ValueError(
            f"{label}: a grey image, wanted colour; convert_grey=True takes it with "
            "all three channels alike"
        )


def fitted(image: Image.Image, fit: Fit) -> np.ndarray:
    """The square pixels of a large enough RGB image: [size, size, 3] uint8."""
    side = fit.size if fit.how == "crop" else min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    box = (left, top, left + side, top + side)
    if side % fit.size:
        size = (fit.size, fit.size)
        image = image.resize(size, Image.Resampling.BOX, box=box)
    elif side > fit.size:  # rounds once, where `resize` does for columns and for rows
        image = image.reduce(side // fit.size, box=box)
    elif image.size != (side, side):
        image = image.crop(box)
    return np.asarray(image)


def decode(stream: BinaryIO, label: str, fit: Fit) -> np.ndarray:
    """The square pixels of a PNG, JPEG or WebP file: [size, size, 3] uint8 of sRGB.

    The first picture is taken.  EXIF orientation is applied, 16 bits become their high
    byte, ICC profiles and a PNG's gamma become sRGB, and opaque alpha is dropped:
    docs/images_and_sounds.md has the whole list.

    Raises CorruptFileError, and ValueError for an image that is grey (unless to be
    converted), transparent or too small.  Each names the file.
    """
    data = stream.read()
    with _opened(data, label, fit) as image:
        _load(image, data, label)
        return fitted(image_colour.to_srgb(image, label), fit)


def check_header(stream: BinaryIO, label: str, fit: Fit) -> None:
    """Raises what `decode` does, as far as the structure of the file shows.

    An image is decoded if it has alpha, since only its pixels show whether they are
    opaque, and if it ends too soon, since its pixels may be there all the same.
    """
    data = stream.read()
    with _opened(data, label, fit) as image:
        image_colour.check_profile(image, label)
        if image_colour.has_alpha(image) or not image_containers.is_whole(data):
            _load(image, data, label)


def decoded(
    encoded: Encoded,
    fit: Fit,
    *,
    skip_corrupt: bool,
    check_all: bool,
    cache: Cache,
    num_threads: int,
) -> Decoded:
    """The images of some files, which are checked at once.

    skip_corrupt: whether corrupt files are skipped and counted.  This decodes all of
      them at once.
    check_all: without `skip_corrupt`: whether every header is read, or only the first.
    cache: of decoded images.

    Raises CorruptFileError for the first corrupt file unless they are skipped, and
    ValueError as `decode` does.
    """
    owner = object()  # distinguishes these images from others in the cache

    def image(number: int) -> np.ndarray:
        def make() -> np.ndarray:
            label = encoded.label(number)
            with encoded.open(number) as stream:
                return decode(stream, label, fit)

        return cache.get((owner, number), make)

    def check(number: int) -> bool:
        with encoded.open(number) as stream:
            check_header(stream, encoded.label(number), fit)
        return True

    def is_sound(number: int) -> bool:
        try:
            image(number)
        except CorruptFileError:
            return False
        return True

    numbers = range(encoded.num if check_all or skip_corrupt else 1)
    sound = examine(
        encoded,
        is_sound if skip_corrupt else check,
        numbers,
        rules=f"images {fit}, {'pixels' if skip_corrupt else 'structure'}",
        num_threads=num_threads,
    )
    if not skip_corrupt:
        split = Split(encoded.num, lambda number, _: image(number))
        return Decoded(split, Counter(), ())
    intact = np.flatnonzero(sound)
    split = Split(len(intact), lambda number, _: image(int(intact[number])))
    left_out = tuple(encoded.label(n) for n, whole in enumerate(sound) if not whole)
    return Decoded(split, +Counter({"corrupt skipped": len(left_out)}), left_out)


def _opened(data: bytes, label: str, fit: Fit) -> Image.Image:
    """The open image of a file, whose header fits."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except BROKEN as error:
        raise CorruptFileError(f"{label}: no {KINDS}, or a damaged one") from error
    chunk = image_containers.damaged_png_chunk(data)
    if chunk is not None:
        raise CorruptFileError(f"{label}: damaged (the checksum of {chunk} is wrong)")
    width, height = image.size
    check_large_enough(label, height, width, fit)
    png = image_containers.png_header(data)
    is_grey = png.is_grey if png else image.mode in image_colour.GREY_MODES
    check_colour(label, is_grey, fit)
    return image


def _load(image: Image.Image, data: bytes, label: str) -> None:
    """Decodes the pixels, turns them upright, and refuses transparent ones."""
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except BROKEN as error:
        raise CorruptFileError(f"{label}: damaged ({error})") from error
    png = image_containers.png_header(data)
    image_colour.check_opaque(image, label, png.depth if png else 8)
