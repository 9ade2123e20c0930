"""Synthetic examples that a model can learn, each made of its number and the seed."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.datasets.batches import process_share

TRAINING, HELD_OUT = 0, 1  # numbered apart, so that no example is in both


class Examples(NamedTuple):
    """Examples as a function of a generator that is each one's own."""

    name: str  # of kind and sizes: a checkpoint holds it against whoever goes on
    source: str
    make: Callable[[np.random.Generator], dict[str, np.ndarray]]


def token_lines(*, length: int, vocabulary: int, noise: float = 0.1) -> Examples:
    """Lines of tokens [length] int32, each one more than the last by the line's stride.

    noise: the share of tokens that are any, whatever the line.
    """

    def make(random: np.random.Generator) -> dict[str, np.ndarray]:
        start, stride = random.integers(vocabulary, size=2)
        line = (start + stride * np.arange(length)) % vocabulary
        odd = random.random(length) < noise
        line[odd] = random.integers(vocabulary, size=odd.sum())
        return {"tokens": line.astype(np.int32)}

    name = f"token_lines(length={length}, vocabulary={vocabulary}, noise={noise})"
    return Examples(name, "synthetic stand-in", make)


def blob_images(*, size: int) -> Examples:
    """Pictures [size, size, 3] int32 of 0 to 255: three coloured blobs and noise."""

    def make(random: np.random.Generator) -> dict[str, np.ndarray]:
        place = np.arange(size) / size
        image = np.full((size, size, 3), 0.2)
        for _ in range(3):
            row, column, width = random.random(3)
            down = np.exp(-(((place - row) / (0.1 + 0.2 * width)) ** 2))
            across = np.exp(-(((place - column) / (0.1 + 0.2 * width)) ** 2))
            image += down[:, None, None] * across[None, :, None] * random.random(3)
        image += 0.02 * random.standard_normal(image.shape)
        return {"image": (255 * np.clip(image, 0, 1)).round().astype(np.int32)}

    return Examples(f"blob_images(size={size})", "synthetic stand-in", make)


def batches(
    examples: Examples,
    *,
    seed: int,
    split: int = TRAINING,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The batches of a split by number, of which this is one process's share.

    batch_size: of all processes; example i of it is the same however many there are.

    Raises ValueError when it does not divide.
    """
    share = process_share(batch_size, num_processes)

    def batch(number: int) -> Mapping[str, np.ndarray]:
        first = number * batch_size + process * share
        made = [
            examples.make(np.random.default_rng([seed, split, place]))
            for place in range(first, first + share)
        ]
        return {name: np.stack([one[name] for one in made]) for name in made[0]}

    return batch
