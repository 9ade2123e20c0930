"""From the bytes of image files to square images of one size, and what can be amiss."""

import concurrent.futures
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

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


class CorruptImageError(ValueError):
    """A file that is no image, or a damaged one; the text names it."""


class Encoded(NamedTuple):
    """Image files by number."""

    num_images: int
    label: Callable[[int], str]  # what an error calls one
    # Raises CorruptImageError where what holds them is damaged there.
    open: Callable[[int], BinaryIO]


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


class Cache:
    """Images kept once made, until there is no room; safe for threads.

    What is kept stays: in an epoch every image comes once, so the one used longest ago
    is the one needed soonest, and throwing it out would throw all out in turn.
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

    Raises CorruptImageError, and ValueError for an image that is grey (unless to be
    converted), transparent or smaller than wanted; each names it.
    """
    with _opened(stream, label, fit) as image:
        try:
            image.load()
            if image.format == "JPEG":
                image = ImageOps.exif_transpose(image)
        except BROKEN as error:
            raise CorruptImageError(f"{label}: damaged ({error})") from error
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
                raise CorruptImageError(f"{label}: damaged ({error})") from error
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

    Raises CorruptImageError for the first corrupt one where none is to be skipped, and
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
        except CorruptImageError:
            return False
        return True

    def look(number: int) -> None:
        with encoded.open(number) as stream:
            check_header(stream, encoded.label(number), fit)

    numbers: Sequence[int] = range(encoded.num_images)
    if not skip_corrupt:
        for _ in _on_threads(look, numbers if check_all else numbers[:1], num_threads):
            pass
        return Decoded(Split(encoded.num_images, lambda number, _: image(number)), 0)
    sound = list(_on_threads(is_sound, numbers, num_threads))
    kept = np.flatnonzero(sound)
    split = Split(len(kept), lambda number, _: image(int(kept[number])))
    return Decoded(split, encoded.num_images - len(kept))


def _on_threads[Out](
    function: Callable[[int], Out], numbers: Sequence[int], num_threads: int
) -> Iterator[Out]:
    """`function` of each number, in order; what one raises ends them all."""
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        many = 64 * num_threads  # asked for at a time, so that an error comes soon
        for first in range(0, len(numbers), many):
            yield from pool.map(function, numbers[first : first + many])


def _opened(stream: BinaryIO, label: str, fit: Fit) -> Image.Image:
    """The image of a stream, its header read and found to fit."""
    try:
        image = Image.open(stream, formats=FORMATS)
    except BROKEN as error:
        raise CorruptImageError(f"{label}: no PNG or JPEG, or a damaged one") from error
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
