"""From the bytes of image files to square images of one size, and what can be amiss."""

import struct
import zlib
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
BROKEN = (  # what Pillow raises for files that are not what they should be
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
    """What becomes of an image."""

    size: int  # pixels of a side
    # "crop": the square of `size` in its middle.  "box": the largest square in its
    # middle, made smaller by a box filter: of whole ratios, the mean of a box's pixels.
    how: str = "crop"
    convert_grey: bool = False  # whether a grey one is taken, all channels alike


class Decoded(NamedTuple):
    """Square images by number, read-only."""

    split: Split
    num_skipped: int  # corrupt ones, which have no number


def check_fit(fit: Fit) -> None:
    """Raises ValueError for a size below 1, and a way to fit that there is not."""
    if fit.size < 1:
        raise ValueError(f"size: given {fit.size}, wanted at least 1 pixel")
    if fit.how not in FITS:
        raise ValueError(f"fit: given {fit.how!r}, wanted one of {FITS}")


def check_reading(cache_bytes: int, num_threads: int) -> None:
    """Raises ValueError for a cache below nothing, and for no threads to read with."""
    if cache_bytes < 0:
        raise ValueError(f"cache_bytes: given {cache_bytes}, wanted 0 or more")
    if num_threads < 1:
        raise ValueError(f"num_threads: given {num_threads}, wanted 1 or more")


def check_large_enough(label: str, height: int, width: int, fit: Fit) -> None:
    """Raises ValueError, naming the image, where it is smaller than wanted."""
    if min(height, width) < fit.size:
        raise ValueError(
            f"{label}: {height} x {width} pixels, wanted at least "
            f"{fit.size} x {fit.size}"
        )


def check_colour(label: str, is_grey: bool, fit: Fit) -> None:
    """Raises ValueError, naming the image, where it is grey and that is not wanted."""
    if is_grey and not fit.convert_grey:
        raise ValueError(
            f"{label}: a grey image, wanted colour; convert_grey=True takes it with "
            "all three channels alike"
        )


def fitted(image: Image.Image, fit: Fit) -> np.ndarray:
    """An RGB image of at least the size wanted, made to fit: [size, size, 3] uint8."""
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
    """The image of a PNG or JPEG file, made to fit: [size, size, 3] uint8.

    Turned as its camera says; 16 bits become 8; opaque pixels lose their alpha.

    Raises CorruptFileError, and ValueError for an image that is grey (unless to be
    converted), transparent or smaller than wanted; each names it.
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
    """Raises what `decode` does, as far as the beginning of the file tells.

    One with alpha is decoded whole: only its pixels tell whether they are opaque.
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
    """The images of some files, looked at first.

    skip_corrupt: whether corrupt ones are left out and counted.  All are decoded for
      it, and as many kept as the cache has room for.
    check_all: whether every file's header is read where nothing is skipped, or the
      first one's alone.
    cache: where images are kept.

    Raises CorruptFileError for the first corrupt one where none is to be skipped, and
    ValueError as `decode` does.
    """
    these = object()  # sets them apart from others in the same cache

    def image(number: int) -> np.ndarray:
        def make() -> np.ndarray:
            label = encoded.label(number)
            with encoded.open(number) as stream:
                return decode(stream, label, fit)

        return cache.get((these, number), make)

    def is_sound(number: int) -> bool:
        try:
            image(number)
        except CorruptFileError:
            return False
        return True

    def look(number: int) -> None:
        with encoded.open(number) as stream:
            check_header(stream, encoded.label(number), fit)

    numbers: Sequence[int] = range(encoded.num)
    if not skip_corrupt:
        for _ in on_threads(look, numbers if check_all else numbers[:1], num_threads):
            pass
        return Decoded(Split(encoded.num, lambda number, _: image(number)), 0)
    sound = list(on_threads(is_sound, numbers, num_threads))
    kept = np.flatnonzero(sound)
    split = Split(len(kept), lambda number, _: image(int(kept[number])))
    return Decoded(split, encoded.num - len(kept))


def _opened(stream: BinaryIO, label: str, fit: Fit) -> Image.Image:
    """The image of a stream, its header read and found to fit."""
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
    """The loaded image, found to hide nothing."""
    if not _has_alpha(image):
        return image
    image = image.convert("RGBA")
    least, _ = image.getchannel("A").getextrema()
    if least < 255:
        raise ValueError(f"{label}: is transparent, wanted opaque pixels")
    return image
