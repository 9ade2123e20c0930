"""Networks of the audio VAE: those of its flows, the compressor, and the upsampler.

All of a network's work is in a few large matrix products: what each value sees is laid
out in frames, by a product with a matrix of zeros and ones, and what changes slowly is
computed once for a block of values.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.parallel.model import Weight
from experiments.vae.flows import Weights

LOG_SCALE = 3.0  # the network's part of a log-scale is within this of 0
FLOOR = 1e-5  # of a level: a third of a 16-bit sample's step, in units of full scale
FIRST_LEVEL = 0.02  # that a clip is thought to begin at, before training
FIRST_COUNT = 1.0  # and of how many samples' worth that is
RIDGE = 1e-6  # of the mean square, added to the least squares' diagonal
LATENT_LIMIT = 4.0  # a latent's mean is within this of 0
# The least deviation of a latent given the audio: a 256th of its range, so that it holds
# about 8 bits.
LATENT_STEP = 2 * LATENT_LIMIT / 256
SMALL = 0.1  # of the usual deviation: of last layers that begin near 0, but not at it


class Row(NamedTuple):
    """A network of a flow of the grid: it sees a block's values and blocks before."""

    block: int  # values that share a context; and the values that each sees at full rate
    context_blocks: int  # before a block, that its context is computed of
    channels: int
    context: int  # channels of the context's layer

    @property
    def reach(self) -> int:
        """Values before a part that its network reads."""
        return self.block * self.context_blocks


class Adaptive(NamedTuple):
    """The network of the aggregating flow on audio, which has the whole clip.

    Before any training it foretells each sample as far as one line through the past
    can: by least squares, which forget, over all samples before a block.  The network
    adds to that what it learns.
    """

    block: int  # samples after which the least squares are solved again
    order: int  # samples of which they foretell the next
    near: int  # errors before each, that the network sees
    forgetting: float  # of past blocks' weight, a block
    channels: int
    context: int


def dense(weights: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """`x` [..., in] times a weight [in, out]: one product of matrices."""
    weight = weights[name]
    y = tf.matmul(tf.reshape(x, (-1, weight.shape[0])), weight)
    return tf.reshape(y, (-1, *x.shape[1:-1], weight.shape[1]))


def frames(values: tf.Tensor, lead: int, block: int, taps: int) -> tf.Tensor:
    """The `taps` values before each but the first `lead`, the nearest first.

    values: [batch, lead + n].  Returns [batch * n / block, block, taps].
    """
    num = -(-taps // block)  # blocks before
    values = values[:, lead - num * block :]
    blocks = tf.reshape(values, (values.shape[0], -1, block))
    side = _beside(blocks, num + 1)
    laid = tf.matmul(tf.reshape(side, (-1, side.shape[-1])), _layout(block, taps))
    return tf.reshape(laid, (-1, block, taps))


@functools.cache
def _layout(block: int, taps: int) -> np.ndarray:
    """[(num + 1) * block, block * taps], a one in each column."""
    lead = -(-taps // block) * block
    found = np.zeros((lead + block, block, taps), np.float32)
    for place in range(block):
        for tap in range(taps):
            found[lead + place - 1 - tap, place, tap] = 1.0
    return found.reshape(lead + block, block * taps)


def _beside(blocks: tf.Tensor, number: int) -> tf.Tensor:
    """Each block with those before it: [batch, blocks - number + 1, number * size]."""
    last = blocks.shape[1] - number + 1
    return tf.concat([blocks[:, i : i + last] for i in range(number)], -1)


def _bounded(x: tf.Tensor) -> tf.Tensor:
    return LOG_SCALE * tf.tanh(x / LOG_SCALE)


# Of the grid's flows.


def row_weights(sizes: Row) -> dict[str, Weight]:
    """Those of one part of a flow; with them as they begin the flow changes nothing."""
    seen = sizes.block * sizes.context_blocks
    channels, context = sizes.channels, sizes.context
    return {
        "frames": Weight((sizes.block, channels), sizes.block**-0.5),
        "frames/bias": Weight((channels,)),
        "context": Weight((seen, context), seen**-0.5),
        "context/bias": Weight((context,)),
        "mixed": Weight((context, channels), context**-0.5),
        "taps": Weight((context, sizes.block)),
        "hidden": Weight((channels, channels), (2 / channels) ** 0.5),
        "hidden/bias": Weight((channels,)),
        "out": Weight((channels, 2)),
        "out/bias": Weight((2,)),
    }


def row_network(
    sizes: Row, weights: Weights, values: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale, [batch, n] each, of values [batch, reach + n]."""
    squashed = tf.asinh(values)
    blocks = tf.reshape(squashed, (values.shape[0], -1, sizes.block))
    far = _beside(blocks[:, :-1], sizes.context_blocks)
    context = row_context(weights, tf.reshape(far, (-1, far.shape[-1])))
    near = frames(squashed, sizes.reach, sizes.block, sizes.block)
    shift, log_scale = row_values(weights, near, context)
    length = values.shape[1] - sizes.reach
    return tf.reshape(shift, (-1, length)), tf.reshape(log_scale, (-1, length))


def row_context(weights: Weights, far: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What blocks say to their values: [blocks, channels] and taps [blocks, block].

    far: [blocks, reach], squashed values before each block.
    """
    hidden = tf.nn.relu(dense(weights, "context", far) + weights["context/bias"])
    return dense(weights, "mixed", hidden), dense(weights, "taps", hidden)


def row_values(
    weights: Weights, near: tf.Tensor, context: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale of the values of blocks: [blocks, values] each.

    near: [blocks, values, block], squashed values before each, the nearest first.
    """
    mixed, taps = context
    out = _layers(weights, near, mixed)
    shift = out[..., 0] + tf.reduce_sum(near * taps[:, tf.newaxis], -1)
    return shift, _bounded(out[..., 1])


def _layers(weights: Weights, near: tf.Tensor, mixed: tf.Tensor) -> tf.Tensor:
    """[blocks, values, 2]"""
    told = (mixed + weights["frames/bias"])[:, tf.newaxis]
    hidden = tf.nn.relu(dense(weights, "frames", near) + told)
    hidden = dense(weights, "hidden", hidden) + weights["hidden/bias"]
    return dense(weights, "out", tf.nn.relu(hidden)) + weights["out/bias"]


# Of the aggregating flow on audio.


def adaptive_weights(sizes: Adaptive) -> dict[str, Weight]:
    """With them as they begin the flow is the least squares' errors over their level."""
    channels, context = sizes.channels, sizes.context
    seen, told = sizes.near + 2, sizes.order + 1
    return {
        "frames": Weight((seen, channels), seen**-0.5),
        "frames/bias": Weight((channels,)),
        "context": Weight((told, context), told**-0.5),
        "context/bias": Weight((context,)),
        "mixed": Weight((context, channels), context**-0.5),
        "hidden": Weight((channels, channels), (2 / channels) ** 0.5),
        "hidden/bias": Weight((channels,)),
        "out": Weight((channels, 2)),
        "out/bias": Weight((2,)),
        "level": Weight((1,), mean=float(np.log(FIRST_LEVEL))),
    }


def adaptive_network(
    sizes: Adaptive, weights: Weights, values: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale, [batch, n] each, of values [batch, n]: all of the clip."""
    batch, length = values.shape
    num = length // sizes.block
    past = frames(*_after_zeros(values, sizes.block, sizes.order))
    products = moments(past, tf.reshape(values, (-1, sizes.block)))
    decays = _decays(num, sizes.forgetting)
    sums = tf.matmul(decays, tf.reshape(products, (batch, num, -1)))
    taps = solved(tf.reshape(sums, (-1, sizes.order, sizes.order + 1)))
    foretold = tf.matmul(past, taps[..., tf.newaxis])[..., 0]
    errors = values - tf.reshape(foretold, (batch, length))
    squares = tf.reshape(errors * errors, (batch, num, sizes.block))
    energy = tf.matmul(tf.reduce_sum(squares, -1), decays.astype(np.float32).T)
    counts = np.float32(sizes.block * decays.sum(1))
    slow = tf.reshape(mean_square(weights, energy, counts), (-1,))
    near = frames(*_after_zeros(errors, sizes.block, sizes.near))
    context = adaptive_context(weights, taps, slow)
    shift, log_scale = adaptive_values(weights, foretold, near, slow, context)
    return tf.reshape(shift, (batch, length)), tf.reshape(log_scale, (batch, length))


def _after_zeros(
    values: tf.Tensor, block: int, taps: int
) -> tuple[tf.Tensor, int, int, int]:
    """The arguments of `frames` for a sequence before which there is silence."""
    lead = -(-taps // block) * block
    return tf.pad(values, ((0, 0), (lead, 0))), lead, block, taps


@functools.cache
def _decays(num: int, forgetting: float) -> np.ndarray:
    """[num, num] float64: how much each block's past weighs, itself not at all."""
    age = np.arange(num)[:, np.newaxis] - 1 - np.arange(num)
    return np.where(age >= 0, forgetting ** np.maximum(age, 0), 0.0)


def moments(past: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Of blocks, the sums of products that least squares need.

    past: [blocks, values, order].  values: [blocks, values].

    Returns [blocks, order, order + 1] float64: of what is before with itself, and with
    the values.
    """
    past = tf.cast(past, tf.float64)
    values = tf.cast(values, tf.float64)[..., tf.newaxis]
    return tf.matmul(past, tf.concat([past, values], -1), transpose_a=True)


def solved(sums: tf.Tensor) -> tf.Tensor:
    """The least squares' taps, [blocks, order] float32: sums as `moments` gives them."""
    order = sums.shape[1]
    gram = sums[..., :order]
    mean = tf.reduce_mean(tf.linalg.diag_part(gram), -1)
    eye = tf.eye(order, dtype=sums.dtype)
    gram += (RIDGE * mean + FLOOR**2)[:, tf.newaxis, tf.newaxis] * eye
    taps = tf.linalg.cholesky_solve(tf.linalg.cholesky(gram), sums[..., order:])
    return tf.cast(taps[..., 0], tf.float32)


def mean_square(weights: Weights, energy: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Of the errors before each block; of the first blocks, of what is learnt too."""
    first = FIRST_COUNT * tf.exp(2 * weights["level"])
    return (energy + first) / (counts + FIRST_COUNT)


def adaptive_context(weights: Weights, taps: tf.Tensor, slow: tf.Tensor) -> tf.Tensor:
    """What blocks say to their samples: [blocks, channels]."""
    told = tf.concat([tf.asinh(taps), _log(slow)[:, tf.newaxis] / 8], -1)
    hidden = tf.nn.relu(dense(weights, "context", told) + weights["context/bias"])
    return dense(weights, "mixed", hidden)


def adaptive_values(
    weights: Weights,
    foretold: tf.Tensor,
    near: tf.Tensor,
    slow: tf.Tensor,
    context: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale of the samples of blocks: [blocks, samples] each.

    foretold: [blocks, samples], by the least squares.  near: [blocks, samples, near],
    their errors before each sample.  slow: [blocks], the mean square of all of them.
    """
    fast = tf.reduce_mean(near * near, -1)
    slow = slow[:, tf.newaxis]
    log_level = 0.5 * _log(0.5 * (fast + slow))
    level = tf.exp(log_level)
    seen = tf.concat(
        [
            tf.asinh(near / level[..., tf.newaxis]),
            log_level[..., tf.newaxis] / 4,
            (_log(fast) - _log(slow))[..., tf.newaxis] / 8,
        ],
        -1,
    )
    out = _layers(weights, seen, context)
    return foretold + level * out[..., 0], log_level + _bounded(out[..., 1])


def _log(square: tf.Tensor) -> tf.Tensor:
    return tf.math.log(square + FLOOR**2)


# Between audio and latents: blocks of either, with the blocks beside them.


def coder_weights(
    block: int, given: int, channels: int, made: int
) -> dict[str, Weight]:
    """Of `coded`, which makes `made` numbers of blocks of `given` and two beside."""
    return {
        "in": Weight((3 * given, channels), (3 * given) ** -0.5),
        "in/bias": Weight((channels,)),
        "hidden": Weight((channels, channels), (2 / channels) ** 0.5),
        "hidden/bias": Weight((channels,)),
        "out": Weight((channels, made), SMALL * channels**-0.5),
        "out/bias": Weight((made,)),
    }


def coded(weights: Weights, values: tf.Tensor, given: int) -> tf.Tensor:
    """Two numbers for each place: [batch, places, 2]; values: [batch, length].

    A block of `given` values has as many places as the weights make of it.
    """
    batch, length = values.shape
    blocks = tf.reshape(values, (batch, length // given, given))
    side = _beside(tf.pad(blocks, ((0, 0), (1, 1), (0, 0))), 3)
    hidden = tf.nn.relu(dense(weights, "in", side) + weights["in/bias"])
    hidden = dense(weights, "hidden", hidden) + weights["hidden/bias"]
    out = dense(weights, "out", tf.nn.relu(hidden)) + weights["out/bias"]
    return tf.reshape(out, (batch, -1, 2))


def within(weights: Mapping[str, tf.Tensor], prefix: str) -> dict[str, tf.Tensor]:
    """The weights whose names begin with `prefix`/, by what comes after it."""
    head = f"{prefix}/"
    return {n.removeprefix(head): w for n, w in weights.items() if n.startswith(head)}
