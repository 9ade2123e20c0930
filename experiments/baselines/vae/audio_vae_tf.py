"""The audio VAE written by hand in TensorFlow: plain layers on one device.

There is no program, bijector or placement: the bound is summed as it is computed.  A
convolution with an identity gathers the values before each value.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.baselines.training_tf import below, make_training
from experiments.bench.problems import AdamSettings, Draws, Training

FULL_SCALE = 2.0**15
NUM_RECENT_ERRORS, CODER_BLOCK, INPUT_GAIN = 32, 16, 1000.0
LATENT_LIMIT, LATENT_LOG_SCALE, LOG_SCALE = 4.0, 8.0, 3.0
LATENT_STDDEV = 2 * LATENT_LIMIT / 256 / math.sqrt(2 * math.pi * math.e)
LOGISTIC_SCALE = 3**0.5 / math.pi  # of a logistic distribution of variance 1
MAX_SHIFT, MAX_LOG_SCALE = 1.0, 0.5
FLOOR, RIDGE, MIN_SAMPLES, RECENT, FAST = 1e-5, 1e-8, 2, 16, 8

Weights = Mapping[str, Any]


def prepare(
    sizes: Any, weights: Mapping[str, np.ndarray], adam: AdamSettings, draws: Draws
) -> Training:
    """The training of these sizes (`audio_vae.Sizes`), from these weights.

    draws: a step's random numbers: `dequantization` [clips, length], uniform, the place
      of each sample in its quantization step, and `noise` [clips, latents], normal.

    A step takes clips [clips, length] of 16-bit integers.
    """

    def loss(w: Weights, state: Any, clips: Any, **drawn: Any) -> tuple[Any, Any]:
        return tf.reduce_mean(nats(w, sizes, clips, **drawn)), state

    return make_training(weights, adam, loss, draws=draws)


def nats(
    w: Weights,
    sizes: Any,
    clips: tf.Tensor,
    dequantization: tf.Tensor,
    noise: tf.Tensor,
) -> tf.Tensor:
    """The negative evidence lower bound of each clip: [clips]."""
    audio = (tf.cast(clips, tf.float32) + dequantization - 0.5) / FULL_SCALE
    loud = tf.asinh(INPUT_GAIN * audio) / 4
    outputs = coder(below(w, "compressor"), loud, CODER_BLOCK)
    mean = bounded(outputs[..., 0], LATENT_LIMIT)
    log_scale = bounded(outputs[..., 1], LATENT_LOG_SCALE)
    deviation = LATENT_STDDEV + tf.exp(log_scale)
    z = mean + deviation * noise
    of_unit = 0.5 * math.log(2 * math.pi * math.e)
    entropy = tf.reduce_sum(tf.math.log(deviation) + of_unit, -1)

    x, log_det = through(w, sizes, "prior", z, last=row(w, sizes, "prior"))
    log_det -= x.shape[1] * math.log(LOGISTIC_SCALE)
    log_prior = log_det + logistic(x / LOGISTIC_SCALE)

    outputs = coder(below(w, "upsampler"), z, CODER_BLOCK // 2)
    shift, log_scale = outputs[..., 0], bounded(outputs[..., 1], LOG_SCALE)
    x, log_det = through(w, sizes, "decoder", audio, last=adaptive(w, sizes))
    log_det -= 0.5 * tf.reduce_sum(tf.math.log1p(x**2), -1)  # of asinh
    x = tf.asinh(x) * tf.exp(-w["decoder/tail"]) - shift
    log_det -= x.shape[1] * w["decoder/tail"][0] + tf.reduce_sum(log_scale, -1)
    log_audio = log_det + logistic(x * tf.exp(-log_scale))
    steps = sizes.length * math.log(FULL_SCALE)
    return steps - log_audio - log_prior - entropy


def logistic(x: tf.Tensor) -> tf.Tensor:
    """The log density of each clip's independent logistic values: [clips]."""
    return -tf.reduce_sum(tf.nn.softplus(x) + tf.nn.softplus(-x), -1)


def bounded(x: tf.Tensor, limit: float) -> tf.Tensor:
    """A smooth map of the line to (-limit, limit)."""
    return limit * tf.tanh(x / limit)


def through(
    w: Weights, sizes: Any, name: str, y: tf.Tensor, last: Callable
) -> tuple[tf.Tensor, tf.Tensor]:
    """The noise that a flow makes y of, [clips, length], and the log det: [clips].

    last: of the aggregating flow, values to shift and log-scale.
    """
    shift, log_scale = last(y)
    x = (y - shift) * tf.exp(-log_scale)
    log_det = -tf.reduce_sum(log_scale, -1)
    parts = tf.split(x, sizes.num_splits, -1)
    receptive_field = sizes.block_size * sizes.context_blocks
    for number in reversed(range(sizes.num_flows)):
        backwards = (sizes.num_flows - 1 - number) % 2 == 1
        if backwards:
            parts = [tf.reverse(part, [1]) for part in reversed(parts)]
        columns = range(sizes.num_splits)
        before = [tf.zeros_like(parts[0][:, :receptive_field])]
        before += [part[:, -receptive_field:] for part in parts[:-1]]
        inverses = []
        for at, part, edge in zip(columns, parts, before, strict=True):
            column = sizes.num_splits - 1 - at if backwards else at
            own = below(w, f"{name}/flow{number}/part{column}")
            shift, log_scale = of_row(own, sizes, tf.concat([edge, part], -1))
            inverses.append((part - shift) * tf.exp(-log_scale))
            log_det -= tf.reduce_sum(log_scale, -1)
        parts = inverses
        if backwards:
            parts = [tf.reverse(part, [1]) for part in reversed(parts)]
    return tf.concat(parts, -1), log_det


def row(w: Weights, sizes: Any, name: str) -> Callable:
    """The aggregating flow's network on latents."""
    own = below(w, f"{name}/flow{sizes.num_flows}/part0")
    receptive_field = sizes.block_size * sizes.context_blocks
    return lambda y: of_row(own, sizes, tf.pad(y, ((0, 0), (receptive_field, 0))))


def of_row(w: Weights, sizes: Any, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and log-scale of the last n of values [clips, receptive field + n]."""
    block, receptive_field = sizes.block_size, sizes.block_size * sizes.context_blocks
    x = tf.asinh(values)
    batch, length = x.shape[0], x.shape[1] - receptive_field
    blocks = tf.reshape(x, (batch, -1, block))[:, :-1]
    far = tf.concat(
        [blocks[:, i : i + length // block] for i in range(sizes.context_blocks)], -1
    )
    hidden = tf.nn.relu(far @ w["context"] + w["context/bias"])
    near = before_each(x[:, receptive_field - block :], block)  # [clips, n, block]
    context = tf.repeat(hidden @ w["mixed"], block, 1)
    taps = tf.repeat(hidden @ w["taps"], block, 1)
    out = layers(w, near, context)
    shift = out[..., 0] + tf.reduce_sum(near * taps, -1)
    return bounded(shift, MAX_SHIFT), bounded(out[..., 1], MAX_LOG_SCALE)


def layers(w: Weights, inputs: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
    """[clips, n, 2] of each value's inputs and the context of its block."""
    x = tf.nn.relu(inputs @ w["frames"] + w["frames/bias"] + context)
    x = tf.nn.relu(x @ w["hidden"] + w["hidden/bias"])
    return x @ w["out"] + w["out/bias"]


def before_each(x: tf.Tensor, taps: int) -> tf.Tensor:
    """The taps values before each but the first taps, the nearest first.

    x: [clips, taps + n].  Returns [clips, n, taps].
    """
    identity = np.eye(taps, dtype=np.float32)[::-1, np.newaxis]
    return tf.nn.conv1d(x[:, :-1, tf.newaxis], identity, 1, "VALID")


def adaptive(w: Weights, sizes: Any) -> Callable:
    """The aggregating flow's network on audio."""
    own = below(w, f"decoder/flow{sizes.num_flows}/part0")

    def network(y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch, block = y.shape[0], sizes.refit_every
        longest = max(order for order, _ in sizes.linear_predictors)
        past = before_each(tf.pad(y, ((0, 0), (longest, 0))), longest)
        predictions = [tf.zeros_like(y)]
        for order, forgetting in sizes.linear_predictors:
            taps = least_squares(past[..., :order], y, block, forgetting)
            line = tf.reduce_sum(past[..., :order] * tf.repeat(taps, block, 1), -1)
            predictions.append(tf.clip_by_value(line, -1.0, 1.0))
        predicted = tf.stack(predictions, -1)  # [clips, length, predictions]
        squares = (y[..., tf.newaxis] - predicted) ** 2
        summed = tf.pad(squares, ((0, 0), (RECENT, 0), (0, 0)))[:, :-1]
        recent_mse = tf.nn.avg_pool1d(summed, RECENT, 1, "VALID")
        trust = own["trust/bias"] - own["trust"] * tf.math.log(recent_mse + FLOOR**2)
        mixture = tf.reduce_sum(predicted * tf.nn.softmax(trust), -1)
        level = tf.repeat(tf.exp(own["level"]), FAST)
        lead = tf.concat([tf.zeros(NUM_RECENT_ERRORS - FAST), level], 0)
        errors = tf.concat([tf.tile(lead[tf.newaxis], (batch, 1)), y - mixture], -1)
        near = before_each(errors, NUM_RECENT_ERRORS)
        hidden = tf.nn.relu(tf.asinh(taps) @ own["context"] + own["context/bias"])
        context = tf.repeat(hidden @ own["mixed"], block, 1)
        fast = tf.reduce_mean(near[..., :FAST] ** 2, -1)
        slow = tf.reduce_mean(near**2, -1)
        log_level = 0.5 * tf.math.log(0.5 * (fast + slow) + FLOOR**2)
        level = tf.exp(log_level)[..., tf.newaxis]
        ratio = tf.math.log(fast + FLOOR**2) - tf.math.log(slow + FLOOR**2)
        recent = 0.5 * tf.math.log(recent_mse + FLOOR**2)
        seen = (
            tf.asinh(near / level),
            tf.asinh((predicted - mixture[..., tf.newaxis]) / level),
            (recent - log_level[..., tf.newaxis]) / 4,
            log_level[..., tf.newaxis] / 4,
            ratio[..., tf.newaxis] / 4,
        )
        out = layers(own, tf.concat(seen, -1), context)
        log_scale = log_level + bounded(out[..., 1], LOG_SCALE)
        return mixture + level[..., 0] * out[..., 0], log_scale

    return network


def least_squares(
    past: tf.Tensor, y: tf.Tensor, block: int, forgetting: float
) -> tf.Tensor:
    """A predictor's coefficients, fitted before each block: [clips, blocks, order].

    past: [clips, length, order]; y: [clips, length].
    """
    batch, length, order = past.shape
    num = length // block
    past = tf.cast(tf.reshape(past, (batch, num, block, order)), tf.float64)
    values = tf.cast(tf.reshape(y, (batch, num, block, 1)), tf.float64)
    sums = tf.matmul(past, tf.concat([past, values], -1), transpose_a=True)
    age = np.arange(num)[:, np.newaxis] - 1 - np.arange(num)
    weight = np.where(age >= 0, forgetting ** np.maximum(age, 0), 0.0)
    flat = tf.reshape(sums, (batch, num, order * (order + 1)))
    sums = tf.reshape(weight @ flat, (batch, num, order, order + 1))
    gram = sums[..., :order]
    mean = tf.linalg.trace(gram) / order
    ridge = (RIDGE * mean + FLOOR**2)[..., tf.newaxis, tf.newaxis]
    gram += ridge * tf.eye(order, dtype=tf.float64)
    root = tf.linalg.cholesky(gram)
    taps = tf.linalg.cholesky_solve(root, sums[..., order:])[..., 0]
    seen = np.arange(num) * block >= MIN_SAMPLES * order
    return tf.cast(taps, tf.float32) * seen.astype(np.float32)[:, np.newaxis]


def coder(w: Weights, x: tf.Tensor, block: int) -> tf.Tensor:
    """Two numbers for each position: [clips, positions, 2].  x: [clips, length]."""
    blocks = tf.reshape(x, (x.shape[0], -1, block))
    blocks = tf.pad(blocks, ((0, 0), (1, 1), (0, 0)))
    side = tf.concat([blocks[:, :-2], blocks[:, 1:-1], blocks[:, 2:]], -1)
    hidden = tf.nn.relu(side @ w["in"] + w["in/bias"])
    hidden = tf.nn.relu(hidden @ w["hidden"] + w["hidden/bias"])
    return tf.reshape(hidden @ w["out"] + w["out/bias"], (x.shape[0], -1, 2))
