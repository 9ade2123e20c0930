"""Natural-image crops: of photographs that come with scikit-learn and scikit-image.

They stand in for a set of images where none is at hand: nothing is downloaded.  The
photographs trained on are others than those held out.  Whose they are, and their
licences, say datasets/images/README.txt of scikit-learn and the docstrings of
skimage.data; none is kept here.
"""

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.datasets.files import CorruptFileError
from experiments.datasets.image_decoding import (
    BROKEN,
    Fit,
    check_fit,
    check_large_enough,
)
from experiments.datasets.images import Images, Split

KIND = "natural-image crops"
PACKAGES = {"sklearn": "scikit-learn", "skimage": "scikit-image"}


class _Photograph(NamedTuple):
    name: str
    package: str  # as imported
    file: str


# All colour photographs of scenes that the packages hold.  Left out: the right half of
# the motorcycle's stereo pair, which is the same scene, and what no camera took of the
# world around us (microscopy, a retina, the deep sky, drawings, a grid of textures).
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
    turn: bool = False,
) -> Images:
    """Squares cut out of photographs that come with scikit-learn and scikit-image.

    Each is made of its number: a photograph, a scale among those that fit into it and
    a place are drawn; the square of scale * size there is made smaller, each pixel the
    rounded mean of scale * scale.  There is no end of them, though they overlap.

    scales: whole numbers; those too large for every photograph are left out.
    flip: whether half of the crops trained on are mirrored.
    turn: whether the crops trained on are turned by none to three quarters of a turn,
      each as likely: few photographs say more so, of what has no upper side.

    Raises ValueError for a size that some photograph lacks and for scales that are no
    whole numbers from 1, FileNotFoundError where an installed package does not hold
    its photograph, and CorruptFileError where that is damaged.
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
        name=f"{KIND}(size={size}, scales={used}{', turned' if turn else ''})",
        source=(
            f"{KIND}, of photographs in {versions}: {', '.join(names[0])}; held out: "
            f"{', '.join(names[1])}"
        ),
        size=size,
        training=_crops(splits[0], size, used, turned=turn),
        held_out=_crops(splits[1], size, used, turned=False),
        flip=flip,
    )


def _crops(
    photographs: Sequence[np.ndarray], size: int, scales: Sequence[int], *, turned: bool
) -> Split:
    """photographs: their summed areas."""
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
        return np.rot90(crop, random.integers(4)).copy() if turned else crop

    return Split(None, image)


def _sums(photograph: _Photograph, least: int) -> np.ndarray:
    """[height + 1, width + 1, 3] int32: the sum of all above and to the left of each.

    Any box's sum is four of these: Crow (1984), Summed-area tables.
    """
    spec = importlib.util.find_spec(photograph.package)
    found = Path(spec.origin).parent if spec and spec.origin else Path()
    path = found / photograph.file
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {PACKAGES[photograph.package]} does not hold the photograph "
            f"{photograph.name}"
        )
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.int32)
    except BROKEN as error:
        raise CorruptFileError(f"{path}: damaged ({error})") from error
    check_large_enough(str(path), *pixels.shape[:2], Fit(least))
    table = pixels.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    return np.pad(table, [(1, 0), (1, 0), (0, 0)])
