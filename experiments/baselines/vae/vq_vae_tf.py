"""The vector-quantised autoencoder written by hand in TensorFlow.

Plain operations and autodiff; the codebook's averages are assignments to variables.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.baselines import transformer_sizes
from experiments.baselines.image_transformer import handwritten_tf as transformer
from experiments.baselines.training_tf import below, make_training
from experiments.baselines.vae.codebook import averaged
from experiments.bench.problems import AdamSettings, Draws, Training
from experiments.vq_vae import cosine_basis

INITIAL_LOG_SCALE, INITIAL_COEFFICIENTS = -3.0, (2.0, 0.0, 2.0)  # of mixtures

Weights = Mapping[str, Any]


def prepare(
    sizes: Any,
    codebook: Any,
    weights: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    adam: AdamSettings,
    draws: Draws,
) -> Training:
    """The training of `vq_vae.Sizes` and `vq_vae.Codebook`, from these values.

    draws: a step's random numbers: `uniform` [vectors, samples] float32 for the codes,
      and `chosen` [codes] int32, the vectors that codes restart from.

    Raises ValueError for hard EM, and for a prior of fewer than two blocks: neither is
    implemented.
    """
    check(sizes, codebook)
    loss = functools.partial(loss_of, sizes, codebook)
    return make_training(weights, adam, loss, state=state, draws=draws)


def loss_of(
    sizes: Any,
    codebook: Any,
    w: Weights,
    state: Weights,
    image: tf.Tensor,
    uniform: tf.Tensor,
    chosen: tf.Tensor,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The mean nats of an image, and the codebook after the step.

    image: [batch, size, size, 3] int32; uniform, chosen: as in `prepare`.
    """
    table, batch, dims = state["codes"], image.shape[0], sizes.size**2 * 3
    vectors = encoded(w, sizes, image)  # [vectors, dim]
    squares = (
        tf.reduce_sum(vectors**2, -1, keepdims=True)
        + tf.reduce_sum(table**2, -1)
        - 2 * tf.matmul(vectors, table, transpose_b=True)
    )
    nearest = tf.argmin(squares, -1, output_type=tf.int32)
    responsibilities = sampled_responsibilities(squares, uniform)
    means = tf.stop_gradient(responsibilities @ table)
    quantised = vectors + tf.stop_gradient(means - vectors)
    codes = tf.reshape(nearest, (batch, -1))
    pixels = pixel_nats(sizes, decoded(w, sizes, quantised, batch), image)
    code_nats = tf.cond(
        state["steps"] >= sizes.prior_start,
        lambda: prior_nats(w, sizes, codebook, codes),
        lambda: tf.fill((batch,), codes.shape[1] * math.log(codebook.num_codes)),
    )
    error = tf.reduce_mean((means - vectors) ** 2)
    loss = tf.reduce_mean(pixels + code_nats) + dims * codebook.commitment_cost * error
    counted = tf.reduce_sum(responsibilities, 0)
    summed = tf.matmul(responsibilities, vectors, transpose_a=True)
    new = tf.gather(vectors, chosen)
    return loss, averaged(tf, codebook, state, counted, summed, new)


def check(sizes: Any, codebook: Any) -> None:
    """Raises ValueError as `prepare` does."""
    if codebook.num_samples < 1:
        raise ValueError(
            f"num_samples: given {codebook.num_samples}, wanted 1 or more: soft EM"
        )
    transformer_sizes.of_prior(sizes)


def encoded(w: Weights, sizes: Any, image: tf.Tensor) -> tf.Tensor:
    """The vectors to be quantised: [vectors, dim].  image: [batch, size, size, 3]."""
    x = tf.cast(image, tf.float32) / 127.5 - 1
    for number, stride in enumerate(sizes.strides):
        x = tf.nn.relu(x) if number else x
        x = tf.nn.conv2d(x, w[f"down{number}/filter"], stride, "SAME")
        x = tf.nn.bias_add(x, w[f"down{number}/bias"])
        x = residuals(w, sizes, f"down{number}", x)
    x = tf.reshape(x, (-1, sizes.channels))
    x = tf.nn.bias_add(x @ w["encoded"], w["encoded_bias"])
    x = tf.reshape(x, (-1, x.shape[-1] // sizes.codes_per_position))
    if sizes.shortcuts:
        side = math.prod(sizes.strides)
        # [codes, pixels, frequencies]
        analysis, _ = cosine_basis.transforms(side, sizes.codes_per_position)
        patches = tf.nn.space_to_depth(tf.cast(image, tf.float32) / 127.5 - 1, side)
        patches = tf.reshape(patches, (-1, analysis.shape[1]))
        own = tf.reshape(patches @ np.concatenate(analysis, 1), (-1, analysis.shape[2]))
        x += own @ w["cosines"]
    return x


def decoded(w: Weights, sizes: Any, vectors: tf.Tensor, batch: int) -> tf.Tensor:
    """The parameters of the pixels' distributions: [batch, size, size, outputs].

    vectors: [vectors, dim], of all of the batch.
    """
    x = tf.reshape(vectors, (-1, sizes.codes_per_position * vectors.shape[-1]))
    first = x = tf.nn.bias_add(x @ w["decoded"], w["decoded_bias"])
    side = sizes.size // math.prod(sizes.strides)
    x = tf.reshape(x, (batch, side, side, sizes.channels))
    for number in reversed(range(len(sizes.strides))):
        name, stride = f"up{number}", sizes.strides[number]
        x = tf.nn.relu(residuals(w, sizes, name, x))
        filters, side = w[f"{name}/filter"], side * stride
        shape = (batch, side, side, filters.shape[2])
        x = tf.nn.conv2d_transpose(x, filters, shape, stride, "SAME")
        x = tf.nn.bias_add(x, w[f"{name}/bias"])
    if sizes.shortcuts:
        x += patched(sizes, first @ w["up"], batch)
        if sizes.likelihood == "dmol":
            _, synthesis = cosine_basis.transforms(
                math.prod(sizes.strides), sizes.codes_per_position
            )
            own = vectors @ tf.transpose(w["cosines"]) / vectors.shape[-1]
            pixels = tf.reshape(own, (-1, synthesis[:, :, 0].size))
            pixels @= synthesis.reshape(-1, synthesis.shape[-1])
            x += patched(sizes, pixels, batch) @ as_means(sizes)
    return x


def patched(sizes: Any, x: tf.Tensor, batch: int) -> tf.Tensor:
    """Patches laid out as images: [batch, size, size, numbers of a pixel]."""
    stride = math.prod(sizes.strides)
    side = sizes.size // stride
    return tf.nn.depth_to_space(tf.reshape(x, (batch, side, side, -1)), stride)


def as_means(sizes: Any) -> np.ndarray:
    """The matrix [3, outputs] that adds pixels to the means of a mixture.

    It subtracts what the initial coefficients let one channel add to the next.
    """
    of_red, of_both, by_green = np.tanh(INITIAL_COEFFICIENTS)
    own = [[1, -of_red, -of_both], [0, 1, -by_green], [0, 0, 1]]
    means = np.repeat(np.array(own, np.float32), sizes.num_mixtures, 1)
    before, after = np.zeros((2, 3, 6 * sizes.num_mixtures), np.float32)
    before = before[:, : sizes.num_mixtures]
    return np.concatenate([before, means, after], 1)


def residuals(w: Weights, sizes: Any, name: str, x: tf.Tensor) -> tf.Tensor:
    """The residual layers after a convolution, of two convolutions each.

    x: [batch, rows, columns, channels], the shape of the result too.
    """
    for number in range(sizes.residual_layers[int(name[-1])]):
        own = f"{name}/residual{number}"
        y = tf.nn.conv2d(tf.nn.relu(x), w[f"{own}/first/filter"], 1, "SAME")
        y = tf.nn.relu(tf.nn.bias_add(y, w[f"{own}/first/bias"]))
        y = tf.nn.conv2d(y, w[f"{own}/second/filter"], 1, "SAME")
        x = x + tf.nn.bias_add(y, w[f"{own}/second/bias"])
    return x


def sampled_responsibilities(squares: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The frequencies of sampled codes with odds exp(-distance): [vectors, codes].

    squares: [vectors, codes]; uniform: [vectors, samples].
    """
    vectors, samples = uniform.shape
    below = tf.cumsum(tf.nn.softmax(-squares), -1)
    drawn = tf.searchsorted(below / below[:, -1:], uniform, side="right")
    rows = tf.repeat(tf.range(vectors), samples)
    places = tf.stack([rows, tf.reshape(drawn, (-1,))], -1)
    ones = tf.fill((vectors * samples,), 1 / samples)
    return tf.scatter_nd(places, ones, squares.shape)


def initial_outputs(mixtures: int) -> np.ndarray:
    """Constants added to a pixel's outputs: [10 mixtures]."""
    log_scales = np.full(3 * mixtures, INITIAL_LOG_SCALE)
    coefficients = np.repeat(INITIAL_COEFFICIENTS, mixtures)
    parts = [np.zeros(4 * mixtures), log_scales, coefficients]
    return np.concatenate(parts).astype(np.float32)


def pixel_nats(sizes: Any, outputs: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Each image's nats given its codes: [batch].

    outputs: [batch, size, size, outputs].
    """
    batch, places = image.shape[0], sizes.size**2
    if sizes.likelihood == "categorical":
        logits = tf.reshape(outputs, (batch, places * 3, sizes.num_values))
        return transformer.categorical_nats(logits, image)
    mixtures = sizes.num_mixtures
    outputs += initial_outputs(mixtures)
    outputs = tf.reshape(outputs, (batch, places, 10 * mixtures))
    return transformer.dmol_nats(outputs, image)


def prior_nats(w: Weights, sizes: Any, codebook: Any, codes: tf.Tensor) -> tf.Tensor:
    """The nats of each image's codes, [batch], by an Image Transformer.

    codes: [batch, codes of an image].
    """
    own, prior = below(w, "prior"), transformer_sizes.of_prior(sizes)
    length = codes.shape[1]
    rows = codes + codebook.num_codes * (
        np.arange(length, dtype=np.int32) % sizes.codes_per_position
    )
    x = tf.gather(own["embedding"], rows[:, :-1]) * math.sqrt(prior.hidden)
    x = transformer.layers(own, x, prior)
    logits = transformer.dense(x, own["outputs"], own["outputs_bias"])
    return transformer.categorical_nats(logits, codes)
