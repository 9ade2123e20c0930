"""Sub-pixels told apart by nothing but their channel: the least a model should beat."""

import numpy as np

NUM_VALUES = 256


def histogram_bits_per_dim(training: np.ndarray, held_out: np.ndarray) -> float:
    """Bits/dim of `held_out` where each channel's values are as often as in `training`.

    Every value is counted once more than it came (Laplace), so that none costs
    infinitely much.  Both are [images, height, width, channels] uint8.

    Raises ValueError for other shapes or dtypes, and for no images.
    """
    for name, given in (("training", training), ("held_out", held_out)):
        if given.dtype != np.uint8 or given.ndim != 4 or not given.size:
            raise ValueError(
                f"{name}: given {given.dtype} of shape {given.shape}, wanted uint8 "
                "[images, height, width, channels]"
            )
    channels = training.shape[-1]
    if held_out.shape[-1] != channels:
        raise ValueError(
            f"held_out: given {held_out.shape[-1]} channels, wanted the {channels} of "
            "training"
        )
    bits = 0.0
    for channel in range(channels):
        counts, judged = (
            np.bincount(given[..., channel].reshape(-1), minlength=NUM_VALUES)
            for given in (training, held_out)
        )
        share = (counts + 1) / (counts.sum() + NUM_VALUES)
        bits -= float(judged @ np.log2(share))
    return bits / held_out.size
