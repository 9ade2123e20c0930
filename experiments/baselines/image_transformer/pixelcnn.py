"""A gated PixelCNN with the Image Transformer's mixture of logistics for each pixel.

What convolutions that see as little at a time learn in as many steps: van den Oord et
al. (2016), Conditional Image Generation with PixelCNN Decoders, section 2.  Pixels are
generated whole, row after row, as Salimans et al. (2017), PixelCNN++, do.
"""

import tensorflow as tf

from experiments.image_transformer.likelihood import (
    CHANNELS,
    OUTPUTS_PER_COMPONENT,
    MixtureOfLogistics,
    rescale,
)
from experiments.training.model import Model, Tensors, Weight
from experiments.training.prng import BatchRng

FIRST = 4  # rows and columns back that the first layer sees
LATER = 2  # and each of the later ones, the row or column itself included
NUM_VALUES = 256


def model(
    *, height: int, width: int, layers: int, channels: int, num_mixtures: int = 10
) -> Model:
    """The PixelCNN of these sizes, to be trained.

    Batches are {"image": [batch, height, width, 3] int32 of 0 to 255}.

    A layer has a stack that sees the rows above, and one that sees what stands to the
    left and, of the first stack, what is above: together every pixel before, in a
    window that each layer widens by one.

    Raises ValueError for sizes that no model can be made of.
    """
    for name, given in {
        "height": height,
        "width": width,
        "layers": layers,
        "channels": channels,
        "num_mixtures": num_mixtures,
    }.items():
        if given < 1:
            raise ValueError(f"{name}: given {given}, wanted 1 or more")
    held = weights(layers, channels, num_mixtures)

    def loss(
        weights: Tensors, batch: Tensors, random: BatchRng
    ) -> tuple[tf.Tensor, Tensors]:
        image = batch["image"]  # [batch, height, width, 3]
        if tuple(image.shape[1:]) != (height, width, CHANNELS):
            raise ValueError(
                f"image: given {list(image.shape[1:])}, "
                f"wanted {[height, width, CHANNELS]}"
            )
        pixels = MixtureOfLogistics(outputs(weights, image), NUM_VALUES)
        return -tf.reduce_sum(pixels.log_prob(image), (1, 2)), {}

    kernels = sum(_size(w) for w in held.values() if len(w.shape) == 4)
    return Model(
        name=f"pixelcnn({height}x{width}, {layers} layers of {channels}, dmol)",
        weights=held,
        loss=loss,
        dims_per_example=height * width * CHANNELS,
        sharding_rules=tuple(
            (name, (None,) * len(w.shape)) for name, w in held.items()
        ),
        # Each weight of a kernel multiplies once a pixel, forward, and twice backward.
        flops_per_example=3 * 2 * height * width * kernels,
    )


def weights(layers: int, channels: int, num_mixtures: int) -> dict[str, Weight]:
    """Every weight by name: kernels [rows, columns, inward, outward], and biases."""
    made: dict[str, Weight] = {}

    def convolution(
        name: str, rows: int, columns: int, inward: int, outward: int, gain: float = 1.0
    ) -> None:
        deviation = gain * (rows * columns * inward) ** -0.5
        made[f"{name}/kernel"] = Weight((rows, columns, inward, outward), deviation)
        made[f"{name}/bias"] = Weight((outward,))

    for number in range(layers):
        name, back = f"layer{number}", LATER if number else FIRST
        inward = channels if number else CHANNELS
        convolution(f"{name}/above", back, 2 * back - 1, inward, 2 * channels)
        convolution(f"{name}/left", 1, back, inward, 2 * channels)
        convolution(f"{name}/down", 1, 1, 2 * channels, 2 * channels)
        convolution(f"{name}/out", 1, 1, channels, channels)
    convolution("hidden", 1, 1, channels, channels)
    # Small at first, as the Image Transformer's are.
    convolution(
        "outputs", 1, 1, channels, OUTPUTS_PER_COMPONENT * num_mixtures, gain=0.2
    )
    return made


def outputs(weights: Tensors, image: tf.Tensor) -> tf.Tensor:
    """Each pixel's mixture given the pixels before it: [batch, height, width, outputs].

    image: [batch, height, width, 3] of 0 to 255.
    """
    x = rescale(image, NUM_VALUES)
    # What a pixel gets is the row above's, and what stands left of it.
    above = tf.pad(x[:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0]])
    left = tf.pad(x[:, :, :-1], [[0, 0], [0, 0], [1, 0], [0, 0]])
    number = 0
    while f"layer{number}/out/kernel" in weights:
        name = f"layer{number}"
        from_above = _convolved(weights, f"{name}/above", above)
        from_left = _convolved(weights, f"{name}/left", left)
        from_left += _convolved(weights, f"{name}/down", from_above)
        found_above = _gated(from_above)
        found_left = _convolved(weights, f"{name}/out", _gated(from_left))
        above = found_above if number == 0 else above + found_above
        left = found_left if number == 0 else left + found_left
        number += 1
    x = tf.nn.relu(_convolved(weights, "hidden", tf.nn.relu(left)))
    return tf.cast(_convolved(weights, "outputs", x), tf.float32)


def _convolved(weights: Tensors, name: str, x: tf.Tensor) -> tf.Tensor:
    """Over the rows up to each pixel's, and of its own the columns up to it.

    A kernel of several rows sees as many columns to the right as to the left: what it
    is given are rows above alone.
    """
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    rows, columns = kernel.shape[:2]
    beside = columns // 2 if rows > 1 else columns - 1
    after = columns - 1 - beside
    x = tf.pad(
        tf.cast(x, kernel.dtype), [[0, 0], [rows - 1, 0], [beside, after], [0, 0]]
    )
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)


def _gated(x: tf.Tensor) -> tf.Tensor:
    signal, gate = tf.split(x, 2, -1)
    return tf.tanh(signal) * tf.sigmoid(gate)


def _size(weight: Weight) -> int:
    size = 1
    for extent in weight.shape:
        size *= extent
    return size
