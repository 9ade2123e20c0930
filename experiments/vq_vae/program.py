"""What is believed: an image given codes, codes one after another, codes of an image.

Tran et al. (2018), section 4.1: convolutions down to a grid of codes and back up, and
the Image Transformer as the codes' prior.  Of four convolutions of stride 2, which the
paper names, 64 x 64 pixels become 4 x 4 places, and it names 8 x 8 too.  `strides` says
which is taken: (2, 2, 2, 1), the default, keeps the paper's four convolutions, its 8 x
8 x 10 codes and so the bits that its codes may take; (2, 2, 2, 2) keeps its strides,
and has 4 x 4 places (with 40 codes each, as many in all).
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.image_transformer import likelihood, network, program, sampling
from experiments.image_transformer.likelihood import CHANNELS, OUTPUTS_PER_COMPONENT
from experiments.training.model import Model, Tensors, Weight
from experiments.training.prng import BatchRng
from experiments.vq_vae import codebook, cosine_basis
from experiments.vq_vae.codebook import Codebook

tfd = tfp.distributions

PRIOR = "prior/"  # before the names of the Image Transformer's weights
# What a mixture of logistics is at first, where the decoder knows nothing: scales of 6
# values of 256, green by red and blue by green, as grey things have it.
FIRST_LOG_SCALE = -3.0
FIRST_COEFFICIENTS = (2.0, 0.0, 2.0)
SPREAD = 0.2  # of components' first biases, by which they are different ones
FIRST_GAIN = 0.1  # of the last layer's weights


class Sizes(NamedTuple):
    """What a model is: everything but its codebook and weights."""

    size: int  # pixels of a side
    channels: int  # of the convolutions
    strides: tuple[int, ...] = (2, 2, 2, 1)  # of the encoder's, mirrored by the decoder
    residual_layers: tuple[int, ...] = (
        0,
        0,
        0,
        2,
    )  # residual layers after each of these
    kernel_size: int = 5
    # Whether products over all strides at once stand beside the convolutions, of a
    # place's cosines, some for each slot: what convolutions make is added to what is
    # linear, which is learned in few steps.
    shortcuts: bool = False
    codes_per_position: int = 10  # codes of a place
    likelihood: str = "dmol"  # of a pixel; or "categorical", of each sub-pixel
    num_mixtures: int = 10  # of "dmol"
    num_values: int = 256  # of a sub-pixel
    # The prior learns from this step on; before, all codes count as equally likely.
    prior_start: int = 0
    prior_layers: int = 6
    prior_heads: int = 4
    prior_hidden: int = 128
    prior_filter_size: int = 256
    prior_block: int = 128  # codes that see each other, and those of the block before


def check(sizes: Sizes, book: Codebook) -> None:
    """Raises ValueError for what no model can be made of."""
    codebook.check(book)
    if sizes.likelihood not in network.LIKELIHOODS:
        raise ValueError(
            f"likelihood: given {sizes.likelihood!r}, "
            f"wanted one of {network.LIKELIHOODS}"
        )
    least = {
        "size": 1,
        "channels": 1,
        "kernel_size": 1,
        "codes_per_position": 1,
        "num_mixtures": 1,
    }
    for name, wanted in (least | {"num_values": 2, "prior_start": 0}).items():
        if getattr(sizes, name) < wanted:
            raise ValueError(
                f"{name}: given {getattr(sizes, name)}, wanted {wanted} or more"
            )
    if not sizes.strides or min(sizes.strides) < 1:
        raise ValueError(f"strides: given {sizes.strides}, wanted some, each from 1")
    if (
        len(sizes.residual_layers) != len(sizes.strides)
        or min(sizes.residual_layers) < 0
    ):
        raise ValueError(
            f"residual_layers: given {sizes.residual_layers}, wanted a number for "
            f"each of strides {sizes.strides}"
        )
    if sizes.size % math.prod(sizes.strides):
        raise ValueError(
            f"size: {sizes.size} pixels do not divide by strides {sizes.strides}"
        )
    try:
        network.check_sizes(prior_sizes(sizes, book))
    except ValueError as error:
        raise ValueError(f"prior: {error}") from error


def grid(sizes: Sizes) -> tuple[int, int, int]:
    """Rows and columns of places, and the codes of each."""
    side = sizes.size // math.prod(sizes.strides)
    return side, side, sizes.codes_per_position


def prior_sizes(sizes: Sizes, book: Codebook) -> network.Sizes:
    """The Image Transformer of an image whose pixels are places and channels slots."""
    rows, columns, slots = grid(sizes)
    return network.Sizes(
        height=rows,
        width=columns,
        layers=sizes.prior_layers,
        heads=sizes.prior_heads,
        hidden=sizes.prior_hidden,
        key_size=sizes.prior_hidden // 2,
        value_size=sizes.prior_hidden // 2,
        filter_size=sizes.prior_filter_size,
        block=sizes.prior_block,
        num_values=book.num_codes,
        channels=slots,
    )


def prior_weights(weights: Tensors) -> dict[str, tf.Tensor]:
    """The Image Transformer's own, by its names."""
    return {
        name.removeprefix(PRIOR): weight
        for name, weight in weights.items()
        if name.startswith(PRIOR)
    }


def weights(sizes: Sizes, book: Codebook) -> dict[str, Weight]:
    """Every weight by name; the codes are none."""
    channels, kernel = sizes.channels, sizes.kernel_size
    made: dict[str, Weight] = {}

    def add(name: str, shape: tuple[int, ...], fan: float, gain: float = 1.0) -> None:
        made[f"{name}/filter"] = Weight(shape, gain * fan**-0.5)

    def add_residuals(name: str, number: int) -> None:
        for one in range(number):
            own = f"{name}/residual{one}"
            add(f"{own}/first", (3, 3, channels, channels), 9 * channels, 2**0.5)
            made[f"{own}/first/bias"] = Weight((channels,))
            add(f"{own}/second", (1, 1, channels, channels), channels, 0.5)
            made[f"{own}/second/bias"] = Weight((channels,))

    inward = CHANNELS
    for number, residuals in enumerate(sizes.residual_layers):
        name = f"down{number}"
        fan, gain = kernel * kernel * inward, 1.0 if number == 0 else 2**0.5
        add(name, (kernel, kernel, inward, channels), fan, gain)
        made[f"{name}/bias"] = Weight((channels,))
        add_residuals(name, residuals)
        inward = channels
    if sizes.shortcuts:
        side = math.prod(sizes.strides)
        apart, _ = cosine_basis.split(side, sizes.codes_per_position)
        made["cosines"] = Weight((apart.shape[2], book.code_dim), 1.0)
        outward = side**2 * _outputs_of_pixel(sizes)
        made["up"] = Weight((channels, outward), FIRST_GAIN * channels**-0.5)
    depth = sizes.codes_per_position * book.code_dim
    gain = FIRST_GAIN if sizes.shortcuts else 1.0
    made["encoded"] = Weight((channels, depth), gain * channels**-0.5)
    made["encoded_bias"] = Weight((depth,))
    made["decoded"] = Weight((depth, channels), depth**-0.5)
    made["decoded_bias"] = Weight((channels,))
    for number in reversed(range(len(sizes.strides))):
        name = f"up{number}"
        add_residuals(name, sizes.residual_layers[number])
        last = number == 0
        outward = _outputs_of_pixel(sizes) if last else channels
        # A transposed one's: [height, width, out, in], of which a place meets a part.
        fan = kernel * kernel * channels / sizes.strides[number] ** 2
        gain = FIRST_GAIN if last else 2**0.5
        add(name, (kernel, kernel, outward, channels), fan, gain)
        made[f"{name}/bias"] = Weight((outward,), SPREAD if last else 0.0)
    prior = network.weights(prior_sizes(sizes, book))
    return made | {PRIOR + name: weight for name, weight in prior.items()}


# What is believed.


def codes_prior(
    weights: Tensors,
    sizes: Sizes,
    book: Codebook,
    num_images: int,
    draw: program.Sampler | None = None,
) -> ppl.RandomVariable:
    """p(codes): [num_images, rows, columns, slots] int32, by the Image Transformer.

    draw: what to draw with; None: `program.sample_naively`.
    """
    own = prior_weights(weights)
    return program.image_given_weights(
        own, prior_sizes(sizes, book), num_images, draw=draw, name="codes"
    )


def image_given_vectors(
    weights: Tensors, sizes: Sizes, vectors: tf.Tensor
) -> ppl.RandomVariable:
    """p(image | vectors): [batch, size, size, 3] int32, its pixels independent.

    vectors: [batch, rows, columns, slots, depth], of the codes.
    """
    outputs = decoded(weights, sizes, vectors)
    if sizes.likelihood == "dmol":
        return likelihood.PixelMixture(outputs, sizes.num_values, name="image")
    return ppl.Categorical(logits=outputs, name="image")


def image_and_codes(
    weights: Tensors,
    table: tf.Tensor,
    sizes: Sizes,
    book: Codebook,
    num_images: int,
    draw: program.Sampler | None = None,
) -> ppl.RandomVariable:
    """p(codes) p(image | codes): the model of the paper's section 4.1, as a program.

    table: the codebook's vectors, [codes, depth].
    """
    codes = codes_prior(weights, sizes, book, num_images, draw)
    return image_given_vectors(weights, sizes, tf.gather(table, codes))


def codes_given_vectors(table: tf.Tensor, vectors: tf.Tensor) -> ppl.RandomVariable:
    """q(codes | an encoder's vectors), whose value is the nearest, the likeliest code.

    vectors: [batch, rows, columns, slots, depth].
    """
    *leading, depth = vectors.shape
    squares = codebook.distances(tf.reshape(vectors, (-1, depth)), table)
    logits = tf.reshape(-squares, (*leading, table.shape[0]))
    nearest = tf.argmax(logits, -1, tf.int32)
    return ppl.Categorical(logits=logits, name="codes", value=nearest)


def codes_given_image(
    weights: Tensors,
    table: tf.Tensor,
    sizes: Sizes,
    book: Codebook,
    image: tf.Tensor,
) -> ppl.RandomVariable:
    """q(codes | image): the variational program, whose value is the likeliest codes."""
    return codes_given_vectors(table, encoded(weights, sizes, book, image))


# Mechanics.


def encoded(
    weights: Tensors, sizes: Sizes, book: Codebook, image: tf.Tensor
) -> tf.Tensor:
    """An encoder's vectors: [batch, rows, columns, slots, depth] float32.

    image: [batch, size, size, 3] int32.
    """
    x = likelihood.rescale(image, sizes.num_values)
    pixels = x = tf.cast(x, weights["encoded"].dtype)
    for number, stride in enumerate(sizes.strides):
        name = f"down{number}"
        x = tf.nn.relu(x) if number else x
        x = tf.nn.conv2d(x, weights[f"{name}/filter"], stride, "SAME")
        x = tf.nn.bias_add(x, weights[f"{name}/bias"])
        x = _residuals(weights, name, sizes.residual_layers[number], x)
    x = tf.reshape(x, (-1, sizes.channels))
    x = tf.nn.bias_add(tf.matmul(x, weights["encoded"]), weights["encoded_bias"])
    x = tf.reshape(x, (-1, sizes.codes_per_position, book.code_dim))
    if sizes.shortcuts:
        side = math.prod(sizes.strides)
        patches = tf.nn.space_to_depth(pixels, side)
        patches = tf.reshape(patches, (-1, side * side * CHANNELS))
        apart, _ = cosine_basis.split(side, sizes.codes_per_position)
        # The same for every slot, so that all of the codes are for all of the slots.
        amplitudes = tf.transpose(
            tf.matmul(patches, tf.cast(apart, x.dtype)), (1, 0, 2)
        )
        x += tf.tensordot(amplitudes, weights["cosines"], 1)
    x = tf.reshape(x, (image.shape[0], *grid(sizes), book.code_dim))
    return tf.cast(x, tf.float32)


def decoded(weights: Tensors, sizes: Sizes, vectors: tf.Tensor) -> tf.Tensor:
    """Parameters of each pixel's mixture, or logits of each sub-pixel, float32.

    [batch, size, size, outputs], or [batch, size, size, 3, values].

    vectors: [batch, rows, columns, slots, depth].
    """
    batch, rows, columns, slots, depth = vectors.shape
    x = tf.cast(vectors, weights["decoded"].dtype)
    x = tf.matmul(tf.reshape(x, (-1, slots * depth)), weights["decoded"])
    x = tf.nn.bias_add(x, weights["decoded_bias"])
    first = x
    x = tf.reshape(x, (batch, rows, columns, sizes.channels))
    for number in reversed(range(len(sizes.strides))):
        name, stride = f"up{number}", sizes.strides[number]
        x = tf.nn.relu(_residuals(weights, name, sizes.residual_layers[number], x))
        filters = weights[f"{name}/filter"]
        rows, columns = stride * rows, stride * columns
        shape = (batch, rows, columns, filters.shape[2])
        x = tf.nn.conv2d_transpose(x, filters, shape, stride, "SAME")
        x = tf.nn.bias_add(x, weights[f"{name}/bias"])
    if sizes.shortcuts:
        side, stride = rows // math.prod(sizes.strides), math.prod(sizes.strides)
        linear = tf.reshape(tf.matmul(first, weights["up"]), (batch, side, side, -1))
        x += tf.nn.depth_to_space(linear, stride)
    x = tf.cast(x, tf.float32)
    if sizes.likelihood == "categorical":
        return tf.reshape(x, (batch, rows, columns, CHANNELS, sizes.num_values))
    if sizes.shortcuts:
        x += tf.tensordot(_of_cosines(weights, sizes, vectors), _as_means(sizes), 1)
    return x + _first_outputs(sizes.num_mixtures)


def likeliest(sizes: Sizes, outputs: tf.Tensor) -> tf.Tensor:
    """The likeliest pixels, or those of the likeliest components: int32 images."""
    flat = tf.reshape(outputs, (-1, outputs.shape[-1]))
    if sizes.likelihood == "dmol":
        nothing = BatchRng(tf.constant([0, 0]), tf.constant(0))
        pixels = likelihood.sample_mixture(flat, nothing, 0.0, sizes.num_values)
    else:
        pixels = tf.argmax(flat, -1, tf.int32)
    return tf.reshape(pixels, (-1, sizes.size, sizes.size, CHANNELS))


def reconstructed(
    weights: Tensors, sizes: Sizes, book: Codebook, image: tf.Tensor
) -> tf.Tensor:
    """What codes keep of images: the likeliest pixels given the nearest codes.

    weights: by name, and the codes; image: [batch, size, size, 3] int32, as are they.
    """
    table = weights["codes"]
    codes = codes_given_image(weights, table, sizes, book, image)
    vectors = tf.gather(table, codes.value)
    return likeliest(sizes, decoded(weights, sizes, vectors))


def shares_of_codes(
    weights: Tensors, sizes: Sizes, book: Codebook, image: tf.Tensor
) -> tf.Tensor:
    """Of images' nearest codes, the share that each code has: [codes] float32.

    weights, image: as for `reconstructed`.
    """
    table = weights["codes"]
    codes = codes_given_image(weights, table, sizes, book, image).value
    return tf.reduce_mean(tf.one_hot(tf.reshape(codes, (-1,)), book.num_codes), 0)


def sample(
    weights: Tensors,
    sizes: Sizes,
    book: Codebook,
    seed: tf.Tensor,
    num_images: int,
    *,
    temperature: float = 1.0,
) -> np.ndarray:
    """Codes of the prior, decoded to the likeliest pixels: images, int32.

    Codes come one after another, by the Image Transformer's sampler; an image of them
    is one pass.

    weights: by name, and the codes.  seed: [2] int32.  temperature: of the codes.
    """
    own = prior_weights(weights)
    codes = sampling.sample(
        own, prior_sizes(sizes, book), seed, num_images, temperature=temperature
    )
    vectors = tf.gather(weights["codes"], codes)
    return likeliest(sizes, decoded(weights, sizes, vectors)).numpy()


def model(sizes: Sizes, book: Codebook) -> Model:
    """The programs to be trained.

    Batches are {"image": [batch, size, size, 3] int32 of 0 to 255}.  The nats are those
    of an image's pixels given its codes (`pixels`) and of all of its codes (`codes`).

    Judged, an image has its nearest codes, and pixels + codes is a bound on the nats of
    the image itself: p(image) is a sum over all codes, of which this is one term.
    Trained, a decoder gets the mean of several codes' vectors, straight through to the
    encoder, the distance to which is added (`commitment`); of the nearest codes the
    prior learns, and lets no gradient through.

    Raises ValueError for what no model can be made of.
    """
    check(sizes, book)
    rows, columns, slots = grid(sizes)
    num_codes, dims = rows * columns * slots, sizes.size**2 * CHANNELS
    of_image = functools.partial(ppl.make_log_likelihood_fn, image_given_vectors)
    of_codes = functools.partial(ppl.make_log_likelihood_fn, codes_prior)

    def nats_of_codes(weights: Tensors, codes: tf.Tensor) -> tf.Tensor:
        """Of all of an image's: [batch]."""
        size = codes.shape[0]

        def learned() -> tf.Tensor:
            # Tensors of the branch itself: TensorFlow finds a gradient's way to no
            # others where the branch is within a loop, over parts of a batch.
            own = {n: tf.identity(w) for n, w in weights.items() if PRIOR in n}
            log_prob = of_codes(observed={"codes": codes})
            return -log_prob(own, sizes, book, size)["codes"]

        def equal() -> tf.Tensor:
            return tf.fill((size,), num_codes * math.log(book.num_codes))

        if not sizes.prior_start:
            return learned()
        return tf.cond(weights["steps"] >= sizes.prior_start, learned, equal)

    def loss(weights: Tensors, batch: Tensors, random: BatchRng) -> tuple:
        image = batch["image"]
        wanted = [sizes.size, sizes.size, CHANNELS]
        if list(image.shape[1:]) != wanted:
            raise ValueError(f"image: given {list(image.shape[1:])}, wanted {wanted}")
        size, table = image.shape[0], weights["codes"]
        vectors = encoded(weights, sizes, book, image)
        chosen = codes_given_vectors(table, vectors)
        codes = chosen.value
        flat = tf.reshape(vectors, (size, num_codes, book.code_dim))
        if random.training:
            squares = -tf.reshape(chosen.distribution.logits, (-1, book.num_codes))
            shares = codebook.e_step(book, squares, size, random)
            means = tf.reshape(tf.matmul(shares, table), flat.shape)
            quantised = codebook.straight_through(flat, means)
        else:
            shares = tf.one_hot(tf.reshape(codes, (-1,)), book.num_codes)
            means = quantised = tf.reshape(tf.gather(table, codes), flat.shape)
        apart = tf.stop_gradient(means) - flat
        commitment = dims * book.commitment_cost * tf.reduce_mean(apart * apart, (1, 2))
        quantised = tf.reshape(quantised, vectors.shape)

        log_probs = of_image(observed={"image": image})(weights, sizes, quantised)
        pixels = -tf.reduce_sum(tf.reshape(log_probs["image"], (size, -1)), -1)

        code_nats = nats_of_codes(weights, codes)
        usage = weights["usage"]
        numbers = {
            "pixels": pixels,
            "codes": code_nats,
            "commitment": commitment,
            "perplexity": tf.fill((size,), codebook.perplexity(usage)),
            "codes_in_use": tf.fill((size,), codebook.in_use(usage)),
        }
        nats = pixels + code_nats
        found = codebook.statistics(book, tf.stop_gradient(flat), shares, random)
        return nats + commitment if random.training else nats, numbers, found

    shape = f"{sizes.size}x{sizes.size} to {rows}x{columns}x{slots}"
    layers = f"{sizes.prior_hidden}/{sizes.prior_heads}/{sizes.prior_filter_size}"
    return Model(
        name=(
            f"vector_quantized({shape} of {book.num_codes} codes of {book.code_dim}, "
            f"{sizes.channels} channels, strides {sizes.strides}, {sizes.likelihood}, "
            f"prior of {sizes.prior_layers} layers of {layers})"
        ),
        weights=weights(sizes, book),
        loss=loss,
        trainable_from=((f"{PRIOR}.*", sizes.prior_start),)
        if sizes.prior_start
        else (),
        dims_per_example=dims,
        flops_per_example=flops(sizes, book),
        state=codebook.state(book),
        update_state=functools.partial(codebook.m_step, book),
    )


def flops(sizes: Sizes, book: Codebook) -> int:
    """Of an image's convolutions and matrix products, forward and backward.

    Distances, shares times codes and the sums of shares have no backward; the prior
    counts if it learns from the first step on, and else not at all.
    """
    channels, taps = sizes.channels, sizes.kernel_size**2
    side, inward = sizes.size, CHANNELS
    outward = _outputs_of_pixel(sizes)
    forward = 0  # multiply-adds
    for number, stride in enumerate(sizes.strides):
        side //= stride
        both_ways = inward + (channels if number else outward)  # down and up again
        forward += side**2 * taps * channels * both_ways
        forward += 2 * sizes.residual_layers[number] * side**2 * 10 * channels**2
        inward = channels
    if sizes.shortcuts:
        patch = math.prod(sizes.strides) ** 2 * CHANNELS
        forward += (
            2
            * side**2
            * (patch // sizes.codes_per_position)
            * sizes.codes_per_position
            * book.code_dim
        )
        forward += sizes.size**2 * channels * outward
    num_codes = side**2 * sizes.codes_per_position
    forward += 2 * num_codes * book.code_dim * channels
    total = 3 * 2 * forward + 3 * 2 * num_codes * book.num_codes * book.code_dim
    if sizes.prior_start == 0:
        total += program.flops(prior_sizes(sizes, book))
    return total


def _of_cosines(weights: Tensors, sizes: Sizes, vectors: tf.Tensor) -> tf.Tensor:
    """Pixels of the cosines that vectors were made of, about: [batch, size, size, 3].

    By the transpose of what made them, of which the rows are random and so at first
    nearly at right angles.
    """
    batch, rows, columns, slots, depth = vectors.shape
    side = math.prod(sizes.strides)
    _, together = cosine_basis.split(side, slots)
    together = together.reshape(-1, together.shape[-1])
    own = tf.cast(weights["cosines"], tf.float32)
    flat = tf.reshape(vectors, (-1, depth))
    amplitudes = tf.matmul(flat, own, transpose_b=True) / depth
    patches = tf.matmul(tf.reshape(amplitudes, (-1, len(together))), together)
    return tf.nn.depth_to_space(tf.reshape(patches, (batch, rows, columns, -1)), side)


def _as_means(sizes: Sizes) -> np.ndarray:
    """Puts pixels where a mixture has its means, less what channels move: [3, outputs].

    By as much as the first coefficients let one channel move the next.
    """
    of_red, of_both, by_green = np.tanh(FIRST_COEFFICIENTS)
    own = np.array([[1, -of_red, -of_both], [0, 1, -by_green], [0, 0, 1]])
    mixtures = sizes.num_mixtures
    made = np.zeros((CHANNELS, OUTPUTS_PER_COMPONENT * mixtures), np.float32)
    made[:, mixtures : 4 * mixtures] = np.repeat(own, mixtures, 1)
    return made


def _residuals(weights: Tensors, name: str, number: int, x: tf.Tensor) -> tf.Tensor:
    """Layers that add to x [batch, rows, columns, channels] what they make of it."""
    for one in range(number):
        own = f"{name}/residual{one}"
        y = x
        for part in ("first", "second"):
            filters = weights[f"{own}/{part}/filter"]
            y = tf.nn.conv2d(tf.nn.relu(y), filters, 1, "SAME")
            y = tf.nn.bias_add(y, weights[f"{own}/{part}/bias"])
        x = x + y
    return x


def _outputs_of_pixel(sizes: Sizes) -> int:
    if sizes.likelihood == "dmol":
        return OUTPUTS_PER_COMPONENT * sizes.num_mixtures
    return CHANNELS * sizes.num_values


def _first_outputs(mixtures: int) -> np.ndarray:
    """What is added to a pixel's outputs, [10 mixtures]: see `MixtureOfLogistics`."""
    log_scales = np.full(CHANNELS * mixtures, FIRST_LOG_SCALE)
    coefficients = np.repeat(FIRST_COEFFICIENTS, mixtures)
    parts = [np.zeros((1 + CHANNELS) * mixtures), log_scales, coefficients]
    return np.concatenate(parts).astype(np.float32)
