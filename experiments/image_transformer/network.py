"""The layers of the Image Transformer, as functions of weights.

The input of a position is the embedding of the position generated before it; its
outputs parameterise the distribution of its own values.  Training runs the layers over
all positions at once and a sampler over one after another, both by these functions.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.image_transformer import attention, likelihood
from experiments.image_transformer.likelihood import CHANNELS, OUTPUTS_PER_COMPONENT
from experiments.training import prng
from experiments.training.checks import (
    check_choice,
    check_count,
    check_counts,
    check_number,
)
from experiments.training.model import Tensors, Weight
from experiments.training.prng import BatchRng

LIKELIHOODS = ("categorical", "dmol")
ATTENTIONS = ("local_1d", "local_2d")
POSITIONS = ("learned", "sinusoidal")
COUNTS = ("height", "width", "layers", "heads", "hidden", "key_size", "value_size")
COUNTS += ("filter_size", "num_mixtures", "channels")  # what is 1 or more
LAYER_NORM_EPSILON = 1e-6  # added to the variance
INITIAL_GAIN = 0.2  # of initial weights over those that keep the variance, as in T2T
RULES = (  # heads and filters are sharded over `model`
    (r"layer\d+/(query|key|value|filter_in)", (None, "model")),
    (r"layer\d+/(out|filter_out)", ("model", None)),
    (r"layer\d+/filter_in_bias", ("model",)),
    ("embedding|row|column|merge|outputs", (None, None)),
    (r".*(scale|bias)", (None,)),
)
# (query, key, value), each [batch, positions, size of all heads] -> the outputs.
Attention = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Sizes(NamedTuple):
    """The hyperparameters of a model.

    Key and value sizes are totals over heads, as in T2T.
    """

    height: int  # pixels
    width: int
    layers: int
    heads: int
    hidden: int
    key_size: int
    value_size: int
    filter_size: int
    # Positions of a block, or (rows, columns) with local_2d.  A row of the image has a
    # position for each pixel, or for each channel of a pixel if categorical.
    block: int | tuple[int, int]
    likelihood: str = "categorical"  # of each sub-pixel; or "dmol", of each pixel
    attention: str = "local_1d"  # or "local_2d"
    flange: tuple[int, int] | None = None  # with local_2d; None: as block
    positions: str = "learned"  # or "sinusoidal"
    num_mixtures: int = 10  # of "dmol"
    dropout: float = 0.0
    recompute: bool = False  # recompute a layer from its input for the gradient
    num_values: int = 256  # of a sub-pixel
    channels: int = CHANNELS  # of a pixel; must be 3 with "dmol"


def check_sizes(sizes: Sizes) -> None:
    """Raises ValueError, naming the field, for sizes that define no model."""
    check_choice("likelihood", sizes.likelihood, LIKELIHOODS)
    check_choice("attention", sizes.attention, ATTENTIONS)
    check_choice("positions", sizes.positions, POSITIONS)
    check_counts(**{name: getattr(sizes, name) for name in COUNTS})
    check_count("num_values", sizes.num_values, minimum=2)
    check_number("dropout", sizes.dropout, at_least=0, below=1)
    if sizes.likelihood == "dmol" and sizes.channels != CHANNELS:
        raise ValueError(
            f"channels: given {sizes.channels}, wanted the {CHANNELS} that dmol mixes"
        )
    for name in ("key_size", "value_size"):
        if getattr(sizes, name) % sizes.heads:
            raise ValueError(
                f"{name}: given {getattr(sizes, name)}, wanted a multiple of the "
                f"{sizes.heads} heads"
            )
    if sizes.positions == "sinusoidal" and sizes.hidden % 4:
        raise ValueError(
            f"hidden: given {sizes.hidden}, wanted a multiple of 4, for the sines and "
            "cosines of rows and columns"
        )
    if sizes.attention == "local_1d":
        if not isinstance(sizes.block, int) or sizes.block < 1:
            raise ValueError(
                f"block: given {sizes.block!r}, wanted a number of positions, from 1"
            )
        if sizes.flange is not None:
            raise ValueError(
                f"flange: given {sizes.flange}, wanted None with local_1d, whose "
                "memory is the block before"
            )
        return
    flange = (0, 0) if sizes.flange is None else sizes.flange
    for name, pair, least in (("block", sizes.block, 1), ("flange", flange, 0)):
        if not isinstance(pair, tuple) or len(pair) != 2 or min(pair) < least:
            raise ValueError(
                f"{name}: given {pair!r}, wanted a tuple (rows, columns) from {least} "
                "with local_2d"
            )


def position_shape(sizes: Sizes) -> tuple[int, int, int]:
    """Rows and columns of positions, and the number of values of a position."""
    if sizes.likelihood == "dmol":
        return sizes.height, sizes.width, CHANNELS
    return sizes.height, sizes.width * sizes.channels, 1


@functools.cache
def blocks(sizes: Sizes) -> attention.Blocks:
    """The blocks of the sequence, and the order in which positions are generated."""
    rows, columns, _ = position_shape(sizes)
    if sizes.attention == "local_1d":
        return attention.local_1d(rows * columns, sizes.block)
    flange = sizes.block if sizes.flange is None else sizes.flange
    return attention.local_2d(rows, columns, sizes.block, flange)


def num_outputs(sizes: Sizes) -> int:
    """Outputs of a position: logits, or parameters of a mixture."""
    if sizes.likelihood == "dmol":
        return OUTPUTS_PER_COMPONENT * sizes.num_mixtures
    return sizes.num_values


def weights(sizes: Sizes) -> dict[str, Weight]:
    """The specs of all weights, by name."""
    rows, columns, _ = position_shape(sizes)
    hidden, filter_size = sizes.hidden, sizes.filter_size

    def dense(inward: int, outward: int) -> Weight:
        return Weight((inward, outward), INITIAL_GAIN * inward**-0.5)

    specs = {
        "embedding": Weight((sizes.channels * sizes.num_values, hidden), hidden**-0.5)
    }
    if sizes.likelihood == "dmol":
        specs = {"merge": Weight((CHANNELS, hidden), CHANNELS**-0.5)}
        specs["merge_bias"] = Weight((hidden,))
    if sizes.positions == "learned":
        specs["row"] = Weight((rows, hidden), hidden**-0.5)
        specs["column"] = Weight((columns, hidden), hidden**-0.5)
    for number in range(sizes.layers):
        name = f"layer{number}"
        specs |= {
            f"{name}/query": dense(hidden, sizes.key_size),
            f"{name}/key": dense(hidden, sizes.key_size),
            f"{name}/value": dense(hidden, sizes.value_size),
            f"{name}/out": dense(sizes.value_size, hidden),
            f"{name}/attention/scale": Weight((hidden,), mean=1.0),
            f"{name}/attention/bias": Weight((hidden,)),
            f"{name}/filter_in": dense(hidden, filter_size),
            f"{name}/filter_in_bias": Weight((filter_size,)),
            f"{name}/filter_out": dense(filter_size, hidden),
            f"{name}/filter_out_bias": Weight((hidden,)),
            f"{name}/filter/scale": Weight((hidden,), mean=1.0),
            f"{name}/filter/bias": Weight((hidden,)),
        }
    specs["outputs"] = dense(hidden, num_outputs(sizes))
    if sizes.likelihood == "categorical":
        specs["outputs_bias"] = Weight((sizes.num_values,))
    return specs


def to_generation_order(sizes: Sizes, image: tf.Tensor) -> tf.Tensor:
    """The values of an image in the order of generation: [batch, positions, values].

    image: [batch, height, width, channels].
    """
    rows, columns, depth = position_shape(sizes)
    values = tf.reshape(image, (-1, rows * columns, depth))
    if sizes.attention == "local_1d":
        return values
    return tf.gather(values, blocks(sizes).order, axis=1)


def to_image(sizes: Sizes, values: tf.Tensor) -> tf.Tensor:
    """The image [batch, height, width, channels] of values in order of generation."""
    if sizes.attention == "local_2d":
        values = tf.gather(values, np.argsort(blocks(sizes).order), axis=1)
    return tf.reshape(values, (-1, sizes.height, sizes.width, sizes.channels))


def embed(
    sizes: Sizes, weights: Tensors, values: tf.Tensor, steps: np.ndarray | tf.Tensor
) -> tf.Tensor:
    """Embeddings of the values of some positions: [batch, steps, hidden].

    values: [batch, steps, values].
    steps: [steps], the indices of the positions in the order of generation.
    """
    if sizes.likelihood == "dmol":
        dtype = weights["merge"].dtype
        scaled = tf.cast(likelihood.rescale(values, sizes.num_values), dtype)
        return tf.nn.relu(_dense(scaled, weights["merge"], weights["merge_bias"]))
    channel = tf.gather(blocks(sizes).order % sizes.channels, steps)
    rows = values[..., 0] + channel * sizes.num_values
    return tf.gather(weights["embedding"], rows) * math.sqrt(sizes.hidden)


def position_embedding(
    sizes: Sizes, weights: Tensors, steps: np.ndarray | tf.Tensor
) -> tf.Tensor:
    """Embeddings of positions, by their indices in the order of generation.

    steps: [steps] indices.  Returns [steps, hidden].
    """
    rows, columns, _ = position_shape(sizes)
    position = tf.gather(blocks(sizes).order, steps)
    i, j = position // columns, position % columns
    if sizes.positions == "learned":
        row, column = weights["row"], weights["column"]
        root = math.sqrt(sizes.hidden)
        return root * (tf.gather(row, i) + tf.gather(column, j))
    dtype = next(iter(weights.values())).dtype
    row, column = (_sinusoids(number, sizes.hidden // 2) for number in (rows, columns))
    return tf.cast(tf.concat([tf.gather(row, i), tf.gather(column, j)], -1), dtype)


def layer(
    sizes: Sizes,
    weights: Tensors,
    number: int,
    x: tf.Tensor,
    attend: Attention,
    rng: BatchRng | None = None,
) -> tf.Tensor:
    """Attention, then two dense layers, each with dropout, residual and layer norm.

    x: [batch, positions, hidden], as is the result.
    attend: over all positions, or of one position over a KV cache.
    rng: of dropout; None: no dropout.
    """

    def own(name: str) -> tf.Tensor:
        return weights[f"layer{number}/{name}"]

    query, key, value = (_dense(x, own(part)) for part in ("query", "key", "value"))
    update = _dense(attend(query, key, value), own("out"))
    update = _dropout(sizes, update, rng, f"layer{number}/attention")
    x = layer_norm(x + update, own("attention/scale"), own("attention/bias"))

    inner = tf.nn.relu(_dense(x, own("filter_in"), own("filter_in_bias")))
    update = _dense(inner, own("filter_out"), own("filter_out_bias"))
    update = _dropout(sizes, update, rng, f"layer{number}/filter")
    return layer_norm(x + update, own("filter/scale"), own("filter/bias"))


def output_layer(weights: Tensors, x: tf.Tensor) -> tf.Tensor:
    """Logits, or parameters of a mixture, float32: [batch, positions, outputs]."""
    x, weight = (tf.cast(part, tf.float32) for part in (x, weights["outputs"]))
    bias = weights.get("outputs_bias")
    return _dense(x, weight, None if bias is None else tf.cast(bias, tf.float32))


def forward(
    sizes: Sizes, weights: Tensors, values: tf.Tensor, rng: BatchRng | None = None
) -> tf.Tensor:
    """The outputs of every position given the values before it, in one pass.

    values: [batch, positions, values] in the order of generation.  Returns [batch,
      positions, outputs] float32 in the same order.
    """
    layout = blocks(sizes)
    steps = np.arange(len(layout.order))
    x = embed(sizes, weights, values[:, :-1], steps[:-1])
    x = tf.pad(x, [[0, 0], [1, 0], [0, 0]]) + position_embedding(sizes, weights, steps)
    x = _dropout(sizes, x, rng, "input")
    padded = len(layout.position_at) > len(steps)
    if padded:  # padding is zeros
        step_at = np.full(len(layout.position_at), len(steps))
        step_at[layout.index_of[layout.order]] = steps
        x = tf.gather(tf.pad(x, [[0, 0], [0, 1], [0, 0]]), step_at, axis=1)
    local = attention.local_attention
    attend = functools.partial(local, blocks=layout, heads=sizes.heads)
    for number in range(sizes.layers):

        def one(x: tf.Tensor, own: Tensors, number: int = number) -> tf.Tensor:
            return layer(sizes, own, number, x, attend, rng)

        own = {n: w for n, w in weights.items() if n.startswith(f"layer{number}/")}
        x = (tf.recompute_grad(one) if sizes.recompute else one)(x, own)
    if padded:
        x = tf.gather(x, layout.index_of[layout.order], axis=1)
    return output_layer(weights, x)


def _dense(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """[..., inward] to [..., outward], as one matrix product."""
    *leading, inward = x.shape
    product = tf.matmul(tf.reshape(x, (-1, inward)), weight)
    if bias is not None:
        product = tf.nn.bias_add(product, bias)  # its gradient is faster than a sum's
    return tf.reshape(product, (*leading, weight.shape[-1]))


@tf.custom_gradient
def layer_norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tuple:
    """Layer normalisation, Ba, Kiros and Hinton (2016), in float32.

    With y the normalised units, d their deviation, s the scale and g the upstream
    gradient, the gradient of x is (s g - mean(s g) - y mean(s g y)) / d.  This takes
    fewer passes over memory than autodiff.
    """
    size, dtype = x.shape[-1], x.dtype
    x, scale = tf.cast(x, tf.float32), tf.cast(scale, tf.float32)
    x = x - tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(x * x, -1, keepdims=True)
    inverse = tf.math.rsqrt(variance + LAYER_NORM_EPSILON)
    x = x * inverse

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        upstream = tf.cast(upstream, tf.float32)
        product = upstream * x
        mean, along = (
            _dense(part, scale[:, tf.newaxis] / size) for part in (upstream, product)
        )
        by_x = (upstream * scale - mean - x * along) * inverse
        by_scale = tf.raw_ops.BiasAddGrad(out_backprop=product)
        by_bias = tf.raw_ops.BiasAddGrad(out_backprop=upstream)
        return tuple(tf.cast(by, dtype) for by in (by_x, by_scale, by_bias))

    return tf.cast(x * scale + tf.cast(bias, tf.float32), dtype), gradient


def _dropout(sizes: Sizes, x: tf.Tensor, rng: BatchRng | None, name: str) -> tf.Tensor:
    if rng is None:
        return x
    return prng.dropout(rng, name, x, sizes.dropout)


def _sinusoids(count: int, size: int) -> np.ndarray:
    """Sinusoidal embeddings of 0 to count - 1, as in T2T: [count, size] float32.

    Sines come first; wavelengths are from 2 pi to 20,000 pi.
    """
    number = size // 2
    rates = np.exp(-np.log(1e4) * np.arange(number) / max(number - 1, 1))
    angles = np.arange(count)[:, np.newaxis] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)
