"""What is trained, as functions of plain tensors; where it runs is the runtime's."""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.parallel.randomness import Randomness

Tensors = Mapping[str, tf.Tensor]


class Weight(NamedTuple):
    """A weight before it is anywhere: its shape, and how it begins."""

    shape: tuple[int, ...]
    stddev: float = 0.0  # of a normal distribution
    mean: float = 0.0


class Model(NamedTuple):
    """Weights by name, and a loss of each example by itself.

    The loss is traced once for the devices that it runs on.  It uses no variable, no
    random op but those of `randomness`, and no statistic over the batch.
    """

    name: str
    weights: Mapping[str, Weight]
    # (weights, batch, randomness) -> nats [batch], and more numbers [batch] by name.
    loss: Callable[[Tensors, Tensors, Randomness], tuple[tf.Tensor, Tensors]]
    # The first pattern (a regular expression, matched whole) that a weight's name
    # matches says along which mesh dimension each of its axes is sharded, or None.
    rules: tuple[tuple[str, tuple[str | None, ...]], ...] = ()
    dims_per_example: int = 1  # of the data that the nats are of: for bits/dim
    flops_per_example: int = 0  # forward and backward; 0 where not known


def num_parameters(model: Model) -> int:
    """Numbers in all of the model's weights."""
    return sum(math.prod(weight.shape) for weight in model.weights.values())


def draw(weight: Weight, name: str, seed: int) -> np.ndarray:
    """The weight's first value, float32: of seed and name alone, on whatever device."""
    if weight.stddev == 0.0:
        return np.full(weight.shape, weight.mean, np.float32)
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    value = random.standard_normal(weight.shape, np.float32)
    return value * np.float32(weight.stddev) + np.float32(weight.mean)
