"""The Image Transformer written by hand in TensorFlow: plain ops and autodiff.

The difference to the program, traced and run by the engine, is the cost of language and
engine, less what the program's hand-written gradients of attention and layer norm save.
`handwritten_tf_kernels` has these gradients too.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.baselines import transformer_sizes
from experiments.baselines.training_tf import below, make_training
from experiments.baselines.transformer_sizes import TransformerSizes, attention_bias
from experiments.bench.problems import AdamSettings, Training

Weights = Mapping[str, Any]


def prepare(
    sizes: Any,
    weights: Mapping[str, np.ndarray],
    adam: AdamSettings,
    **kernels: Callable,
) -> Training:
    """Training of a model of `image_transformer.Sizes`, from these weights.

    kernels: of `layers`, if others.

    Raises ValueError for sizes that `transformer_sizes.of_image_transformer` refuses.
    """
    transformer = transformer_sizes.of_image_transformer(sizes)
    stack = functools.partial(layers, sizes=transformer, **kernels)
    nats = dmol_nats if sizes.likelihood == "dmol" else categorical_nats

    def loss(w: Weights, state: Any, image: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return tf.reduce_mean(nats(outputs(w, sizes, image, stack), image)), state

    return make_training(weights, adam, loss)


def outputs(w: Weights, sizes: Any, image: tf.Tensor, stack: Callable) -> tf.Tensor:
    """Each position's outputs given the values before it: [batch, positions, outputs].

    image: [batch, height, width, 3] int32.
    """
    batch = image.shape[0]
    if sizes.likelihood == "dmol":
        values = tf.reshape(image, (batch, -1, 3))
        scaled = tf.cast(values, tf.float32) / 127.5 - 1
        x = tf.nn.relu(dense(scaled, w["merge"], w["merge_bias"]))
    else:
        channel = 256 * np.arange(3, dtype=np.int32)
        rows = tf.reshape(image + channel, (batch, -1))
        x = tf.gather(w["embedding"], rows) * math.sqrt(sizes.hidden)
    return dense(stack(w, x[:, :-1]), w["outputs"], w.get("outputs_bias"))


def layers(
    w: Weights,
    x: tf.Tensor,
    sizes: TransformerSizes,
    attend: Callable | None = None,
    norm: Callable | None = None,
) -> tf.Tensor:
    """All layers on embedded values, for the position after each.

    x: [batch, positions - 1, hidden].  Returns [batch, positions, hidden].
    attend, norm: instead of `attention` and `layer_norm`, and called like them.
    """
    attend, norm = attend or attention, norm or layer_norm
    x = tf.pad(x, [[0, 0], [1, 0], [0, 0]])
    signal = w["row"][:, tf.newaxis] + w["column"]
    x += math.sqrt(sizes.hidden) * tf.reshape(signal, (-1, sizes.hidden))
    length = x.shape[1]
    if length % sizes.block:  # whole blocks: no position attends to later ones
        x = tf.pad(x, [[0, 0], [0, -length % sizes.block], [0, 0]])
    bias = attention_bias(sizes.block)
    for number in range(sizes.layers):
        own = below(w, f"layer{number}")
        query, key, value = (dense(x, own[n]) for n in ("query", "key", "value"))
        update = dense(attend(sizes, query, key, value, bias), own["out"])
        x = norm(x + update, own["attention/scale"], own["attention/bias"])
        inner = tf.nn.relu(dense(x, own["filter_in"], own["filter_in_bias"]))
        update = dense(inner, own["filter_out"], own["filter_out_bias"])
        x = norm(x + update, own["filter/scale"], own["filter/bias"])
    return x[:, :length] if length % sizes.block else x


def dense(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """[batch, positions, inward] to [batch, positions, outward].

    One matrix product and bias_add are the fastest in TensorFlow on CPU.
    """
    product = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), weight)
    if bias is not None:
        product = tf.nn.bias_add(product, bias)
    return tf.reshape(product, (*x.shape[:-1], weight.shape[-1]))


def attention(
    sizes: TransformerSizes,
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    bias: np.ndarray,
) -> tf.Tensor:
    """Attention of every position to its block and the one before.

    query, key, value: [batch, positions, units].  Returns [batch, positions,
    value_size].

    The first block has none before it and is computed apart.  The bias of the scores is
    then the same, and small, for all other blocks.
    """

    def split(y: tf.Tensor) -> tf.Tensor:  # [batch, blocks, heads, size, depth]
        blocks, depth = y.shape[1] // sizes.block, y.shape[-1] // sizes.heads
        y = tf.reshape(y, (-1, blocks, sizes.block, sizes.heads, depth))
        return tf.transpose(y, (0, 1, 3, 2, 4))

    def with_previous(y: tf.Tensor) -> tf.Tensor:  # all blocks but the first
        return tf.concat([y[:, :-1], y[:, 1:]], 3)

    def attend(query: Any, key: Any, value: Any, bias: np.ndarray) -> tf.Tensor:
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + bias)
        return tf.matmul(weights, value)

    positions = query.shape[1]
    query = split(query) * (sizes.key_size // sizes.heads) ** -0.5
    key, value = split(key), split(value)
    first = attend(query[:, :1], key[:, :1], value[:, :1], bias[:, sizes.block :])
    later = attend(query[:, 1:], with_previous(key), with_previous(value), bias)
    output = tf.transpose(tf.concat([first, later], 1), (0, 1, 3, 2, 4))
    return tf.reshape(output, (-1, positions, sizes.value_size))


def layer_norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """The units of each position normalised, Ba, Kiros and Hinton (2016).

    x: [batch, positions, hidden], as is the result; scale, bias: [hidden].
    """
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, bias, scale, 1e-6)


def categorical_nats(logits: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """The nats of each image: [batch].

    logits: [batch, positions, values]; image: their labels, int32, of any shape.
    """
    labels = tf.reshape(image, (-1, logits.shape[1]))
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_sum(each, -1)


def dmol_nats(outputs: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """The nats of each image: [batch].

    outputs: [batch, positions, 10 mixtures]; image: [batch, height, width, 3] int32.

    A discretised mixture of logistics, Salimans et al. (2017), PixelCNN++, section 2,
    with the logarithm of a bin's mass as the sum of those of three factors.
    """
    mixtures = outputs.shape[-1] // 10
    positions = outputs.shape[1]
    x = tf.cast(tf.reshape(image, (-1, positions, 3, 1)), tf.float32)
    at = x / 127.5 - 1
    logits = outputs[..., :mixtures]
    rest = tf.reshape(outputs[..., mixtures:], (-1, positions, 3, 3, mixtures))
    means, log_scales, coefficients = tf.unstack(rest, axis=2)
    log_scales = tf.maximum(log_scales, -7.0)
    c = tf.tanh(coefficients)
    red, green = at[:, :, 0], at[:, :, 1]
    by_red, by_both = c[:, :, 0] * red, c[:, :, 1] * red + c[:, :, 2] * green
    means += tf.stack([tf.zeros_like(by_red), by_red, by_both], 2)
    inverse = tf.exp(-log_scales)
    upper = (at + 1 / 255 - means) * inverse
    lower = (at - 1 / 255 - means) * inverse
    below = tf.where(x < 255, tf.math.log_sigmoid(upper), 0.0)
    above = tf.where(x > 0, tf.math.log_sigmoid(-lower), 0.0)
    inside = tf.logical_and(x > 0, x < 255)
    between = tf.where(inside, tf.math.log(-tf.math.expm1(-2 / 255 * inverse)), 0.0)
    log_probs = tf.reduce_sum(below + above + between, 2)
    mixed = tf.reduce_logsumexp(log_probs + tf.nn.log_softmax(logits), -1)
    return -tf.reduce_sum(mixed, -1)
