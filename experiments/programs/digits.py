"""The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels, as whole numbers."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

from experiments.training.checks import check_count

NUM_PIXELS = 64
GREYS = 17  # values of a pixel as it is in the data: 0 to 16


class Digits(NamedTuple):
    """Images in random order, in two parts.  A pixel is from 0 to `levels` - 1."""

    training: np.ndarray  # [images, 64] int32
    held_out: np.ndarray  # [other images, 64] int32


def load(levels: int, *, num_held_out: int, seed: int) -> Digits:
    """The digits, with their 17 greys joined to `levels` equally wide ones.

    Raises ValueError for fewer than 2 or more than 17 levels, and for held-out images
    that leave none to train on.
    """
    check_count("levels", levels, minimum=2)
    check_count("num_held_out", num_held_out)
    if levels > GREYS:
        raise ValueError(f"levels: given {levels}, wanted at most {GREYS}")
    greys = load_digits().data.astype(np.int32)
    if num_held_out >= len(greys):
        raise ValueError(
            f"num_held_out: given {num_held_out}, wanted fewer than the {len(greys)} "
            "images"
        )
    images = greys * levels // GREYS
    order = np.random.default_rng(seed).permutation(len(images))
    return Digits(images[order[num_held_out:]], images[order[:num_held_out]])
