"""A model: its weights and its loss, as functions of plain tensors."""

import math
import types
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.training.prng import BatchRng

Tensors = Mapping[str, tf.Tensor]


class Weight(NamedTuple):
    """A weight's shape and the normal distribution of its initial value."""

    shape: tuple[int, ...]
    stddev: float = 0.0
    mean: float = 0.0


class Model(NamedTuple):
    """Weights by name, and a loss for each example on its own.

    The loss is traced once, for any device.  It uses no variable, no random op outside
    `training.prng`, and no statistic over the batch.

    A model may have state: variables that another rule than a gradient updates, such as
    a codebook's averages.  The loss gets the state beside the weights, and also returns
    statistics; `update_state` computes the next state from their sums over the batch.
    """

    name: str
    weights: Mapping[str, Weight]
    # (weights and state by name, batch, rng) -> nats [batch], other metrics [batch] by
    # name and, of a model with state, statistics by name: sums over these examples.
    loss: Callable[[Tensors, Tensors, BatchRng], tuple]
    # The first pattern (a regular expression, matched whole) that matches a weight's
    # name gives the mesh dimension along which each of its axes is sharded, or None.
    sharding_rules: tuple[tuple[str, tuple[str | None, ...]], ...] = ()
    # Patterns of names of weights that have no gradient before a step, and that step.
    # The optimizer counts their steps from there: by the global step, Adam's bias
    # correction would be too small and the first updates too large.
    trainable_from: tuple[tuple[str, int], ...] = ()
    dims_per_example: int = 1  # of the data, for bits/dim
    flops_per_example: int = 0  # forward and backward; 0: not known
    # Initial values.  State is float32, and has no optimizer, EMA or sharding rule.
    state: Mapping[str, Weight] = types.MappingProxyType({})
    # (state, statistics summed over the global batch) -> the next state
    update_state: Callable[[Tensors, Tensors], Tensors] | None = None


def subset(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The weights whose names begin with `prefix`/, by the rest of their names."""
    start = f"{prefix}/"
    return {n.removeprefix(start): w for n, w in weights.items() if n.startswith(start)}


def num_parameters(model: Model) -> int:
    """How many numbers the model's weights have."""
    return sum(math.prod(weight.shape) for weight in model.weights.values())


def check_state(model: Model) -> None:
    """Raises ValueError for state without `update_state`, or named like a weight."""
    if bool(model.state) != (model.update_state is not None):
        raise ValueError(
            f"{model.name}: state {sorted(model.state)} and "
            f"{'no' if model.update_state is None else 'an'} update_state, "
            "wanted both or neither"
        )
    shared = sorted(set(model.state) & set(model.weights))
    if shared:
        raise ValueError(f"{model.name}: {shared} are names of weights and of state")


def checked_weights(
    weights: Mapping[str, Any], specs: Mapping[str, Weight]
) -> dict[str, tf.Tensor]:
    """The weights as tensors.  Raises ValueError for other names or shapes."""
    if set(weights) != set(specs):
        raise ValueError(
            f"weights: without {sorted(set(specs) - set(weights))[:5]} and with "
            f"{sorted(set(weights) - set(specs))[:5]}, which the model has not"
        )
    tensors = {name: tf.convert_to_tensor(weights[name]) for name in specs}
    for name, tensor in tensors.items():
        if tensor.shape != specs[name].shape:
            raise ValueError(
                f"weights: {name} of shape {tensor.shape}, wanted {specs[name].shape}"
            )
    return tensors


def initial_weight(weight: Weight, name: str, seed: int) -> np.ndarray:
    """The weight's initial value, float32; it depends on seed and name alone."""
    if weight.stddev == 0.0:
        return np.full(weight.shape, weight.mean, np.float32)
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    value = random.standard_normal(weight.shape, np.float32)
    return value * np.float32(weight.stddev) + np.float32(weight.mean)
