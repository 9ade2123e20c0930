"""The probabilistic program: an image's values, drawn in order.

Tran et al. (2018), section 3.1 and figure 9; Parmar et al. (2018), Image Transformer.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.image_transformer import attention, likelihood, network
from experiments.image_transformer.network import Sizes
from experiments.training.model import Model, Tensors
from experiments.training.prng import BatchRng, bits

tfd = tfp.distributions
# (sizes, weights, num_images, seed) -> values in the order of generation,
# [num_images, positions, values] int32.
Sampler = Callable[[Sizes, Tensors, int, tf.Tensor], tf.Tensor]


class AutoregressiveImage(likelihood.WholeNumbers):
    """An image whose positions are drawn in order, each given those before it.

    Event [height, width, channels], int32.  The log prob is one pass over all
    positions; sampling is serial.
    """

    def __init__(
        self,
        sizes: Sizes,
        conditional: Callable[[tf.Tensor], tfd.Distribution],
        draw: Callable[[int, tf.Tensor], tf.Tensor],
        name: str = "AutoregressiveImage",
    ) -> None:
        """Values are [batch, positions, values] in the order of generation.

        conditional: from the values, the distribution of each position given those
          before it.
        draw: from a number of images and a seed, their values.
        """
        parameters = dict(locals())
        self._sizes, self._conditional, self._draw = sizes, conditional, draw
        event_shape = [sizes.height, sizes.width, sizes.channels]
        super().__init__(event_shape, parameters, name)

    def position_log_probs(self, image: tf.Tensor) -> tf.Tensor:
        """The log prob of each position, in generation order: [batch, positions]."""
        values = network.to_generation_order(self._sizes, image)
        drawn = values[..., 0] if values.shape[-1] == 1 else values
        return self._conditional(values).log_prob(drawn)

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)

    def _log_prob(self, image: tf.Tensor) -> tf.Tensor:
        if image.shape.rank == 4:
            return tf.reduce_sum(self.position_log_probs(image), -1)
        flat = tf.reshape(image, (-1, *self.event_shape))
        log_probs = tf.reduce_sum(self.position_log_probs(flat), -1)
        return tf.reshape(log_probs, tf.shape(image)[:-3])

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        seed = tfp.random.sanitize_seed(seed, salt="AutoregressiveImage")
        num_images = int(tf.get_static_value(n))
        return network.to_image(self._sizes, self._draw(num_images, seed))


autoregressive_image = ppl.make_random_variable(AutoregressiveImage)


def image_given_weights(
    weights: Tensors,
    sizes: Sizes,
    num_images: int,
    rng: BatchRng | None = None,
    draw: Sampler | None = None,
    name: str = "image",
) -> ppl.RandomVariable:
    """p(image | weights): the model of the paper's section 3.1, as a program.

    Its value is [num_images, height, width, channels] int32.

    weights: by name, of the shapes of `network.weights`.
    rng: of dropout; None: no dropout.
    draw: samples the values; None: `sample_naively`.
    """

    def conditional(values: tf.Tensor) -> tfd.Distribution:
        outputs = network.forward(sizes, weights, values, rng)
        if sizes.likelihood == "dmol":
            return likelihood.MixtureOfLogistics(outputs, sizes.num_values)
        return tfd.Categorical(outputs)

    return autoregressive_image(
        sizes,
        conditional,
        functools.partial(draw or sample_naively, sizes, weights),
        sample_shape=num_images,
        name=name,
    )


def sample_values(
    sizes: Sizes, outputs: tf.Tensor, rng: BatchRng, temperature: float = 1.0
) -> tf.Tensor:
    """The values of a position from its [batch, outputs]: [batch, values] int32."""
    if sizes.likelihood == "dmol":
        return likelihood.sample_mixture(outputs, rng, temperature, sizes.num_values)
    return likelihood.sample_categorical(outputs, rng, temperature)


def rng_at(seed: tf.Tensor, step: tf.Tensor) -> BatchRng:
    """The random numbers of one step of generation: of seed and step alone."""
    words = bits(BatchRng(seed, step), "place", (1, 2))
    return BatchRng(tf.bitcast(words[0], tf.int32), tf.constant(0))


def sample_naively(
    sizes: Sizes,
    weights: Tensors,
    num_images: int,
    seed: tf.Tensor,
    temperature: float = 1.0,
) -> tf.Tensor:
    """Values in the order of generation, [num_images, positions, values] int32.

    Recomputes all outputs for each position.  Every sampler must equal it.
    """
    rows, columns, depth = network.position_shape(sizes)
    shape = (num_images, rows * columns, depth)

    def body(step: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = network.forward(sizes, weights, values)[:, step]
        sample = sample_values(sizes, outputs, rng_at(seed, step), temperature)
        one_hot = tf.one_hot(step, shape[1], dtype=tf.int32)[:, tf.newaxis]
        return step + 1, values + sample[:, tf.newaxis] * one_hot

    _, values = tf.while_loop(
        lambda step, _: step < shape[1],
        body,
        (tf.constant(0), tf.zeros(shape, tf.int32)),
        parallel_iterations=1,
        maximum_iterations=shape[1],
    )
    return values


def model(sizes: Sizes) -> Model:
    """The trainable model of these sizes; see `image_transformer`.

    Raises ValueError, naming the field, for sizes that define no model.
    """
    network.check_sizes(sizes)
    log_likelihood = functools.partial(ppl.make_log_likelihood_fn, image_given_weights)

    def loss(
        weights: Tensors, batch: Tensors, rng: BatchRng
    ) -> tuple[tf.Tensor, Tensors]:
        image = batch["image"]  # [batch, height, width, channels]
        shape = [sizes.height, sizes.width, sizes.channels]
        if list(image.shape[1:]) != shape:
            raise ValueError(f"image: given {list(image.shape[1:])}, wanted {shape}")
        log_prob = log_likelihood(observed={"image": image})
        return -log_prob(weights, sizes, image.shape[0], rng)["image"], {}

    flange = "" if sizes.flange is None else f" within {sizes.flange}"
    kind = f"{sizes.attention} {sizes.block}{flange}, {sizes.positions} positions, "
    # In the name, so that no checkpoint of another rate is resumed.
    kind += sizes.likelihood + (f", dropout {sizes.dropout}" if sizes.dropout else "")
    return Model(
        name=(
            f"image_transformer({sizes.height}x{sizes.width}, {sizes.layers} layers of "
            f"{sizes.hidden}/{sizes.heads}/{sizes.filter_size}, {kind})"
        ),
        weights=network.weights(sizes),
        loss=loss,
        dims_per_example=sizes.height * sizes.width * sizes.channels,
        sharding_rules=network.RULES,
        flops_per_example=flops(sizes),
    )


def flops(sizes: Sizes) -> int:
    """Operations in an image's matrix products, forward and backward.

    Counted as in Chowdhery et al. (2022), PaLM, appendix B: without recomputation,
    embedding look-up and the merging of channels.  A query counts with all keys of its
    block and memory, masked ones too, but not with padding.
    """
    layout = network.blocks(sizes)
    layer = 2 * (sizes.key_size + sizes.value_size + sizes.filter_size)
    dense = sizes.layers * layer + network.num_outputs(sizes)
    inside = layout.position_at.reshape(layout.num_blocks, -1) >= 0
    queries = inside.sum(1)  # [blocks]
    pairs = int(queries @ attention.key_mask(layout).sum(1))
    attended = sizes.layers * pairs * (sizes.key_size + sizes.value_size)
    forward = len(layout.order) * dense * sizes.hidden + attended  # multiply-adds
    return 3 * 2 * forward


def image_transformer(**sizes: Any) -> Model:
    """The trainable Image Transformer of these `Sizes`.

    Batches are {"image": [batch, height, width, channels] int32 from 0 to 255}.  The
    loss is the nats of all sub-pixels of an image.
    """
    return model(Sizes(**sizes))
