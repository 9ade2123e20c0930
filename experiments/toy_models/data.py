"""Synthetic examples that a model can learn, by index and seed."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.datasets.batches import process_share
from experiments.training.checks import check_counts

TRAINING, HELD_OUT = 0, 1  # part of each example's seed: no example is in both


class Examples(NamedTuple):
    """Examples as a function of a random generator; each example has its own."""

    name: str  # with the sizes: a checkpoint is resumed with no other
    source: str
    make: Callable[[np.random.Generator], dict[str, np.ndarray]]


def token_lines(*, length: int, vocabulary: int, noise: float = 0.1) -> Examples:
    """Lines of tokens [length] int32 that grow by the line's stride, modulo vocabulary.

    noise: the fraction of tokens that are uniform instead.

    Raises ValueError for a length or vocabulary below 1, and a noise outside [0, 1].
    """
    check_counts(length=length, vocabulary=vocabulary)
    if not 0 <= noise <= 1:
        raise ValueError(f"noise: given {noise}, wanted 0 to 1")

    def make(random: np.random.Generator) -> dict[str, np.ndarray]:
        start, stride = random.integers(vocabulary, size=2)
        line = (start + stride * np.arange(length)) % vocabulary
        is_noise = random.random(length) < noise
        line[is_noise] = random.integers(vocabulary, size=is_noise.sum())
        return {"tokens": line.astype(np.int32)}

    name = f"token_lines(length={length}, vocabulary={vocabulary}, noise={noise})"
    return Examples(name, "synthetic data", make)


def blob_images(*, size: int) -> Examples:
    """Pictures [size, size, 3] int32 of 0 to 255: three coloured blobs and noise."""
    check_counts(size=size)

    def make(random: np.random.Generator) -> dict[str, np.ndarray]:
        position = np.arange(size) / size
        image = np.full((size, size, 3), 0.2)
        for _ in range(3):
            row, column, width = random.random(3)
            down = np.exp(-(((position - row) / (0.1 + 0.2 * width)) ** 2))
            across = np.exp(-(((position - column) / (0.1 + 0.2 * width)) ** 2))
            image += down[:, None, None] * across[None, :, None] * random.random(3)
        image += 0.02 * random.standard_normal(image.shape)
        return {"image": (255 * np.clip(image, 0, 1)).round().astype(np.int32)}

    return Examples(f"blob_images(size={size})", "synthetic data", make)


def batches(
    examples: Examples,
    *,
    seed: int,
    split: int = TRAINING,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """One process's parts of a split's batches, by index.

    batch_size: of all processes; its example i does not depend on their number.

    Raises ValueError if it does not divide.
    """
    part_size = process_share(batch_size, num_processes)

    def batch(index: int) -> Mapping[str, np.ndarray]:
        first = index * batch_size + process * part_size
        parts = [
            examples.make(np.random.default_rng([seed, split, example]))
            for example in range(first, first + part_size)
        ]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    return batch
