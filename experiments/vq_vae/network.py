"""The layers of the vector-quantised autoencoder: encoder, decoder, prior's sizes.

Tran et al. (2018), section 4.1: convolutions down to positions with several codes each,
and transposed convolutions back up.  The paper names four convolutions of stride 2,
which take 64 x 64 pixels to 4 x 4 positions, and it also names 8 x 8 positions.
`strides` selects the reading: (2, 2, 2, 1), the default, keeps four convolutions and
the 8 x 8 x 10 codes, and so the bits of the codes; (2, 2, 2, 2) keeps the strides and
has 4 x 4 positions (with 40 codes each, the same number of codes).
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.image_transformer import likelihood
from experiments.image_transformer import network as transformer
from experiments.image_transformer import program as transformer_program
from experiments.image_transformer.likelihood import CHANNELS, OUTPUTS_PER_COMPONENT
from experiments.training.checks import check_choice, check_count, check_counts
from experiments.training.model import Tensors, Weight
from experiments.vq_vae import cosine_basis, quantizer
from experiments.vq_vae.quantizer import Codebook

PRIOR = "prior/"  # before the names of the Image Transformer's weights
# The initial mixture of logistics, when the decoder knows nothing: scales of 6 values
# of 256, green predicted from red and blue from green, as in grey images.
INITIAL_LOG_SCALE = -3.0
INITIAL_COEFFICIENTS = (2.0, 0.0, 2.0)
BIAS_STDDEV = 0.2  # of the last biases: makes the mixture's components differ
LAST_LAYER_GAIN = 0.1  # of the last layer's initial weights


class Sizes(NamedTuple):
    """The model's settings, except those of its codebook."""

    size: int  # side of the image in pixels
    channels: int  # of the convolutions
    strides: tuple[int, ...] = (2, 2, 2, 1)  # of the encoder; the decoder mirrors them
    residual_layers: tuple[int, ...] = (0, 0, 0, 2)  # after each convolution
    kernel_size: int = 5
    # Whether linear maps of a position's cosines are added to the convolutions.  They
    # learn within few steps.
    shortcuts: bool = False
    codes_per_position: int = 10
    likelihood: str = "dmol"  # of a pixel; or "categorical", of each sub-pixel
    num_mixtures: int = 10  # of "dmol"
    num_values: int = 256  # of a sub-pixel
    # The prior trains from this step on; until then all codes are equally likely.
    prior_start: int = 0
    prior_layers: int = 6
    prior_heads: int = 4
    prior_hidden: int = 128
    prior_filter_size: int = 256
    prior_block: int = 128  # codes attend within their block and to the one before

    @property
    def patch_size(self) -> int:
        """The side, in pixels, of a position's patch."""
        return math.prod(self.strides)


def check_sizes(sizes: Sizes, codebook: Codebook) -> None:
    """Raises ValueError for settings that no model can have."""
    quantizer.check(codebook)
    check_choice("likelihood", sizes.likelihood, transformer.LIKELIHOODS)
    positive = ("size", "channels", "kernel_size", "codes_per_position", "num_mixtures")
    check_counts(**{name: getattr(sizes, name) for name in positive})
    check_count("num_values", sizes.num_values, minimum=2)
    check_count("prior_start", sizes.prior_start, minimum=0)
    if not sizes.strides or min(sizes.strides) < 1:
        raise ValueError(f"strides: given {sizes.strides}, wanted some, each from 1")
    numbers = sizes.residual_layers
    if len(numbers) != len(sizes.strides) or min(numbers) < 0:
        raise ValueError(
            f"residual_layers: given {numbers}, wanted a number for each of strides "
            f"{sizes.strides}"
        )
    if sizes.size % sizes.patch_size:
        raise ValueError(
            f"size: given {sizes.size} pixels, wanted a multiple of "
            f"{sizes.patch_size}, the product of strides {sizes.strides}"
        )
    prior_size = sizes.prior_hidden // 2  # of keys and of values
    if sizes.prior_heads > 0 and prior_size % sizes.prior_heads:
        raise ValueError(
            f"prior_hidden: given {sizes.prior_hidden}, wanted twice a multiple of the "
            f"{sizes.prior_heads} heads"
        )
    try:
        transformer.check_sizes(prior_sizes(sizes, codebook))
    except ValueError as error:
        raise ValueError(f"prior_{error}") from error


def code_shape(sizes: Sizes) -> tuple[int, int, int]:
    """An image's rows and columns of positions, and the codes of each position."""
    side = sizes.size // sizes.patch_size
    return side, side, sizes.codes_per_position


def prior_sizes(sizes: Sizes, codebook: Codebook) -> transformer.Sizes:
    """The Image Transformer's sizes: positions are its pixels, codes its channels."""
    rows, columns, codes_per_position = code_shape(sizes)
    return transformer.Sizes(
        height=rows,
        width=columns,
        layers=sizes.prior_layers,
        heads=sizes.prior_heads,
        hidden=sizes.prior_hidden,
        key_size=sizes.prior_hidden // 2,
        value_size=sizes.prior_hidden // 2,
        filter_size=sizes.prior_filter_size,
        block=sizes.prior_block,
        num_values=codebook.num_codes,
        channels=codes_per_position,
    )


def weights(sizes: Sizes, codebook: Codebook) -> dict[str, Weight]:
    """Every trained weight by name.  The codes are state, not weights."""
    channels, kernel = sizes.channels, sizes.kernel_size
    named: dict[str, Weight] = {}

    def add(
        name: str, shape: tuple[int, ...], fan: float, gain: float, bias: float = 0.0
    ) -> None:
        """A filter and its bias; those of a transposed convolution end in (out, in)."""
        named[f"{name}/filter"] = Weight(shape, gain * fan**-0.5)
        outputs = shape[2] if name.startswith("up") and "/" not in name else shape[3]
        named[f"{name}/bias"] = Weight((outputs,), bias)

    def add_residual_layers(name: str, number: int) -> None:
        for layer in range(number):
            prefix = f"{name}/residual{layer}"
            add(f"{prefix}/first", (3, 3, channels, channels), 9 * channels, 2**0.5)
            add(f"{prefix}/second", (1, 1, channels, channels), channels, 0.5)

    in_channels = CHANNELS
    for number, num_layers in enumerate(sizes.residual_layers):
        fan, gain = kernel * kernel * in_channels, 1.0 if number == 0 else 2**0.5
        add(f"down{number}", (kernel, kernel, in_channels, channels), fan, gain)
        add_residual_layers(f"down{number}", num_layers)
        in_channels = channels
    if sizes.shortcuts:
        analysis, _ = _cosines(sizes)
        named["cosines"] = Weight((analysis.shape[2], codebook.code_dim), 1.0)
        outputs = sizes.patch_size**2 * _outputs_per_pixel(sizes)
        named["up"] = Weight((channels, outputs), LAST_LAYER_GAIN * channels**-0.5)
    dim = sizes.codes_per_position * codebook.code_dim
    gain = LAST_LAYER_GAIN if sizes.shortcuts else 1.0
    named["encoded"] = Weight((channels, dim), gain * channels**-0.5)
    named["encoded_bias"] = Weight((dim,))
    named["decoded"] = Weight((dim, channels), dim**-0.5)
    named["decoded_bias"] = Weight((channels,))
    for number, stride in reversed(list(enumerate(sizes.strides))):
        add_residual_layers(f"up{number}", sizes.residual_layers[number])
        # Each output position uses 1 / stride**2 of the filters.
        fan = kernel * kernel * channels / stride**2
        outputs, gain, bias = channels, 2**0.5, 0.0
        if number == 0:
            outputs, gain, bias = (
                _outputs_per_pixel(sizes),
                LAST_LAYER_GAIN,
                BIAS_STDDEV,
            )
        add(f"up{number}", (kernel, kernel, outputs, channels), fan, gain, bias)
    prior = transformer.weights(prior_sizes(sizes, codebook))
    return named | {PRIOR + name: weight for name, weight in prior.items()}


def encode(
    weights: Tensors, sizes: Sizes, codebook: Codebook, image: tf.Tensor
) -> tf.Tensor:
    """The encoder's vectors: [batch, rows, columns, codes per position, dim] float32.

    image: [batch, size, size, 3] int32.
    """
    x = likelihood.rescale(image, sizes.num_values)
    pixels = x = tf.cast(x, weights["encoded"].dtype)
    for number, stride in enumerate(sizes.strides):
        name = f"down{number}"
        x = tf.nn.relu(x) if number else x
        x = tf.nn.conv2d(x, weights[f"{name}/filter"], stride, "SAME")
        x = tf.nn.bias_add(x, weights[f"{name}/bias"])
        x = _residual_layers(weights, name, sizes.residual_layers[number], x)
    x = tf.reshape(x, (-1, sizes.channels))
    x = tf.nn.bias_add(tf.matmul(x, weights["encoded"]), weights["encoded_bias"])
    x = tf.reshape(x, (-1, sizes.codes_per_position, codebook.code_dim))
    if sizes.shortcuts:
        analysis, _ = _cosines(sizes)
        patches = tf.nn.space_to_depth(pixels, sizes.patch_size)
        patches = tf.reshape(patches, (-1, analysis.shape[1]))
        amplitudes = tf.matmul(patches, tf.cast(analysis, x.dtype))
        amplitudes = tf.transpose(amplitudes, (1, 0, 2))
        # One matrix for all codes of a position, so that these share the codebook.
        x += tf.tensordot(amplitudes, weights["cosines"], 1)
    x = tf.reshape(x, (image.shape[0], *code_shape(sizes), codebook.code_dim))
    return tf.cast(x, tf.float32)


def decode(weights: Tensors, sizes: Sizes, vectors: tf.Tensor) -> tf.Tensor:
    """The parameters of the pixels' distributions, float32.

    [batch, size, size, outputs] for mixtures; [batch, size, size, 3, values] logits for
    "categorical".

    vectors: [batch, rows, columns, codes per position, dim].
    """
    batch, rows, columns, codes_per_position, dim = vectors.shape
    x = tf.cast(vectors, weights["decoded"].dtype)
    x = tf.matmul(tf.reshape(x, (-1, codes_per_position * dim)), weights["decoded"])
    x = tf.nn.bias_add(x, weights["decoded_bias"])
    hidden = x
    x = tf.reshape(x, (batch, rows, columns, sizes.channels))
    for number in reversed(range(len(sizes.strides))):
        name, stride = f"up{number}", sizes.strides[number]
        num_layers = sizes.residual_layers[number]
        x = tf.nn.relu(_residual_layers(weights, name, num_layers, x))
        filters = weights[f"{name}/filter"]
        rows, columns = stride * rows, stride * columns
        shape = (batch, rows, columns, filters.shape[2])
        x = tf.nn.conv2d_transpose(x, filters, shape, stride, "SAME")
        x = tf.nn.bias_add(x, weights[f"{name}/bias"])
    if sizes.shortcuts:
        x += _to_pixels(sizes, tf.matmul(hidden, weights["up"]), batch)
    x = tf.cast(x, tf.float32)
    if sizes.likelihood == "categorical":
        return tf.reshape(x, (batch, rows, columns, CHANNELS, sizes.num_values))
    if sizes.shortcuts:
        pixels = _inverse_cosines(weights, sizes, vectors)
        x += tf.tensordot(pixels, _as_means(sizes), 1)
    return x + _initial_outputs(sizes.num_mixtures)


def flops(sizes: Sizes, codebook: Codebook) -> int:
    """Operations in an image's convolutions and products, forward and backward.

    The distances, the weighted means of codes and the sums of the M-step have no
    backward pass.  The prior counts only if it trains from the first step.
    """
    channels, taps = sizes.channels, sizes.kernel_size**2
    side, in_channels = sizes.size, CHANNELS
    outputs = _outputs_per_pixel(sizes)
    forward = 0  # multiply-adds
    for number, stride in enumerate(sizes.strides):
        side //= stride
        both_ways = in_channels + (channels if number else outputs)  # down and up again
        forward += side**2 * taps * channels * both_ways
        forward += 2 * sizes.residual_layers[number] * side**2 * 10 * channels**2
        in_channels = channels
    codes = sizes.codes_per_position
    if sizes.shortcuts:
        patch = sizes.patch_size**2 * CHANNELS
        forward += 2 * side**2 * (patch // codes) * codes * codebook.code_dim
        forward += sizes.size**2 * channels * outputs
    num_codes = side**2 * codes
    forward += 2 * num_codes * codebook.code_dim * channels
    em = num_codes * codebook.num_codes * codebook.code_dim
    total = 3 * 2 * forward + 3 * 2 * em
    if sizes.prior_start == 0:
        total += transformer_program.flops(prior_sizes(sizes, codebook))
    return total


def _cosines(sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    return cosine_basis.transforms(sizes.patch_size, sizes.codes_per_position)


def _to_pixels(sizes: Sizes, x: tf.Tensor, batch: int) -> tf.Tensor:
    """Patches [positions, numbers] laid out as images: [batch, size, size, numbers]."""
    rows, columns, _ = code_shape(sizes)
    return tf.nn.depth_to_space(
        tf.reshape(x, (batch, rows, columns, -1)), sizes.patch_size
    )


def _inverse_cosines(weights: Tensors, sizes: Sizes, vectors: tf.Tensor) -> tf.Tensor:
    """An approximate inverse of the encoder's shortcuts: [batch, size, size, 3].

    It multiplies by the transpose of the encoder's matrix, whose initial rows are
    random and so nearly orthogonal.
    """
    _, synthesis = _cosines(sizes)
    synthesis = synthesis.reshape(-1, synthesis.shape[-1])
    dim = vectors.shape[-1]
    matrix = tf.cast(weights["cosines"], tf.float32)
    flat = tf.reshape(vectors, (-1, dim))
    amplitudes = tf.matmul(flat, matrix, transpose_b=True) / dim
    patches = tf.matmul(tf.reshape(amplitudes, (-1, len(synthesis))), synthesis)
    return _to_pixels(sizes, patches, vectors.shape[0])


def _as_means(sizes: Sizes) -> np.ndarray:
    """The matrix [3, outputs] that adds pixels to the means of a mixture.

    It subtracts what the initial coefficients let one channel add to the next.
    """
    green_by_red, blue_by_red, blue_by_green = np.tanh(INITIAL_COEFFICIENTS)
    channels = np.array(
        [[1, -green_by_red, -blue_by_red], [0, 1, -blue_by_green], [0, 0, 1]]
    )
    mixtures = sizes.num_mixtures
    matrix = np.zeros((CHANNELS, OUTPUTS_PER_COMPONENT * mixtures), np.float32)
    matrix[:, mixtures : 4 * mixtures] = np.repeat(channels, mixtures, 1)
    return matrix


def _residual_layers(
    weights: Tensors, name: str, number: int, x: tf.Tensor
) -> tf.Tensor:
    """`number` residual layers of two convolutions each.

    x: [batch, rows, columns, channels], the shape of the result too.
    """
    for layer in range(number):
        y = x
        for part in ("first", "second"):
            prefix = f"{name}/residual{layer}/{part}"
            y = tf.nn.conv2d(tf.nn.relu(y), weights[f"{prefix}/filter"], 1, "SAME")
            y = tf.nn.bias_add(y, weights[f"{prefix}/bias"])
        x = x + y
    return x


def _outputs_per_pixel(sizes: Sizes) -> int:
    if sizes.likelihood == "dmol":
        return OUTPUTS_PER_COMPONENT * sizes.num_mixtures
    return CHANNELS * sizes.num_values


def _initial_outputs(mixtures: int) -> np.ndarray:
    """Constants added to a pixel's outputs, [10 mixtures]: see `MixtureOfLogistics`."""
    log_scales = np.full(CHANNELS * mixtures, INITIAL_LOG_SCALE)
    coefficients = np.repeat(INITIAL_COEFFICIENTS, mixtures)
    parts = [np.zeros((1 + CHANNELS) * mixtures), log_scales, coefficients]
    return np.concatenate(parts).astype(np.float32)
