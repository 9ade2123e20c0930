"""Images of one size, by number, and their batches, by number."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.datasets import batches
from experiments.datasets.batches import (
    Examples,
    ordered_batches,
    shuffled_batches,
)


class Split(NamedTuple):
    """Images by number.  No image is in two splits."""

    num_images: int | None  # None: as many as are asked for
    # (number, a generator of its own) -> [size, size, 3] uint8
    image: Callable[[int, np.random.Generator], np.ndarray]


class Images(NamedTuple):
    """Square 8-bit colour images for training and for evaluation."""

    name: str  # kind, sizes and content; a checkpoint resumes only with the same name
    source: str  # origin, and what was left out
    size: int  # pixels of a side
    training: Split
    held_out: Split
    flip: bool = False  # whether half of the training images are mirrored left to right
    num_threads: int = 1  # for making a batch


def training_batches(
    images: Images,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The training batches by number: {"image": [share, size, size, 3] int32}.

    See `batches.shuffled_batches`.
    """
    num_images, load = images.training

    def image(number: int, random: np.random.Generator) -> np.ndarray:
        pixels = load(number, random)
        return pixels[:, ::-1] if images.flip and random.random() < 0.5 else pixels

    return shuffled_batches(
        _examples(images, Split(num_images, image)),
        seed=seed,
        batch_size=batch_size,
        process=process,
        num_processes=num_processes,
    )


def held_out_batches(
    images: Images, *, batch_size: int, process: int = 0, num_processes: int = 1
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The held-out batches by number, in order and unmirrored.

    See `batches.ordered_batches`.
    """
    return ordered_batches(
        _examples(images, images.held_out),
        batch_size=batch_size,
        process=process,
        num_processes=num_processes,
    )


def num_held_out_batches(
    images: Images, batch_size: int, num_held_out: int | None
) -> int:
    """The number of batches for evaluation; see `batches.num_held_out_batches`."""
    examples = _examples(images, images.held_out)
    return batches.num_held_out_batches(examples, batch_size, num_held_out)


def _examples(images: Images, split: Split) -> Examples:
    return Examples(images.name, "images", "image", *split, images.num_threads)
