"""The PixelCNN is autoregressive, sees all of its window, and is of its size."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from experiments import image_transformer
from experiments.baselines.image_transformer import pixelcnn
from experiments.bench import counting
from experiments.training.model import initial_weight
from experiments.training.prng import BatchRng

REPO = Path(__file__).resolve().parents[4]
HEIGHT, WIDTH, LAYERS = 7, 9, 2
MODEL = pixelcnn.model(
    height=HEIGHT, width=WIDTH, layers=LAYERS, channels=16, num_mixtures=2
)
RANDOM = BatchRng(tf.constant([0, 0]), tf.constant(0))


def drawn(model):
    return {
        name: tf.constant(initial_weight(weight, name, 5))
        for name, weight in model.weights.items()
    }


def pictures(number=2):
    shape = (number, HEIGHT, WIDTH, 3)
    return np.random.default_rng(1).integers(0, 256, shape, np.int32)


def seen_from(row, column):
    """What a pixel's outputs depend on: [height, width]."""
    r, c = np.mgrid[:HEIGHT, :WIDTH]
    up, aside = row - r, np.abs(column - c)
    # The last layer's above stack hands down what is one row up or more.
    above = (up >= 1) & (up <= pixelcnn.FIRST + LAYERS - 1)
    left = (up == 0) & (c < column) & (column - c <= pixelcnn.FIRST + LAYERS - 1)
    return (above & (aside <= pixelcnn.FIRST + LAYERS - 2)) | left


@pytest.mark.parametrize("place", [(0, 0), (0, 8), (3, 0), (3, 4), (6, 8)])
def test_a_change_to_a_pixel_moves_what_comes_later_in_its_window_and_nothing_else(
    place,
):
    weights = drawn(MODEL)
    image = pictures(1)
    before = pixelcnn.outputs(weights, tf.constant(image)).numpy()
    image[0, *place] = 255 - image[0, *place]
    after = pixelcnn.outputs(weights, tf.constant(image)).numpy()
    moved = (before != after).any(-1)[0]
    wanted = np.array(
        [[seen_from(r, c)[place] for c in range(WIDTH)] for r in range(HEIGHT)]
    )
    np.testing.assert_array_equal(moved, wanted)


def test_the_loss_is_that_of_the_pixels_one_by_one():
    weights, image = drawn(MODEL), pictures()
    nats, more = MODEL.loss(weights, {"image": tf.constant(image)}, RANDOM)
    each = pixelcnn.MixtureOfLogistics(pixelcnn.outputs(weights, tf.constant(image)))
    summed = each.log_prob(tf.constant(image)).numpy().reshape(2, -1).sum(1)
    np.testing.assert_allclose(nats, -summed, rtol=1e-5)
    assert not more and MODEL.dims_per_example == HEIGHT * WIDTH * 3


def test_operations_are_those_of_the_graph_but_for_the_gradient_of_the_image():
    @tf.function
    def gradients(weights, image):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            nats, _ = MODEL.loss(weights, {"image": image}, RANDOM)
            loss = tf.reduce_mean(nats)
        return tape.gradient(loss, list(weights.values()))

    specs = {n: tf.TensorSpec(w.shape) for n, w in MODEL.weights.items()}
    image = tf.TensorSpec([1, HEIGHT, WIDTH, 3], tf.int32)
    graph = gradients.get_concrete_function(specs, image).graph
    found = counting.graph_flops(graph)
    # Nobody asks for the gradient of what the first layer is given.
    first = sum(
        math.prod(MODEL.weights[f"layer0/{part}/kernel"].shape)
        for part in ("above", "left")
    )
    left_out = 2 * HEIGHT * WIDTH * first
    assert found == MODEL.flops_per_example - left_out


def test_it_is_as_large_as_the_image_transformer_it_stands_beside():
    def bindings(name):
        text = (REPO / "configs" / "image_transformer" / f"{name}.gin").read_text()
        return {
            key: int(value)
            for key, value in re.findall(r"^ *(\w+) = (\d+)", text, re.MULTILINE)
        }

    ours, other = bindings("natural_crops32"), bindings("pixelcnn32")
    names = "layers heads key_size value_size filter_size block num_mixtures".split()
    sizes = image_transformer.Sizes(
        height=ours["SIZE"],
        width=ours["SIZE"],
        hidden=ours["HIDDEN"],
        likelihood="dmol",
        **{name: ours[name] for name in names},
    )
    wanted = image_transformer.image_transformer(**sizes._asdict()).weights
    given = pixelcnn.weights(other["layers"], other["channels"], ours["num_mixtures"])
    counts = [
        sum(math.prod(weight.shape) for weight in weights.values())
        for weights in (given, wanted)
    ]
    assert abs(counts[0] / counts[1] - 1) < 0.1, counts


def test_sizes_and_images_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="layers: given 0"):
        pixelcnn.model(height=4, width=4, layers=0, channels=4)
    with pytest.raises(ValueError, match="image: given"):
        MODEL.loss(drawn(MODEL), {"image": tf.zeros([1, 4, 4, 3], tf.int32)}, RANDOM)
