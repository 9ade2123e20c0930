"""A baseline that any model should beat: one histogram for each channel."""

import numpy as np

NUM_VALUES = 256


def histogram_bits_per_dim(training: np.ndarray, held_out: np.ndarray) -> float:
    """Bits/dim of `held_out` by the frequencies of each channel's values in `training`.

    Laplace smoothing adds one to every count, so that no value costs infinitely many
    bits.  Both arrays are [images, height, width, channels] uint8.

    Raises ValueError for other shapes or dtypes, and for no images.
    """
    for name, images in (("training", training), ("held_out", held_out)):
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise ValueError(
                f"{name}: given {images.dtype} of shape {images.shape}, wanted uint8 "
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
        counts, held_out_counts = (
            np.bincount(images[..., channel].reshape(-1), minlength=NUM_VALUES)
            for images in (training, held_out)
        )
        frequencies = (counts + 1) / (counts.sum() + NUM_VALUES)
        bits -= float(held_out_counts @ np.log2(frequencies))
    return bits / held_out.size
