"""The compressor, from audio to latents, and the upsampler, from latents to audio.

Both see a block of values and the blocks on either side of it.
"""

import numpy as np
import tensorflow as tf

from experiments.audio_vae import layers
from experiments.audio_vae.flows import Weights
from experiments.training.model import Tensors, Weight, subset

SAMPLES_PER_LATENT = 2
BLOCK = 16  # samples that the compressor reads at once, and the upsampler makes
INPUT_GAIN = 1000.0  # the compressor's input is asinh(INPUT_GAIN * audio) / 4
LATENT_LIMIT = 4.0  # bounds a latent's mean, either way
# The least standard deviation of a latent given the audio: by entropy, a 256th of the
# range of its mean, so that a latent holds at most 8 bits.
LATENT_STDDEV = 2 * LATENT_LIMIT / 256 / (2 * np.pi * np.e) ** 0.5
LATENT_LOG_SCALE = 8.0  # limit of the logarithm of what is added to that deviation
MAX_LOG_SCALE = 3.0  # bounds the upsampler's log-scale, either way
OUTPUT_GAIN = 0.1  # multiplies the last layers' initial weights


def weights(channels: int) -> dict[str, Weight]:
    """The weights of both, by name."""
    latents = BLOCK // SAMPLES_PER_LATENT
    both = {
        "compressor": _weights(BLOCK, channels, 2 * latents),
        "upsampler": _weights(latents, channels, 2 * BLOCK),
    }
    return {f"{n}/{name}": w for n, named in both.items() for name, w in named.items()}


def _weights(block: int, channels: int, outputs: int) -> dict[str, Weight]:
    return {
        "in": Weight((3 * block, channels), (3 * block) ** -0.5),
        "in/bias": Weight((channels,)),
        "hidden": Weight((channels, channels), (2 / channels) ** 0.5),
        "hidden/bias": Weight((channels,)),
        "out": Weight((channels, outputs), OUTPUT_GAIN * channels**-0.5),
        "out/bias": Weight((outputs,)),
    }


def compress(weights: Tensors, audio: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean and standard deviation of latents: [clips, T / 2] each.

    audio: [clips, T], of full scale 1.
    """
    x = tf.asinh(INPUT_GAIN * audio) / 4
    outputs = _resample(subset(weights, "compressor"), x, BLOCK)
    mean = layers.bounded(outputs[..., 0], LATENT_LIMIT)
    log_scale = layers.bounded(outputs[..., 1], LATENT_LOG_SCALE)
    return mean, LATENT_STDDEV + tf.exp(log_scale)


def upsample(weights: Tensors, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The shift and log-scale of the noise of T samples, for latents [clips, T / 2]."""
    block = BLOCK // SAMPLES_PER_LATENT
    outputs = _resample(subset(weights, "upsampler"), z, block)
    return outputs[..., 0], layers.bounded(outputs[..., 1], MAX_LOG_SCALE)


def _resample(weights: Weights, values: tf.Tensor, block: int) -> tf.Tensor:
    """Two outputs for each position: [batch, positions, 2]; values: [batch, length].

    The shape of the last weight sets the number of positions that a block becomes.
    """
    batch, length = values.shape
    blocks = tf.reshape(values, (batch, length // block, block))
    windows = layers.adjacent(tf.pad(blocks, ((0, 0), (1, 1), (0, 0))), 3)
    hidden = tf.nn.relu(layers.dense(weights, "in", windows) + weights["in/bias"])
    hidden = layers.dense(weights, "hidden", hidden) + weights["hidden/bias"]
    outputs = layers.dense(weights, "out", tf.nn.relu(hidden)) + weights["out/bias"]
    return tf.reshape(outputs, (batch, -1, 2))
