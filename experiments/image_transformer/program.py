"""What is believed: an image's values, one after another, by the Image Transformer.

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
# (sizes, weights, number, seed) -> so many images' values, [number, positions, values]
# int32 in the order of generation.
Sampler = Callable[[Sizes, Tensors, int, tf.Tensor], tf.Tensor]


class AutoregressiveImage(tfd.Distribution):
    """An image whose positions are drawn in order, each given those before it.

    Event [height, width, channels], int32.  Its log prob is one pass over all
    positions; its draws are serial.
    """

    def __init__(
        self,
        sizes: Sizes,
        given: Callable[[tf.Tensor], tfd.Distribution],
        draw: Callable[[int, tf.Tensor], tf.Tensor],
        name: str = "AutoregressiveImage",
    ) -> None:
        """given: of the values [batch, positions, values] in the order of generation,
          each position's distribution, which does not change with it or later ones.
        draw: of a number and a seed, so many images' values, in that order too.
        """
        parameters = dict(locals())
        self._sizes, self._given, self._draw = sizes, given, draw
        super().__init__(
            dtype=tf.int32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def position_log_probs(self, image: tf.Tensor) -> tf.Tensor:
        """Of each position, as they are generated: [batch, positions]."""
        values = network.to_generation_order(self._sizes, image)
        one_each = values.shape[-1] == 1
        return self._given(values).log_prob(values[..., 0] if one_each else values)

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        sizes = self._sizes
        return tf.TensorShape([sizes.height, sizes.width, sizes.channels])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._event_shape().as_list())

    def _log_prob(self, image: tf.Tensor) -> tf.Tensor:
        if image.shape.rank == 4:
            return tf.reduce_sum(self.position_log_probs(image), -1)
        flat = tf.reshape(image, (-1, *self.event_shape))
        log_probs = tf.reduce_sum(self.position_log_probs(flat), -1)
        return tf.reshape(log_probs, tf.shape(image)[:-3])

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        seed = tfp.random.sanitize_seed(seed, salt="AutoregressiveImage")
        number = tf.get_static_value(n)
        return network.to_image(self._sizes, self._draw(int(number), seed))


autoregressive_image = ppl.make_random_variable(AutoregressiveImage)


def image_given_weights(
    weights: Tensors,
    sizes: Sizes,
    num_images: int,
    random: BatchRng | None = None,
    draw: Sampler | None = None,
    name: str = "image",
) -> ppl.RandomVariable:
    """p(image | weights): the model of the paper's section 3.1, as a program.

    Its value is [num_images, height, width, channels] int32.

    weights: by name, of the shapes of `network.weights`.
    random: of the units dropped; None: none are.
    draw: what to draw with; None: `sample_naively`.
    """

    def given(values: tf.Tensor) -> tfd.Distribution:
        outputs = network.forward(sizes, weights, values, random)
        if sizes.likelihood == "dmol":
            return likelihood.MixtureOfLogistics(outputs, sizes.num_values)
        return tfd.Categorical(outputs)

    return autoregressive_image(
        sizes,
        given,
        functools.partial(draw or sample_naively, sizes, weights),
        sample_shape=num_images,
        name=name,
    )


def sample_values(
    sizes: Sizes, outputs: tf.Tensor, random: BatchRng, temperature: float = 1.0
) -> tf.Tensor:
    """A position's values of its outputs [batch, outputs]: [batch, values] int32."""
    if sizes.likelihood == "dmol":
        return likelihood.sample_mixture(
            outputs, random, temperature, num_values=sizes.num_values
        )
    return likelihood.sample_categorical(outputs, random, temperature)


def randomness_at(seed: tf.Tensor, place: tf.Tensor) -> BatchRng:
    """Of one place in the order of generation: the seed's and its own alone."""
    words = bits(BatchRng(seed, place), "place", (1, 2))
    return BatchRng(tf.bitcast(words[0], tf.int32), tf.constant(0))


def sample_naively(
    sizes: Sizes,
    weights: Tensors,
    num_images: int,
    seed: tf.Tensor,
    temperature: float = 1.0,
) -> tf.Tensor:
    """Values in the order of generation, [num_images, positions, values] int32.

    All outputs are computed anew for each position: what any sampler is to equal.
    """
    rows, columns, depth = network.position_shape(sizes)
    shape = (num_images, rows * columns, depth)

    def body(place: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = network.forward(sizes, weights, values)[:, place]
        drawn = sample_values(sizes, outputs, randomness_at(seed, place), temperature)
        here = tf.one_hot(place, shape[1], dtype=tf.int32)[:, tf.newaxis]
        return place + 1, values + drawn[:, tf.newaxis] * here

    _, values = tf.while_loop(
        lambda place, _: place < shape[1],
        body,
        (tf.constant(0), tf.zeros(shape, tf.int32)),
        parallel_iterations=1,
        maximum_iterations=shape[1],
    )
    return values


def model(sizes: Sizes) -> Model:
    """The program to be trained, see `image_transformer`.

    Raises ValueError for sizes that no model can be made of.
    """
    network.check_sizes(sizes)
    log_likelihood = functools.partial(ppl.make_log_likelihood_fn, image_given_weights)

    def loss(
        weights: Tensors, batch: Tensors, random: BatchRng
    ) -> tuple[tf.Tensor, Tensors]:
        image = batch["image"]  # [batch, height, width, channels]
        wanted = [sizes.height, sizes.width, sizes.channels]
        if list(image.shape[1:]) != wanted:
            raise ValueError(f"image: given {list(image.shape[1:])}, wanted {wanted}")
        log_prob = log_likelihood(observed={"image": image})
        return -log_prob(weights, sizes, image.shape[0], random)["image"], {}

    flange = "" if sizes.flange is None else f" within {sizes.flange}"
    kind = f"{sizes.attention} {sizes.block}{flange}, {sizes.positions} positions, "
    kind += sizes.likelihood
    if sizes.dropout:  # in the name: a checkpoint of another rate is another model's
        kind += f", dropout {sizes.dropout}"
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
    """Of an image's matrix products, forward and backward.

    As Chowdhery et al. (2022), PaLM, appendix B, counts them: what is recomputed does
    not count, nor do looking an embedding up and merging channels; a query counts with
    all of its block and memory, those later than itself too, but not with slots that
    hold no position.
    """
    laid = network.blocks(sizes)
    layer = 2 * (sizes.key_size + sizes.value_size + sizes.filter_size)
    dense = sizes.layers * layer + network.num_outputs(sizes)
    queries = (laid.position_at.reshape(laid.num_blocks, -1) >= 0).sum(1)  # [blocks]
    pairs = int(queries @ attention.key_mask(laid).sum(1))
    attended = sizes.layers * pairs * (sizes.key_size + sizes.value_size)
    forward = len(laid.order) * dense * sizes.hidden + attended  # multiply-adds
    return 3 * 2 * forward


def image_transformer(**sizes: Any) -> Model:
    """The Image Transformer of these `Sizes`, to be trained.

    Batches are {"image": [batch, height, width, channels] int32 of 0 to 255}; the nats
    are of all of an image's sub-pixels.
    """
    return model(Sizes(**sizes))
