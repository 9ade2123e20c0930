"""Crops of natural images: photographs that come with scikit-learn and scikit-image.

They are a small data set that needs no download.  Training and held-out crops come from
different photographs.  Authors and licences are in scikit-learn's
datasets/images/README.txt and in skimage.data's docstrings.  This project stores none.
"""

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.datasets.files import CorruptFileError, MissingDataError
from experiments.datasets.image_decoding import BROKEN, Fit, check_fit
from experiments.datasets.images import Images, Split

KIND = "natural-image crops"
PACKAGES = {"sklearn": "scikit-learn", "skimage": "scikit-image"}


class _Photograph(NamedTuple):
    name: str
    package: str  # as imported
    file: str


# All colour photographs of scenes in the packages.  Left out are the right half of the
# motorcycle's stereo pair, which is the same scene, and other kinds of images
# (microscopy, a retina, the deep sky, drawings, textures).
TRAINING = (
    _Photograph("china", "sklearn", "datasets/images/china.jpg"),
    _Photograph("flower", "sklearn", "datasets/images/flower.jpg"),
    _Photograph("astronaut", "skimage", "data/astronaut.png"),
    _Photograph("rocket", "skimage", "data/rocket.jpg"),
    _Photograph("motorcycle", "skimage", "data/motorcycle_left.png"),
)
HELD_OUT = (
    _Photograph("chelsea", "skimage", "data/chelsea.png"),
    _Photograph("coffee", "skimage", "data/coffee.png"),
)


def natural_image_crops(
    *,
    size: int,
    scales: Sequence[int] = (1, 2, 4, 8),
    flip: bool = True,
    rotate: bool = False,
) -> Images:
    """Square crops of photographs that come with scikit-learn and scikit-image.

    A crop depends on its number alone.  A photograph, a scale that fits it and a place
    are drawn; the square of scale * size there is downsampled, each pixel the rounded
    mean of scale * scale pixels.  The number of crops is unlimited, and they overlap.

    scales: positive integers; those too large for every photograph are left out.
    flip: whether half of the training crops are mirrored.
    rotate: whether training crops are rotated by 0, 90, 180 or 270 degrees with equal
      probability, which makes more of few photographs.

    Raises ValueError for a size larger than a photograph and for scales that are not
    positive integers, MissingDataError if an installed package lacks its photograph,
    and CorruptFileError if that is damaged.

    >>> crops = natural_image_crops(size=8)
    >>> crops.training.example(0, np.random.default_rng(0)).shape
    (8, 8, 3)
    """
    check_fit(Fit(size))
    if not scales or min(scales) < 1 or any(int(s) != s for s in scales):
        raise ValueError(f"scales: given {scales}, wanted whole numbers from 1")
    splits = [
        [_sums(photograph, size * min(scales)) for photograph in photographs]
        for photographs in (TRAINING, HELD_OUT)
    ]
    largest = max(min(sums.shape[:2]) - 1 for split in splits for sums in split)
    used = tuple(sorted({int(s) for s in scales if size * s <= largest}))
    names = [[photo.name for photo in split] for split in (TRAINING, HELD_OUT)]
    versions = " and ".join(
        f"{name} {importlib.metadata.version(name)}" for name in PACKAGES.values()
    )
    return Images(
        name=f"{KIND}(size={size}, scales={used}{', turned' if rotate else ''})",
        source=(
            f"{KIND}, of photographs in {versions}: {', '.join(names[0])}; held out: "
            f"{', '.join(names[1])}"
        ),
        size=size,
        training=_crops(splits[0], size, used, rotate=rotate),
        held_out=_crops(splits[1], size, used, rotate=False),
        flip=flip,
    )


def _crops(
    photographs: Sequence[np.ndarray], size: int, scales: Sequence[int], *, rotate: bool
) -> Split:
    """photographs: their summed-area tables."""
    fitting = [
        [s for s in scales if s * size < min(sums.shape[:2])] for sums in photographs
    ]

    def image(number: int, random: np.random.Generator) -> np.ndarray:
        chosen = random.integers(len(photographs))
        sums = photographs[chosen]
        scale = fitting[chosen][random.integers(len(fitting[chosen]))]
        side = scale * size
        row = random.integers(sums.shape[0] - side)
        column = random.integers(sums.shape[1] - side)
        corners = sums[row : row + side + 1 : scale, column : column + side + 1 : scale]
        total = np.diff(np.diff(corners, axis=0), axis=1)  # [size, size, 3]
        area = scale * scale
        crop = ((total + area // 2) // area).astype(np.uint8)
        return np.rot90(crop, random.integers(4)).copy() if rotate else crop

    return Split(None, image)


def _sums(photograph: _Photograph, least: int) -> np.ndarray:
    """[height + 1, width + 1, 3] int32: the sum of all above and to the left of each.

    Any box's sum is four of these: Crow (1984), Summed-area tables.
    """
    spec = importlib.util.find_spec(photograph.package)
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    path = folder / photograph.file
    if not path.is_file():
        raise MissingDataError(
            f"{path}: {PACKAGES[photograph.package]} does not hold the photograph "
            f"{photograph.name}"
        )
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.int32)
    except BROKEN as error:
        raise CorruptFileError(f"{path}: damaged ({error})") from error
    height, width, _ = pixels.shape
    if min(height, width) < least:
        raise ValueError(
            f"size: given {least} at the smallest scale, wanted at most the {height} x "
            f"{width} pixels of {photograph.file}"
        )
    table = pixels.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    return np.pad(table, [(1, 0), (1, 0), (0, 0)])
