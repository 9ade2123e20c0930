"""The networks of the grammar VAE, as functions of their weights.

Tran et al. (2018), appendix B: convolutions over one-hot productions, and a recurrent
network that reads nothing but the latent variable.

Layer norm stands in for the paper's batch norm, so that a string's bound depends on no
other string of its batch, and training computes what evaluation does.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Weights = Mapping[str, tf.Tensor]
State = tuple[tf.Tensor, tf.Tensor]  # [..., units] each: the output and the cell

KERNEL = 3  # productions that a convolution sees
DROPPED = 0.1  # of the encoder's channels, in training
EPSILON = 1e-6  # of the layer norm's variance
LEAST_SCALE = 1e-4  # of a latent number


class Sizes(NamedTuple):
    """How large the networks are."""

    productions: int
    latent: int = 8
    units: int = 128  # of the recurrent network
    channels: tuple[int, int] = (64, 128)  # of the convolutions


def initial_weights(sizes: Sizes, seed: int) -> dict[str, tf.Tensor]:
    """Weights to begin with, float32."""
    narrow, wide = sizes.channels
    units = sizes.units
    random = np.random.default_rng([seed, 2])

    def matrix(*shape: int) -> np.ndarray:
        fan = np.prod(shape[:-1])
        return random.normal(size=shape, scale=fan**-0.5)

    forgets = np.repeat([0.0, 1.0, 0.0, 0.0], units)  # a cell begins by remembering
    weights = {
        "conv0/filter": matrix(KERNEL, sizes.productions, narrow),
        "conv0/bias": np.zeros(narrow),
        "norm0/scale": np.ones(narrow),
        "norm0/shift": np.zeros(narrow),
        "conv1/filter": matrix(KERNEL, narrow, wide),
        "conv1/bias": np.zeros(wide),
        "norm1/scale": np.ones(wide),
        "norm1/shift": np.zeros(wide),
        "code/matrix": matrix(wide, 2 * sizes.latent),
        "code/bias": np.zeros(2 * sizes.latent),
        "cell/matrix": matrix(sizes.latent, 4 * units),
        "cell/state": matrix(units, 4 * units),
        "cell/bias": forgets,
        "logits/matrix": matrix(units, sizes.productions),
        "logits/bias": np.zeros(sizes.productions),
    }
    return {name: tf.constant(w, tf.float32) for name, w in weights.items()}


def sizes_of(weights: Weights) -> Sizes:
    """The sizes of the networks with these weights."""
    return Sizes(
        productions=weights["logits/bias"].shape[0],
        latent=weights["cell/matrix"].shape[0],
        units=weights["cell/state"].shape[0],
        channels=(weights["conv0/bias"].shape[0], weights["conv1/bias"].shape[0]),
    )


def encode(
    weights: Weights, one_hot: tf.Tensor, seed: Any = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and standard deviation of the latent variable: [strings, latent] each.

    one_hot: productions [strings, places, productions], zeros after a string's end.
      What is after the end has no effect.
    seed: of the dropout; None: there is none.
    """
    inside = tf.reduce_sum(one_hot, -1, keepdims=True)  # 1, and 0 after the end
    x = one_hot
    for layer in ("0", "1"):
        x = tf.nn.conv1d(x, weights[f"conv{layer}/filter"], 1, "SAME")
        x = _layer_norm(weights, f"norm{layer}", x + weights[f"conv{layer}/bias"])
        x = tf.nn.elu(x) * inside
    if seed is not None:
        x = tf.nn.experimental.stateless_dropout(x, DROPPED, seed)
    mean = tf.reduce_sum(x, 1) / tf.reduce_sum(inside, 1)
    code = mean @ weights["code/matrix"] + weights["code/bias"]
    loc, scale = tf.split(code, 2, -1)
    return loc, tf.nn.softplus(scale) + LEAST_SCALE


def first_state(weights: Weights, latent: tf.Tensor) -> State:
    """The recurrent network's state before the first production."""
    shape = (*latent.shape[:-1], sizes_of(weights).units)
    return tf.zeros(shape), tf.zeros(shape)


def step(weights: Weights, latent: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
    """Logits of the next production [..., productions], and the state after it.

    latent: [..., latent], at every step the same.
    """
    state = _next_state(weights, latent, state)
    return _logits(weights, state[0]), state


def decode(weights: Weights, latent: tf.Tensor, num_places: int) -> tf.Tensor:
    """The logits of every step at once: [strings, places, productions].

    latent: [strings, latent].
    """
    outputs, _ = tf.scan(
        lambda state, _: _next_state(weights, latent, state),
        tf.range(num_places),
        first_state(weights, latent),
    )
    return _logits(weights, tf.transpose(outputs, (1, 0, 2)))


def _next_state(weights: Weights, latent: tf.Tensor, state: State) -> State:
    """Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000)."""
    output, cell = state
    gates = (
        _times(latent, weights["cell/matrix"])
        + _times(output, weights["cell/state"])
        + weights["cell/bias"]
    )
    enter, forget, new, leave = tf.split(gates, 4, -1)
    cell = tf.sigmoid(forget) * cell + tf.sigmoid(enter) * tf.tanh(new)
    return tf.sigmoid(leave) * tf.tanh(cell), cell


def _logits(weights: Weights, output: tf.Tensor) -> tf.Tensor:
    return _times(output, weights["logits/matrix"]) + weights["logits/bias"]


def _times(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """x [..., in] times a matrix [in, out]."""
    if x.shape.rank == 1:
        return tf.linalg.matvec(matrix, x, transpose_a=True)
    return x @ matrix


def _layer_norm(weights: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """Ba et al. (2016), Layer Normalization, over the last axis."""
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    x = (x - mean) * tf.math.rsqrt(variance + EPSILON)
    return x * weights[f"{name}/scale"] + weights[f"{name}/shift"]
