"""Images of one size by number; their batches are those of `batches`."""

from typing import NamedTuple

import numpy as np

from experiments.datasets.batches import (
    Split,
    held_out_batches,
    num_held_out_batches,
    training_batches,
)

__all__ = [
    "Images",
    "Split",
    "held_out_batches",
    "num_held_out_batches",
    "training_batches",
]


class Images(NamedTuple):
    """Square 8-bit colour images for training and for evaluation."""

    name: str  # kind, sizes and content; a checkpoint resumes only with the same name
    source: str  # origin, and what was left out
    size: int  # pixels of a side
    training: Split  # examples are [size, size, 3] uint8
    held_out: Split
    flip: bool = False  # whether half of the training images are mirrored left to right
    num_threads: int = 1  # for making a batch
    left_out: tuple[str, ...] = ()  # the names of corrupt files that were skipped

    what = "images"
    key = "image"

    def trained_on(self) -> Split:
        """The training images, mirrored where asked for."""
        num, load = self.training

        def image(number: int, random: np.random.Generator) -> np.ndarray:
            pixels = load(number, random)
            return pixels[:, ::-1] if self.flip and random.random() < 0.5 else pixels

        return Split(num, image)
