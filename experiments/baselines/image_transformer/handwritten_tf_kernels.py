"""`handwritten_tf` with this project's attention and layer normalisation.

Their hand-written gradients are faster than TensorFlow's.  So the difference to the
program, traced and run by the engine, is the cost of the language and the engine alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.baselines.image_transformer import handwritten_tf
from experiments.bench.problems import AdamSettings, Training
from experiments.image_transformer import network
from experiments.image_transformer.attention import local_attention


def prepare(
    sizes: Any, weights: Mapping[str, np.ndarray], adam: AdamSettings
) -> Training:
    """See `handwritten_tf.prepare`."""
    blocks = network.blocks(sizes)

    def attention(
        sizes: Any, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, _: np.ndarray
    ) -> tf.Tensor:
        return local_attention(query, key, value, blocks=blocks, heads=sizes.heads)

    kernels = {"attend": attention, "norm": network.layer_norm}
    return handwritten_tf.prepare(sizes, weights, adam, **kernels)
