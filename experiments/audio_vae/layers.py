"""Building blocks that the audio VAE's networks share.

Most of a network's work is in a few large matrix products.  A product with a matrix of
zeros and ones gathers the values that each value depends on.  What changes slowly is
computed once for a block of values.
"""

import functools

import numpy as np
import tensorflow as tf

from experiments.audio_vae.flows import Weights


def dense(weights: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """`x` [..., in] times a weight [in, out], as one matrix product."""
    weight = weights[name]
    y = tf.matmul(tf.reshape(x, (-1, weight.shape[0])), weight)
    return tf.reshape(y, (-1, *x.shape[1:-1], weight.shape[1]))


def bounded(x: tf.Tensor, limit: float) -> tf.Tensor:
    """A smooth map of the line to (-limit, limit)."""
    return limit * tf.tanh(x / limit)


def preceding(values: tf.Tensor, block: int, num: int) -> tf.Tensor:
    """The `num` values before each value, the nearest first.

    values: [batch, lead + n].  The lead is the fewest whole blocks that hold `num`.

    Returns [batch * n / block, block, num].
    """
    blocks = tf.reshape(values, (values.shape[0], -1, block))
    windows = adjacent(blocks, -(-num // block) + 1)
    windows = tf.reshape(windows, (-1, windows.shape[-1]))
    return tf.reshape(tf.matmul(windows, selection(block, num)), (-1, block, num))


@functools.cache
def selection(block: int, num: int) -> np.ndarray:
    """The matrix of `preceding`, [lead + block, block * num]: a one in each column."""
    lead = -(-num // block) * block
    matrix = np.zeros((lead + block, block, num), np.float32)
    for position in range(block):
        for lag in range(num):
            matrix[lead + position - 1 - lag, position, lag] = 1.0
    return matrix.reshape(lead + block, block * num)


def adjacent(blocks: tf.Tensor, num: int) -> tf.Tensor:
    """Runs of `num` blocks, concatenated: [batch, blocks - num + 1, num * block]."""
    last = blocks.shape[1] - num + 1
    return tf.concat([blocks[:, i : i + last] for i in range(num)], -1)


def conditioned(
    weights: Weights, inputs: tf.Tensor, context: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Two hidden layers and two outputs for each value: [blocks, values] each.

    inputs: [blocks, values, features].  context: [blocks, channels], which is added to
    the first layer of all of a block's values.
    """
    _, values, features = inputs.shape
    channels = context.shape[-1]
    hidden = tf.matmul(tf.reshape(inputs, (-1, features)), weights["frames"])
    hidden = tf.reshape(hidden, (-1, values, channels)) + tf.expand_dims(context, 1)
    hidden = tf.reshape(tf.nn.relu(hidden), (-1, channels))
    hidden = tf.matmul(hidden, weights["hidden"])
    hidden = tf.nn.relu(tf.nn.bias_add(hidden, weights["hidden/bias"]))
    outputs = tf.nn.bias_add(tf.matmul(hidden, weights["out"]), weights["out/bias"])
    first, second = tf.unstack(tf.reshape(outputs, (-1, values, 2)), axis=-1)
    return first, second
