"""Images of one size by number, and batches that are functions of their number."""

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
    """Images by number; those of two splits are never the same."""

    num_images: int | None  # None: as many as are asked for
    # (number, a generator of its own) -> [size, size, 3] uint8
    image: Callable[[int, np.random.Generator], np.ndarray]


class Images(NamedTuple):
    """Square colour images of 8 bits, to be trained on and to be judged by."""

    name: str  # of kind, sizes and content: a checkpoint goes on with no other
    source: str  # where they came from, and what was left out
    size: int  # pixels of a side
    training: Split
    held_out: Split
    flip: bool = False  # whether half of those trained on are mirrored left to right
    num_threads: int = 1  # that make a batch


def training_batches(
    images: Images,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The batches to train on by number: {"image": [share, size, size, 3] int32}.

    The rest is as `batches.shuffled_batches` has it.
    """
    num_images, made = images.training

    def image(number: int, random: np.random.Generator) -> np.ndarray:
        one = made(number, random)
        return one[:, ::-1] if images.flip and random.random() < 0.5 else one

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
    """The batches of what is held out, as `training_batches` gives those of the rest.

    In order and unmirrored.  The rest is as `batches.ordered_batches` has it.
    """
    return ordered_batches(
        _examples(images, images.held_out),
        batch_size=batch_size,
        process=process,
        num_processes=num_processes,
    )


def num_judged(images: Images, batch_size: int, num_held_out: int | None) -> int:
    """The batches to judge by, as `batches.num_judged` has them."""
    examples = _examples(images, images.held_out)
    return batches.num_judged(examples, batch_size, num_held_out)


def _examples(images: Images, split: Split) -> Examples:
    return Examples(images.name, "images", "image", *split, images.num_threads)
