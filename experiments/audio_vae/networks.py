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

from experiments.audio_vae.flows import Weights
from experiments.training.model import Weight

LOG_SCALE = 3.0  # the network's part of a log-scale is within this of 0
# Of each of the grid's flows alone, which together go far.  Unbounded ones agree with
# what they are trained on, and drawing, where each value is made of those before it,
# run away from it: to thousands, of noise of 1.
ROW_SHIFT, ROW_LOG_SCALE = 1.0, 0.5
FLOOR = 1e-5  # of a level: a third of a 16-bit sample's step, in units of full scale
FIRST_LEVEL = 0.02  # that a clip is thought to begin at, before training
# The power of its mean square error of late by which a line is trusted at first.
FIRST_TRUST = 2.0
LATE, FAST = 16, 8  # samples that "of late" is, and those of the faster of two levels
RIDGE = 1e-8  # of the mean square, added to the least squares' diagonal
SEEN = 2  # times its order are the samples that a line is solved by, at least
LATENT_LIMIT = 4.0  # a latent's mean is within this of 0
# The least deviation of a latent given the audio: that of the normal distribution whose
# entropy is a uniform one's over a 256th of the range, so that a latent holds 8 bits.
LATENT_STEP = 2 * LATENT_LIMIT / 256 / (2 * np.pi * np.e) ** 0.5
LATENT_LOG_SCALE = 8.0  # its log-deviation above that is within this of 0
SMALL = 0.1  # of the usual deviation: of last layers that begin near 0, but not at it


class Row(NamedTuple):
    """A network of a flow of the grid: it sees a block's values and blocks before."""

    # Values that share a context, and values that each sees at full rate.
    block_size: int
    context_blocks: int  # before a block, that its context is computed of
    channels: int
    context_channels: int  # channels of the context's layer

    @property
    def reach(self) -> int:
        """Values before a part that its network reads."""
        return self.block_size * self.context_blocks


class Adaptive(NamedTuple):
    """The network of the aggregating flow on audio, which has the whole clip.

    Before any training it foretells each sample as well as some lines through the past
    can, solved by least squares that forget, each trusted by its errors of late.  The
    network adds to that what it learns.
    """

    block_size: int  # samples after which the least squares are solved again
    # Of each line: of how many samples it foretells the next, and how much the past
    # weighs, from block to block.
    linear_predictors: tuple[tuple[int, float], ...]
    near: int  # errors before each sample, that the network sees
    channels: int
    context_channels: int

    @property
    def order(self) -> int:
        """Samples of the longest line."""
        return max(order for order, _ in self.linear_predictors)

    @property
    def choices(self) -> int:
        """What may be foretold: by each line, and silence."""
        return len(self.linear_predictors) + 1


def dense(weights: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """`x` [..., in] times a weight [in, out]: one product of matrices."""
    weight = weights[name]
    y = tf.matmul(tf.reshape(x, (-1, weight.shape[0])), weight)
    return tf.reshape(y, (-1, *x.shape[1:-1], weight.shape[1]))


def frames(values: tf.Tensor, block: int, taps: int) -> tf.Tensor:
    """The `taps` values before each but those of a lead, the nearest first.

    values: [batch, lead + n], the lead being the fewest blocks that hold the taps.

    Returns [batch * n / block, block, taps].
    """
    blocks = tf.reshape(values, (values.shape[0], -1, block))
    side = _beside(blocks, -(-taps // block) + 1)
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


def _bounded(x: tf.Tensor, limit: float) -> tf.Tensor:
    return limit * tf.tanh(x / limit)


# Of the grid's flows.


def row_weights(sizes: Row) -> dict[str, Weight]:
    """Those of one part of a flow; with them as they begin the flow changes nothing."""
    seen = sizes.block_size * sizes.context_blocks
    channels, context = sizes.channels, sizes.context_channels
    return {
        "frames": Weight((sizes.block_size, channels), sizes.block_size**-0.5),
        "frames/bias": Weight((channels,)),
        "context": Weight((seen, context), seen**-0.5),
        "context/bias": Weight((context,)),
        "mixed": Weight((context, channels), context**-0.5),
        "taps": Weight((context, sizes.block_size)),
        "hidden": Weight((channels, channels), (2 / channels) ** 0.5),
        "hidden/bias": Weight((channels,)),
        "out": Weight((channels, 2)),
        "out/bias": Weight((2,)),
    }


def row_network(
    sizes: Row, weights: Weights, values: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale, [batch, n] each, of values [batch, reach + n]."""
    batch, total = values.shape
    block, length = sizes.block_size, total - sizes.reach
    squashed = tf.asinh(values)
    blocks = tf.reshape(squashed[:, : total - block], (batch, 1, -1, block))
    # Of each block with those before it: a convolution over blocks lays nothing out.
    kernel = tf.reshape(weights["context"], (1, sizes.context_blocks, block, -1))
    far = tf.nn.conv2d(blocks, kernel, 1, "VALID")
    context = _of_context(weights, tf.reshape(far, (-1, far.shape[-1])))
    near = frames(squashed[:, sizes.reach - block :], block, block)
    shift, log_scale = row_values(weights, near, context)
    return tf.reshape(shift, (batch, length)), tf.reshape(log_scale, (batch, length))


def row_context(weights: Weights, far: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What blocks say to their values: [blocks, channels] and taps [blocks, block].

    far: [blocks, reach], squashed values before each block.
    """
    return _of_context(weights, tf.matmul(far, weights["context"]))


def _of_context(weights: Weights, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    hidden = tf.nn.relu(tf.nn.bias_add(seen, weights["context/bias"]))
    told = tf.nn.bias_add(tf.matmul(hidden, weights["mixed"]), weights["frames/bias"])
    return told, tf.matmul(hidden, weights["taps"])


def row_values(
    weights: Weights, near: tf.Tensor, context: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale of the values of blocks: [blocks, values] each.

    near: [blocks, values, block], squashed values before each, the nearest first.
    """
    told, taps = context
    shift, log_scale = _layers(weights, near, told)
    shift += tf.matmul(near, tf.expand_dims(taps, -1))[..., 0]
    return _bounded(shift, ROW_SHIFT), _bounded(log_scale, ROW_LOG_SCALE)


def _layers(
    weights: Weights, near: tf.Tensor, told: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Two numbers of each value: [blocks, values] each.

    near: [blocks, values, seen].  told: [blocks, channels], which their values share.
    """
    _, values, seen = near.shape
    channels = told.shape[-1]
    hidden = tf.matmul(tf.reshape(near, (-1, seen)), weights["frames"])
    hidden = tf.reshape(hidden, (-1, values, channels)) + tf.expand_dims(told, 1)
    hidden = tf.reshape(tf.nn.relu(hidden), (-1, channels))
    hidden = tf.matmul(hidden, weights["hidden"])
    hidden = tf.nn.relu(tf.nn.bias_add(hidden, weights["hidden/bias"]))
    out = tf.nn.bias_add(tf.matmul(hidden, weights["out"]), weights["out/bias"])
    one, other = tf.unstack(tf.reshape(out, (-1, values, 2)), axis=-1)
    return one, other


# Of the aggregating flow on audio.


def adaptive_weights(sizes: Adaptive) -> dict[str, Weight]:
    """With them as they begin the flow is what was foretold wrong, over its level."""
    channels, context = sizes.channels, sizes.context_channels
    seen, told = sizes.near + 2 + 2 * sizes.choices, sizes.linear_predictors[-1][0]
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
        "trust": Weight((sizes.choices,), mean=FIRST_TRUST),
        "trust/bias": Weight((sizes.choices,)),
    }


def adaptive_network(
    sizes: Adaptive, weights: Weights, values: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale, [batch, n] each, of values [batch, n]: all of the clip."""
    batch, length = values.shape
    block, num = sizes.block_size, length // sizes.block_size
    past = frames(_after(values, block, sizes.order), block, sizes.order)
    products = moments(past, tf.reshape(values, (-1, block)))
    foretold = [tf.zeros((batch * num, block))]
    taps = products  # of the last line, in the end
    for order, forgetting in sizes.linear_predictors:
        sums = tf.reshape(shortened(products, order), (batch, num, -1))
        sums = tf.matmul(_decays(num, forgetting), sums)
        taps = solved(tf.reshape(sums, (-1, order, order + 1)))
        seen = tf.range(num) * block
        taps *= tf.reshape(tf.tile(trusted(seen, order), (batch,)), (-1, 1))
        foretold.append(line(past[..., :order], taps[:, tf.newaxis]))
    told = tf.stack(foretold, -1)  # [blocks, block, choices]
    errors = values[..., tf.newaxis] - tf.reshape(told, (batch, length, -1))
    late = _running_mean(errors * errors, block)
    late = tf.reshape(late, (batch * num, block, -1))
    best = chosen(weights, told, late)
    wrong = values - tf.reshape(best, (batch, length))
    near = frames(_after(wrong, block, sizes.near, first(weights)), block, sizes.near)
    context = adaptive_context(weights, taps)
    shift, log_scale = adaptive_values(weights, told, late, best, near, context)
    return tf.reshape(shift, (batch, length)), tf.reshape(log_scale, (batch, length))


def _after(
    values: tf.Tensor, block: int, taps: int, before: tf.Tensor | None = None
) -> tf.Tensor:
    """[batch, lead + n] for `frames`: silence before the values, ending in `before`."""
    lead = -(-taps // block) * block
    if before is None:
        return tf.pad(values, ((0, 0), (lead, 0)))
    before = tf.pad(before[-lead:], ((max(0, lead - before.shape[0]), 0),))
    before = tf.tile(before[tf.newaxis], (values.shape[0], 1))
    return tf.concat([before, values], -1)


def _running_mean(values: tf.Tensor, block: int) -> tf.Tensor:
    """Of the LATE values before each, zeros before the first: [batch, n, choices]."""
    batch, length, choices = values.shape
    lead = -(-LATE // block) * block
    padded = tf.pad(tf.transpose(values, (0, 2, 1)), ((0, 0), (0, 0), (lead, 0)))
    blocks = tf.reshape(padded, (batch * choices, -1, block))
    side = _beside(blocks, lead // block + 1)
    mean = _layout(block, LATE).reshape(-1, block, LATE).mean(-1)
    found = tf.matmul(tf.reshape(side, (-1, side.shape[-1])), mean)
    found = tf.reshape(found, (batch, choices, length))
    return tf.transpose(found, (0, 2, 1))


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


def shortened(products: tf.Tensor, order: int) -> tf.Tensor:
    """The moments of a shorter line: [blocks, order, order + 1]."""
    return tf.concat([products[:, :order, :order], products[:, :order, -1:]], -1)


def solved(sums: tf.Tensor) -> tf.Tensor:
    """The least squares' taps, [blocks, order] float32, of sums as of `moments`."""
    order = sums.shape[1]
    gram = sums[..., :order]
    mean = tf.reduce_mean(tf.linalg.diag_part(gram), -1)
    eye = tf.eye(order, dtype=sums.dtype)
    gram += (RIDGE * mean + FLOOR**2)[:, tf.newaxis, tf.newaxis] * eye
    taps = tf.linalg.cholesky_solve(tf.linalg.cholesky(gram), sums[..., order:])
    return tf.cast(taps[..., 0], tf.float32)


def trusted(seen: tf.Tensor, order: int) -> tf.Tensor:
    """1 where a line of an order may foretell after so many samples, and 0 before.

    Solved by hardly more samples than it has taps, it fits them and foretells nothing;
    sound that is drawn would follow it all the same, to the end of the scale.
    """
    return tf.cast(seen >= SEEN * order, tf.float32)


def line(past: tf.Tensor, taps: tf.Tensor) -> tf.Tensor:
    """What a line foretells, within full scale: a new sound may throw it far off."""
    return tf.clip_by_value(tf.reduce_sum(past * taps, -1), -1.0, 1.0)


def chosen(weights: Weights, told: tf.Tensor, late: tf.Tensor) -> tf.Tensor:
    """The choices' mean, each trusted by a power of its mean square error of late.

    told, late: [blocks, values, choices].
    """
    trust = weights["trust/bias"] - weights["trust"] * _log(late)
    return tf.reduce_sum(told * tf.nn.softmax(trust), -1)


def first(weights: Weights) -> tf.Tensor:
    """[FAST]: errors that are thought to have been before the clip."""
    return tf.exp(weights["level"]) * tf.ones((FAST,))


def adaptive_context(weights: Weights, taps: tf.Tensor) -> tf.Tensor:
    """What blocks say to their samples: [blocks, channels]; taps: of the last line."""
    seen = tf.matmul(tf.asinh(taps), weights["context"])
    hidden = tf.nn.relu(tf.nn.bias_add(seen, weights["context/bias"]))
    return tf.nn.bias_add(tf.matmul(hidden, weights["mixed"]), weights["frames/bias"])


def adaptive_values(
    weights: Weights,
    told: tf.Tensor,
    late: tf.Tensor,
    best: tf.Tensor,
    near: tf.Tensor,
    context: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale of the samples of blocks: [blocks, samples] each.

    told, late: as `chosen` has them; best: what it gave.  near: [blocks, samples,
    near], its errors before each sample, the nearest first.
    """
    fast = tf.reduce_mean(near[..., :FAST] ** 2, -1)
    slow = tf.reduce_mean(near * near, -1)
    log_level = 0.5 * _log(0.5 * (fast + slow))
    level = tf.exp(log_level)[..., tf.newaxis]
    seen = tf.concat(
        [
            tf.asinh(near / level),
            tf.asinh((told - best[..., tf.newaxis]) / level),
            (0.5 * _log(late) - log_level[..., tf.newaxis]) / 4,
            log_level[..., tf.newaxis] / 4,
            (_log(fast) - _log(slow))[..., tf.newaxis] / 4,
        ],
        -1,
    )
    shift, log_scale = _layers(weights, seen, context)
    return best + level[..., 0] * shift, log_level + _bounded(log_scale, LOG_SCALE)


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
