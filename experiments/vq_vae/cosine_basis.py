"""What a patch of pixels is made of: cosines, in the order of how much they say.

Of natural images low frequencies vary most, and grey more than colour.  A code for each
of a few frequencies says other things than the next code does, where codes of vectors
that random weights make of a patch would all say how bright it is.
"""

import itertools

import numpy as np
from scipy import fft

# Grey, and two colours without it: orthonormal rows.
COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
COLOUR_SHARE = 0.3  # of a colour's deviation to that of grey, about


def split(side: int, codes_per_position: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines for each slot, and what makes patches of them again, float32.

    A patch [side, side, 3], flattened, times [slots, side * side * 3, frequencies] is a
    slot's amplitudes: the k-th slot's first is the k-th most varying of all, the others
    are further ones.  All of a slot are divided by about the deviation of its first, of
    pixels from -1 to 1.  These times [slots, frequencies, side * side * 3], added over
    the slots, are the patch but for what no slot has.

    Raises ValueError for more slots than a patch has numbers.
    """
    number = side * side * 3
    if codes_per_position > number:
        raise ValueError(
            f"codes_per_position: given {codes_per_position}, wanted at most the "
            f"{number} numbers of a patch of {side} x {side} pixels"
        )
    cosines = fft.dct(np.eye(side), axis=0, norm="ortho")  # [frequency, place]
    every = list(itertools.product(range(side), range(side), range(3)))
    deviations = np.array([_deviation(side, *frequency) for frequency in every])
    waves = np.einsum("ui,vj,wc->uvwijc", cosines, cosines, COLOURS)
    waves = waves.reshape(number, number)
    order = np.argsort(-deviations, kind="stable")
    each = number // codes_per_position
    chosen = (
        order[: each * codes_per_position].reshape(each, codes_per_position).T
    )  # [slots, frequencies]
    scale = deviations[chosen[:, :1], np.newaxis]
    apart = (waves[chosen] / scale).transpose(0, 2, 1)
    return apart.astype(np.float32), (waves[chosen] * scale).astype(np.float32)


def _deviation(side: int, down: int, across: int, colour: int) -> float:
    """Of an amplitude over natural images, about: it falls with the frequency."""
    share = COLOUR_SHARE if colour else 1.0
    return side * 0.5 * share / (1 + down * down + across * across) ** 0.6
