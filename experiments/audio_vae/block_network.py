"""The network of the flows on the grid of cores: blocks of values share a context.

Each value depends on the values of one block before it, and on a context that is
computed once a block from several blocks before.
"""

from typing import NamedTuple

import tensorflow as tf

from experiments.audio_vae import layers
from experiments.audio_vae.flows import Weights
from experiments.training.model import Weight

# Limits of a flow's shift and log-scale; over all flows they add up to much.  Unbounded
# networks fit the training data as well, but sampling, where each value depends on the
# sampled values before it, diverged with them: to thousands, from noise of 1.
MAX_SHIFT, MAX_LOG_SCALE = 1.0, 0.5

Context = tuple[tf.Tensor, tf.Tensor]  # [blocks, channels], taps [blocks, block]


class BlockNetwork(NamedTuple):
    """The network's sizes."""

    block_size: int  # values that share a context; each depends on as many before it
    context_blocks: int  # blocks before a block, from which its context is computed
    channels: int
    context_channels: int

    @property
    def receptive_field(self) -> int:
        """The values before a part that its network reads."""
        return self.block_size * self.context_blocks


def weights(sizes: BlockNetwork) -> dict[str, Weight]:
    """The weights of one part.  With their initial values the flow is the identity."""
    block, channels = sizes.block_size, sizes.channels
    seen, context = sizes.receptive_field, sizes.context_channels
    return {
        "frames": Weight((block, channels), block**-0.5),
        "frames/bias": Weight((channels,)),
        "context": Weight((seen, context), seen**-0.5),
        "context/bias": Weight((context,)),
        "mixed": Weight((context, channels), context**-0.5),
        "taps": Weight((context, block)),
        "hidden": Weight((channels, channels), (2 / channels) ** 0.5),
        "hidden/bias": Weight((channels,)),
        "out": Weight((channels, 2)),
        "out/bias": Weight((2,)),
    }


def shift_and_log_scale(
    sizes: BlockNetwork, weights: Weights, values: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale of the last n values: [batch, n] each.

    values: [batch, receptive field + n].
    """
    batch, total = values.shape
    block, length = sizes.block_size, total - sizes.receptive_field
    squashed = tf.asinh(values)
    blocks = tf.reshape(squashed[:, : total - block], (batch, 1, -1, block))
    # A convolution over blocks copies no values, as concatenating them would.
    kernel = tf.reshape(weights["context"], (1, sizes.context_blocks, block, -1))
    far = tf.nn.conv2d(blocks, kernel, 1, "VALID")
    context = _context(weights, tf.reshape(far, (-1, far.shape[-1])))
    near = squashed[:, sizes.receptive_field - block :]
    near = layers.preceding(near, block, block)
    shift, log_scale = of_blocks(weights, near, context)
    return tf.reshape(shift, (batch, length)), tf.reshape(log_scale, (batch, length))


def context(weights: Weights, far: tf.Tensor) -> Context:
    """The context of blocks.

    far: [blocks, receptive field], asinh of the values before each block.
    """
    return _context(weights, tf.matmul(far, weights["context"]))


def _context(weights: Weights, hidden: tf.Tensor) -> Context:
    hidden = tf.nn.relu(tf.nn.bias_add(hidden, weights["context/bias"]))
    channels = tf.matmul(hidden, weights["mixed"])
    channels = tf.nn.bias_add(channels, weights["frames/bias"])
    return channels, tf.matmul(hidden, weights["taps"])


def of_blocks(
    weights: Weights, near: tf.Tensor, context: Context
) -> tuple[tf.Tensor, tf.Tensor]:
    """The shift and log-scale of the values of blocks: [blocks, values] each.

    near: [blocks, values, block], asinh of the values before each, the nearest first.
    """
    channels, taps = context
    shift, log_scale = layers.conditioned(weights, near, channels)
    shift += tf.matmul(near, tf.expand_dims(taps, -1))[..., 0]
    return layers.bounded(shift, MAX_SHIFT), layers.bounded(log_scale, MAX_LOG_SCALE)
