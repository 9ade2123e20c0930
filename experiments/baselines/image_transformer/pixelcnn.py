"""A gated PixelCNN with the Image Transformer's mixture of logistics for each pixel.

A convolutional baseline: van den Oord et al. (2016), Conditional Image Generation with
PixelCNN Decoders, section 2.  Whole pixels are generated in raster order, as in
Salimans et al. (2017), PixelCNN++.
"""

import math

import tensorflow as tf

from experiments.image_transformer.likelihood import (
    CHANNELS,
    OUTPUTS_PER_COMPONENT,
    MixtureOfLogistics,
    rescale,
)
from experiments.training.checks import check_count
from experiments.training.model import Model, Tensors, Weight
from experiments.training.prng import BatchRng

FIRST = 4  # rows and columns that the kernel of the first layer reaches back
LATER = 2  # and those of later layers, with the pixel's own row or column
NUM_VALUES = 256


def model(
    *, height: int, width: int, layers: int, channels: int, num_mixtures: int = 10
) -> Model:
    """The trainable PixelCNN of these sizes.

    Batches are {"image": [batch, height, width, 3] int32 of 0 to 255}.

    A layer has a vertical stack, which sees the rows above, and a horizontal stack,
    which sees the pixels to the left and the output of the vertical stack.  Each layer
    widens the receptive field by one.

    Raises ValueError for a size below 1.
    """
    sizes = {"height": height, "width": width, "layers": layers}
    sizes |= {"channels": channels, "num_mixtures": num_mixtures}
    for name, size in sizes.items():
        check_count(name, size)
    specs = weights(layers, channels, num_mixtures)

    def loss(
        weights: Tensors, batch: Tensors, random: BatchRng
    ) -> tuple[tf.Tensor, Tensors]:
        image = batch["image"]  # [batch, height, width, 3]
        given, wanted = list(image.shape[1:]), [height, width, CHANNELS]
        if given != wanted:
            raise ValueError(f"image: given {given}, wanted {wanted}")
        pixels = MixtureOfLogistics(outputs(weights, image), NUM_VALUES)
        return -tf.reduce_sum(pixels.log_prob(image), (1, 2)), {}

    kernels = sum(math.prod(w.shape) for w in specs.values() if len(w.shape) == 4)
    return Model(
        name=f"pixelcnn({height}x{width}, {layers} layers of {channels}, dmol)",
        weights=specs,
        loss=loss,
        dims_per_example=height * width * CHANNELS,
        sharding_rules=tuple((n, (None,) * len(w.shape)) for n, w in specs.items()),
        # A weight of a kernel has one multiplication a pixel forward, two backward.
        flops_per_example=3 * 2 * height * width * kernels,
    )


def weights(layers: int, channels: int, num_mixtures: int) -> dict[str, Weight]:
    """Every weight by name: kernels [rows, columns, inward, outward], and biases."""
    specs: dict[str, Weight] = {}

    def convolution(
        name: str, rows: int, columns: int, inward: int, outward: int, gain: float = 1.0
    ) -> None:
        deviation = gain * (rows * columns * inward) ** -0.5
        specs[f"{name}/kernel"] = Weight((rows, columns, inward, outward), deviation)
        specs[f"{name}/bias"] = Weight((outward,))

    for number in range(layers):
        name, back = f"layer{number}", LATER if number else FIRST
        inward = channels if number else CHANNELS
        convolution(f"{name}/above", back, 2 * back - 1, inward, 2 * channels)
        convolution(f"{name}/left", 1, back, inward, 2 * channels)
        convolution(f"{name}/down", 1, 1, 2 * channels, 2 * channels)
        convolution(f"{name}/out", 1, 1, channels, channels)
    convolution("hidden", 1, 1, channels, channels)
    # Small at first, as the Image Transformer's are.
    num_outputs = OUTPUTS_PER_COMPONENT * num_mixtures
    convolution("outputs", 1, 1, channels, num_outputs, gain=0.2)
    return specs


def outputs(weights: Tensors, image: tf.Tensor) -> tf.Tensor:
    """Each pixel's mixture given the pixels before it: [batch, height, width, outputs].

    image: [batch, height, width, 3] of 0 to 255.
    """
    x = rescale(image, NUM_VALUES)
    # The inputs of a pixel: the rows above, and the pixels to its left.
    above = tf.pad(x[:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0]])
    left = tf.pad(x[:, :, :-1], [[0, 0], [0, 0], [1, 0], [0, 0]])
    number = 0
    while f"layer{number}/out/kernel" in weights:
        name = f"layer{number}"
        from_above = _convolved(weights, f"{name}/above", above)
        from_left = _convolved(weights, f"{name}/left", left)
        from_left += _convolved(weights, f"{name}/down", from_above)
        new_above = _gated(from_above)
        new_left = _convolved(weights, f"{name}/out", _gated(from_left))
        above = new_above if number == 0 else above + new_above
        left = new_left if number == 0 else left + new_left
        number += 1
    x = tf.nn.relu(_convolved(weights, "hidden", tf.nn.relu(left)))
    return tf.cast(_convolved(weights, "outputs", x), tf.float32)


def _convolved(weights: Tensors, name: str, x: tf.Tensor) -> tf.Tensor:
    """A causal convolution: over rows up to the pixel's, and columns up to it.

    A kernel of several rows is symmetric in columns, since its input has rows above
    only.
    """
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    rows, columns = kernel.shape[:2]
    beside = columns // 2 if rows > 1 else columns - 1
    after = columns - 1 - beside
    padding = [[0, 0], [rows - 1, 0], [beside, after], [0, 0]]
    x = tf.pad(tf.cast(x, kernel.dtype), padding)
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)


def _gated(x: tf.Tensor) -> tf.Tensor:
    signal, gate = tf.split(x, 2, -1)
    return tf.tanh(signal) * tf.sigmoid(gate)
