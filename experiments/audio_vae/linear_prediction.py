"""The network of the aggregating flow on audio: linear predictors and a correction.

Several linear predictors are fitted by least squares, with exponential forgetting, to
the samples so far.  A softmax over their recent errors mixes their predictions.  Before
any training this predicts as well as the mixture can; the network learns a correction
of the prediction and the scale of its error.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.audio_vae import layers
from experiments.audio_vae.flows import Weights
from experiments.training.model import Weight

MAX_LOG_SCALE = 3.0  # bounds the network's part of a log-scale, either way
FLOOR = 1e-5  # added to levels: a third of a 16-bit step, in units of full scale
INITIAL_LEVEL = 0.02  # the assumed level of the errors before the clip, untrained
INITIAL_TRUST = 2.0  # power of a predictor's recent mean square error in its odds
RECENT, FAST = 16, 8  # samples of "recent", and of the faster of two error levels
RIDGE = 1e-8  # relative to the mean square, added to the diagonal of least squares
MIN_SAMPLES = 2  # per coefficient: a predictor fitted to fewer is not used


class LinearPrediction(NamedTuple):
    """The network's sizes.  It reads the whole clip before each sample."""

    block_size: int  # samples after which the predictors are fitted again
    # Each has an order, and a factor by which a block's weight in the fit shrinks with
    # every further block.
    linear_predictors: tuple[tuple[int, float], ...]
    num_recent_errors: int  # before each sample, which the network reads
    channels: int
    context_channels: int

    @property
    def max_order(self) -> int:
        """The largest order of all predictors."""
        return max(order for order, _ in self.linear_predictors)

    @property
    def num_predictions(self) -> int:
        """One of each predictor, and silence."""
        return len(self.linear_predictors) + 1


def weights(sizes: LinearPrediction) -> dict[str, Weight]:
    """With their initial values the flow is the prediction error over its level."""
    channels, context = sizes.channels, sizes.context_channels
    features = sizes.num_recent_errors + 2 + 2 * sizes.num_predictions
    last_order = sizes.linear_predictors[-1][0]
    return {
        "frames": Weight((features, channels), features**-0.5),
        "frames/bias": Weight((channels,)),
        "context": Weight((last_order, context), last_order**-0.5),
        "context/bias": Weight((context,)),
        "mixed": Weight((context, channels), context**-0.5),
        "hidden": Weight((channels, channels), (2 / channels) ** 0.5),
        "hidden/bias": Weight((channels,)),
        "out": Weight((channels, 2)),
        "out/bias": Weight((2,)),
        "level": Weight((1,), mean=float(np.log(INITIAL_LEVEL))),
        "trust": Weight((sizes.num_predictions,), mean=INITIAL_TRUST),
        "trust/bias": Weight((sizes.num_predictions,)),
    }


def shift_and_log_scale(
    sizes: LinearPrediction, weights: Weights, values: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale of whole clips' values [batch, n]: [batch, n] each."""
    batch, length = values.shape
    block, num = sizes.block_size, length // sizes.block_size
    past = _padded(values, block, sizes.max_order)
    past = layers.preceding(past, block, sizes.max_order)
    products = moments(past, tf.reshape(values, (-1, block)))
    predictions = [tf.zeros((batch * num, block))]
    coefficients = products  # in the end those of the last predictor
    for order, forgetting in sizes.linear_predictors:
        sums = tf.reshape(truncated(products, order), (batch, num, -1))
        sums = tf.matmul(_forgetting_weights(num, forgetting), sums)
        coefficients = solve(tf.reshape(sums, (-1, order, order + 1)))
        usable = is_usable(tf.range(num) * block, order)
        coefficients *= tf.reshape(tf.tile(usable, (batch,)), (-1, 1))
        predictions.append(predict(past[..., :order], coefficients[:, tf.newaxis]))
    predictions = tf.stack(predictions, -1)  # [blocks, block, predictions]
    errors = tf.reshape(predictions, (batch, length, -1))
    errors = values[..., tf.newaxis] - errors
    recent_mse = _running_mean(errors * errors, block)
    recent_mse = tf.reshape(recent_mse, (batch * num, block, -1))
    mixture = mix(weights, predictions, recent_mse)
    errors = values - tf.reshape(mixture, (batch, length))
    num_recent = sizes.num_recent_errors
    errors = _padded(errors, block, num_recent, errors_before(weights))
    errors = layers.preceding(errors, block, num_recent)
    known = (predictions, recent_mse, mixture, errors, context(weights, coefficients))
    shift, log_scale = of_blocks(weights, *known)
    return tf.reshape(shift, (batch, length)), tf.reshape(log_scale, (batch, length))


def _padded(
    values: tf.Tensor, block: int, num: int, before: tf.Tensor | None = None
) -> tf.Tensor:
    """[batch, lead + n] for `preceding`: zeros, and `before` next to the values."""
    lead = -(-num // block) * block
    if before is None:
        return tf.pad(values, ((0, 0), (lead, 0)))
    before = tf.pad(before[-lead:], ((max(0, lead - before.shape[0]), 0),))
    before = tf.tile(before[tf.newaxis], (values.shape[0], 1))
    return tf.concat([before, values], -1)


def _running_mean(values: tf.Tensor, block: int) -> tf.Tensor:
    """The mean of the RECENT values before each, zeros before the first.

    values: [batch, n, predictions], the shape of the result too.
    """
    batch, length, predictions = values.shape
    lead = -(-RECENT // block) * block
    padded = tf.pad(tf.transpose(values, (0, 2, 1)), ((0, 0), (0, 0), (lead, 0)))
    blocks = tf.reshape(padded, (batch * predictions, -1, block))
    windows = layers.adjacent(blocks, lead // block + 1)
    matrix = layers.selection(block, RECENT).reshape(-1, block, RECENT).mean(-1)
    means = tf.matmul(tf.reshape(windows, (-1, windows.shape[-1])), matrix)
    means = tf.reshape(means, (batch, predictions, length))
    return tf.transpose(means, (0, 2, 1))


@functools.cache
def _forgetting_weights(num: int, forgetting: float) -> np.ndarray:
    """[block, earlier block] float64: weights in the fit; a block itself has none."""
    age = np.arange(num)[:, np.newaxis] - 1 - np.arange(num)
    return np.where(age >= 0, forgetting ** np.maximum(age, 0), 0.0)


def moments(past: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The sums of products that least squares need, a block each.

    past: [blocks, values, order].  values: [blocks, values].

    Returns [blocks, order, order + 1] float64: products of the past with itself, and
    with the values in the last column.
    """
    past = tf.cast(past, tf.float64)
    values = tf.cast(values, tf.float64)[..., tf.newaxis]
    return tf.matmul(past, tf.concat([past, values], -1), transpose_a=True)


def truncated(products: tf.Tensor, order: int) -> tf.Tensor:
    """The moments of a lower order: [blocks, order, order + 1]."""
    return tf.concat([products[:, :order, :order], products[:, :order, -1:]], -1)


def solve(sums: tf.Tensor) -> tf.Tensor:
    """The coefficients [blocks, order] float32 that sums of `moments` give."""
    order = sums.shape[1]
    gram = sums[..., :order]
    mean = tf.reduce_mean(tf.linalg.diag_part(gram), -1)
    eye = tf.eye(order, dtype=sums.dtype)
    gram += (RIDGE * mean + FLOOR**2)[:, tf.newaxis, tf.newaxis] * eye
    solution = tf.linalg.cholesky_solve(tf.linalg.cholesky(gram), sums[..., order:])
    return tf.cast(solution[..., 0], tf.float32)


def is_usable(num_samples: tf.Tensor, order: int) -> tf.Tensor:
    """1 where a predictor of this order has been fitted to enough samples, else 0.

    Fitted to hardly more samples than it has coefficients, it interpolates them and
    predicts nothing; a sampled sound would follow it until it clips.
    """
    return tf.cast(num_samples >= MIN_SAMPLES * order, tf.float32)


def predict(past: tf.Tensor, coefficients: tf.Tensor) -> tf.Tensor:
    """A linear prediction, clipped to full scale: at an onset it may be far off."""
    return tf.clip_by_value(tf.reduce_sum(past * coefficients, -1), -1.0, 1.0)


def mix(weights: Weights, predictions: tf.Tensor, recent_mse: tf.Tensor) -> tf.Tensor:
    """The mean of the predictions; odds are a power of the recent mean square error.

    predictions, recent_mse: [blocks, values, predictions].
    """
    logits = weights["trust/bias"] - weights["trust"] * _log(recent_mse)
    return tf.reduce_sum(predictions * tf.nn.softmax(logits), -1)


def errors_before(weights: Weights) -> tf.Tensor:
    """[FAST]: the errors that are assumed before the clip."""
    return tf.exp(weights["level"]) * tf.ones((FAST,))


def context(weights: Weights, coefficients: tf.Tensor) -> tf.Tensor:
    """The blocks' context [blocks, channels], of the last predictor's coefficients."""
    hidden = tf.matmul(tf.asinh(coefficients), weights["context"])
    hidden = tf.nn.relu(tf.nn.bias_add(hidden, weights["context/bias"]))
    return tf.nn.bias_add(tf.matmul(hidden, weights["mixed"]), weights["frames/bias"])


def of_blocks(
    weights: Weights,
    predictions: tf.Tensor,
    recent_mse: tf.Tensor,
    mixture: tf.Tensor,
    errors: tf.Tensor,
    context: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The shift and log-scale of the samples of blocks: [blocks, samples] each.

    predictions, recent_mse, mixture: arguments and result of `mix`.
    errors: [blocks, samples, recent], the mixture's before each, the nearest first.
    """
    fast = tf.reduce_mean(errors[..., :FAST] ** 2, -1)
    slow = tf.reduce_mean(errors * errors, -1)
    log_level = 0.5 * _log(0.5 * (fast + slow))
    level = tf.exp(log_level)[..., tf.newaxis]
    features = [
        tf.asinh(errors / level),
        tf.asinh((predictions - mixture[..., tf.newaxis]) / level),
        (0.5 * _log(recent_mse) - log_level[..., tf.newaxis]) / 4,
        log_level[..., tf.newaxis] / 4,
        (_log(fast) - _log(slow))[..., tf.newaxis] / 4,
    ]
    shift, log_scale = layers.conditioned(weights, tf.concat(features, -1), context)
    log_scale = log_level + layers.bounded(log_scale, MAX_LOG_SCALE)
    return mixture + level[..., 0] * shift, log_scale


def _log(square: tf.Tensor) -> tf.Tensor:
    return tf.math.log(square + FLOOR**2)
