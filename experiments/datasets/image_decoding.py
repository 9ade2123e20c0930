"""Decodes image files into square images of one size."""

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from experiments.datasets.files import Cache, CorruptFileError, Encoded, on_threads
from experiments.datasets.images import Split

FITS = ("crop", "box")
FORMATS = ("PNG", "JPEG")
GREY_MODES = ("1", "L", "LA", "I", "I;16")
ALPHA_MODES = ("LA", "PA", "RGBA")
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
    return np.array(image)


def decode(stream: BinaryIO, label: str, fit: Fit) -> np.ndarray:
    """The square pixels of a PNG or JPEG file: [size, size, 3] uint8.

    EXIF orientation is applied, 16 bits become 8, and opaque alpha is dropped.

    Raises CorruptFileError, and ValueError for an image that is grey (unless to be
    converted), transparent or too small.  Each names the file.
    """
    with _opened(stream, label, fit) as image:
        try:
            image.load()
            if image.format == "JPEG":
                image = ImageOps.exif_transpose(image)
        except BROKEN as error:
            raise CorruptFileError(f"{label}: damaged ({error})") from error
        image = _opaque(image, label)
        if image.mode.startswith("I"):  # of 16 bits, and `convert` would clip them
            wide = np.asarray(image, np.int64)
            image = Image.fromarray((wide >> 8).astype(np.uint8))
        return fitted(image if image.mode == "RGB" else image.convert("RGB"), fit)


def check_header(stream: BinaryIO, label: str, fit: Fit) -> None:
    """Raises what `decode` does, as far as the header shows.

    An image with alpha is decoded: only its pixels show whether they are opaque.
    """
    with _opened(stream, label, fit) as image:
        if _has_alpha(image):
            try:
                image.load()
            except BROKEN as error:
                raise CorruptFileError(f"{label}: damaged ({error})") from error
            _opaque(image, label)


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

    def is_sound(number: int) -> bool:
        try:
            image(number)
        except CorruptFileError:
            return False
        return True

    def check(number: int) -> None:
        with encoded.open(number) as stream:
            check_header(stream, encoded.label(number), fit)

    numbers: Sequence[int] = range(encoded.num)
    if not skip_corrupt:
        for _ in on_threads(check, numbers if check_all else numbers[:1], num_threads):
            pass
        split = Split(encoded.num, lambda number, _: image(number))
        return Decoded(split, Counter())
    sound = list(on_threads(is_sound, numbers, num_threads))
    intact = np.flatnonzero(sound)
    split = Split(len(intact), lambda number, _: image(int(intact[number])))
    counts = Counter({"corrupt skipped": encoded.num - len(intact)})
    return Decoded(split, +counts)


def _opened(stream: BinaryIO, label: str, fit: Fit) -> Image.Image:
    """The open image of a stream, whose header fits."""
    try:
        image = Image.open(stream, formats=FORMATS)
    except BROKEN as error:
        raise CorruptFileError(f"{label}: no PNG or JPEG, or a damaged one") from error
    width, height = image.size
    check_large_enough(label, height, width, fit)
    check_colour(label, image.mode in GREY_MODES, fit)
    return image


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ALPHA_MODES or "transparency" in image.info


def _opaque(image: Image.Image, label: str) -> Image.Image:
    """The loaded image.  Raises ValueError if any pixel is transparent."""
    if not _has_alpha(image):
        return image
    image = image.convert("RGBA")
    least, _ = image.getchannel("A").getextrema()
    if least < 255:
        raise ValueError(f"{label}: is transparent, wanted opaque pixels")
    return image
