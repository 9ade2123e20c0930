"""A fixed linear transform of image patches: cosines, ordered by their variance.

In natural images low frequencies vary most, and grey varies more than colour.  Each
code of a position gets its own frequencies.  With random projections of the patch
instead, every code would encode the patch's brightness.
"""

import itertools

import numpy as np
from scipy import fft

# Grey, and two colour differences: orthonormal rows.
COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
COLOUR_STDDEV = 0.3  # relative to grey, approximately


def transforms(
    patch_size: int, codes_per_position: int
) -> tuple[np.ndarray, np.ndarray]:
    """The analysis transform, from a patch to amplitudes, and the synthesis, back.

    analysis: [codes_per_position, patch_size**2 * 3, frequencies] float32.  A flattened
    patch [patch_size, patch_size, 3] times it gives each code's amplitudes.  Code k
    gets the frequency with the k-th largest variance, then further ones.  A code's
    amplitudes are divided by the approximate standard deviation of its first, for
    pixels from -1 to 1.

    synthesis: [codes_per_position, frequencies, patch_size**2 * 3] float32.  The
    amplitudes times it, summed over the codes, are the patch without the frequencies
    that no code has.

    Raises ValueError for more codes than a patch has numbers.
    """
    size = patch_size**2 * 3
    if codes_per_position > size:
        raise ValueError(
            f"codes_per_position: given {codes_per_position}, wanted at most the "
            f"{size} numbers of a patch of {patch_size} x {patch_size} pixels"
        )
    cosines = fft.dct(np.eye(patch_size), axis=0, norm="ortho")  # [frequency, pixel]
    frequencies = itertools.product(range(patch_size), range(patch_size), range(3))
    stddevs = np.array([_stddev(patch_size, *f) for f in frequencies])
    waves = np.einsum("ui,vj,wc->uvwijc", cosines, cosines, COLOURS)
    waves = waves.reshape(size, size)
    order = np.argsort(-stddevs, kind="stable")
    per_code = size // codes_per_position
    order = order[: per_code * codes_per_position]
    chosen = order.reshape(per_code, codes_per_position).T  # [codes, frequencies]
    scale = stddevs[chosen[:, :1], np.newaxis]
    analysis = (waves[chosen] / scale).transpose(0, 2, 1)
    return analysis.astype(np.float32), (waves[chosen] * scale).astype(np.float32)


def _stddev(patch_size: int, row: int, column: int, colour: int) -> float:
    """The approximate standard deviation of an amplitude over natural images."""
    relative = COLOUR_STDDEV if colour else 1.0
    return patch_size * 0.5 * relative / (1 + row * row + column * column) ** 0.6
