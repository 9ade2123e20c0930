"""What images cost without a model that learns to see: bits per dimension of each."""

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

NUM_VALUES = 256

Batches = Callable[[int], Mapping[str, np.ndarray]]


def png_bits(batch: Batches, num_batches: int) -> float:
    """Of images as PNG files, each by itself, its head and checksums among it."""
    size = dims = 0
    for number in range(num_batches):
        for image in batch(number)["image"]:
            held = io.BytesIO()
            Image.fromarray(image.astype(np.uint8)).save(held, "PNG", optimize=True)
            size += len(held.getvalue())
            dims += image.size
    return 8 * size / dims


def histogram_bits(training: Batches, batch: Batches, num_batches: int) -> float:
    """Of sub-pixels drawn by themselves from their channel's histogram.

    training: of which as many batches make the histograms, one more counted of each
      value.
    """
    made = _counts(training, num_batches) + 1  # [3, values]
    shares = made / made.sum(1, keepdims=True)
    found = _counts(batch, num_batches)
    return float(-(found * np.log2(shares)).sum() / found.sum())


def _counts(batch: Batches, num_batches: int) -> np.ndarray:
    """How often each channel has each value: [3, values]."""
    found = np.zeros((3, NUM_VALUES), np.int64)
    for number in range(num_batches):
        image = batch(number)["image"]
        for channel in range(3):
            values = image[..., channel].ravel()
            found[channel] += np.bincount(values, minlength=NUM_VALUES)
    return found
