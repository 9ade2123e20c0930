"""Small audio VAEs and weights at which no part of one is idle."""

import zlib

import numpy as np
import tensorflow as tf

from experiments.audio_vae import network
from experiments.audio_vae.network import Sizes

SMALL = Sizes(  # two rows of one core row, two columns, and the aggregator
    length=64,
    num_flows=2,
    num_splits=2,
    block_size=4,
    context_blocks=2,
    channels=6,
    context_channels=5,
    prior_channels=4,
    prior_context_channels=3,
    compressor_channels=6,
    refit_every=8,
    linear_predictors=((4, 0.6), (6, 0.8)),
)
GRID = SMALL._replace(length=128, num_flows=8, num_splits=4)  # the paper's topology


def weights_for(sizes, *, size=0.3, seed=0):
    """By name: as training begins, and something added so that nothing is zero."""
    made = {}
    for name, weight in network.weights(sizes).items():
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        noise = random.standard_normal(weight.shape, np.float32)
        scale = size / max(1, weight.shape[0] if len(weight.shape) > 1 else 1) ** 0.5
        made[name] = tf.constant(np.float32(weight.mean) + np.float32(scale) * noise)
    return made


def loud_clips(sizes, num_clips, seed=0):
    """[num_clips, length] int32: a few sines and noise."""
    random = np.random.default_rng(seed)
    time = np.arange(sizes.length)
    pitch = random.uniform(0.1, 0.6, (num_clips, 1))
    sound = 8000 * np.sin(pitch * time) + 300 * random.standard_normal(
        (num_clips, sizes.length)
    )
    return sound.astype(np.int32)
