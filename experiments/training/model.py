"""What is trained, as functions of plain tensors; where it runs is the runtime's."""

import math
import types
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.training.prng import BatchRng

Tensors = Mapping[str, tf.Tensor]


class Weight(NamedTuple):
    """A weight before it is anywhere: its shape, and how it begins."""

    shape: tuple[int, ...]
    stddev: float = 0.0  # of a normal distribution
    mean: float = 0.0


class Model(NamedTuple):
    """Weights by name, and a loss of each example by itself.

    The loss is traced once for the devices that it runs on.  It uses no variable, no
    random op but those of `rng`, and no statistic over the batch.

    What goes from step to step by another rule than a gradient, such as a codebook's
    averages, is state: the loss is given it beside the weights and returns statistics
    too, `update_state` makes the next one of what they sum to over the whole batch.
    """

    name: str
    weights: Mapping[str, Weight]
    # (weights, batch, rng) -> nats [batch], and more numbers [batch] by name;
    # with state, of which the first argument has each by name too, also statistics by
    # name: sums over these examples, of any shape.
    loss: Callable[[Tensors, Tensors, BatchRng], tuple]
    # The first pattern (a regular expression, matched whole) that a weight's name
    # matches says along which mesh dimension each of its axes is sharded, or None.
    sharding_rules: tuple[tuple[str, tuple[str | None, ...]], ...] = ()
    # Patterns of names of weights that have no gradient before a step, and that step.
    # An optimizer's steps of them, its warm-up among them, count from there: else Adam
    # would take averages of a few gradients for those of many, and go far too far.
    trainable_from: tuple[tuple[str, int], ...] = ()
    dims_per_example: int = 1  # of the data that the nats are of: for bits/dim
    flops_per_example: int = 0  # forward and backward; 0 where not known
    # How each begins; no optimizer, average or rule knows of it, and float32 it stays.
    state: Mapping[str, Weight] = types.MappingProxyType({})
    # (state, statistics of all devices, processes and parts) -> the next state.
    update_state: Callable[[Tensors, Tensors], Tensors] | None = None


def num_parameters(model: Model) -> int:
    """Numbers in all of the model's weights."""
    return sum(math.prod(weight.shape) for weight in model.weights.values())


def check_state(model: Model) -> None:
    """Raises ValueError for a state that nothing updates or a weight is named as."""
    if bool(model.state) != (model.update_state is not None):
        raise ValueError(
            f"{model.name}: state {sorted(model.state)} and "
            f"{'no' if model.update_state is None else 'an'} update_state, "
            "wanted both or neither"
        )
    both = sorted(set(model.state) & set(model.weights))
    if both:
        raise ValueError(f"{model.name}: {both} are names of weights and of state")


def initial_weight(weight: Weight, name: str, seed: int) -> np.ndarray:
    """The weight's first value, float32: of seed and name alone, on whatever device."""
    if weight.stddev == 0.0:
        return np.full(weight.shape, weight.mean, np.float32)
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    value = random.standard_normal(weight.shape, np.float32)
    return value * np.float32(weight.stddev) + np.float32(weight.mean)
