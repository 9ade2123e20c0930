"""The probabilistic program: an image given codes, and the codes one after another.

Tran et al. (2018), section 4.1: the prior of the codes is an Image Transformer, and the
decoder makes an image of them.  The variational program gives codes for an image.
"""

import functools
import math

import tensorflow as tf

import ppl_core as ppl
from experiments.image_transformer import likelihood, program
from experiments.image_transformer.likelihood import CHANNELS
from experiments.training.model import Model, Tensors, subset
from experiments.training.prng import BatchRng
from experiments.vq_vae import network, quantizer
from experiments.vq_vae.network import PRIOR, Sizes
from experiments.vq_vae.quantizer import Codebook


def codes_prior(
    weights: Tensors,
    sizes: Sizes,
    codebook: Codebook,
    num_images: int,
    draw: program.Sampler | None = None,
) -> ppl.RandomVariable:
    """p(codes): [num_images, rows, columns, codes per position] int32.

    draw: how to sample the codes; None: `image_transformer.program.sample_naively`.
    """
    return program.image_given_weights(
        subset(weights, "prior"),
        network.prior_sizes(sizes, codebook),
        num_images,
        draw=draw,
        name="codes",
    )


def image_given_vectors(
    weights: Tensors, sizes: Sizes, vectors: tf.Tensor
) -> ppl.RandomVariable:
    """p(image | vectors): [batch, size, size, 3] int32, with independent pixels.

    vectors: [batch, rows, columns, codes per position, dim], of the codes.
    """
    outputs = network.decode(weights, sizes, vectors)
    if sizes.likelihood == "dmol":
        return likelihood.PixelMixture(outputs, sizes.num_values, name="image")
    return ppl.Categorical(logits=outputs, name="image")


def image_and_codes(
    weights: Tensors,
    table: tf.Tensor,
    sizes: Sizes,
    codebook: Codebook,
    num_images: int,
    draw: program.Sampler | None = None,
) -> ppl.RandomVariable:
    """p(codes) p(image | codes): the model of the paper's section 4.1.

    table: the vectors of the codebook's codes, [codes, dim].
    """
    codes = codes_prior(weights, sizes, codebook, num_images, draw)
    return image_given_vectors(weights, sizes, tf.gather(table, codes))


def codes_given_vectors(table: tf.Tensor, vectors: tf.Tensor) -> ppl.RandomVariable:
    """q(codes | encoder's vectors).  Its value is the nearest code, the most likely.

    vectors: [batch, rows, columns, codes per position, dim].
    """
    *leading, dim = vectors.shape
    squares = quantizer.distances(tf.reshape(vectors, (-1, dim)), table)
    logits = tf.reshape(-squares, (*leading, table.shape[0]))
    nearest = tf.argmax(logits, -1, tf.int32)
    return ppl.Categorical(logits=logits, name="codes", value=nearest)


def codes_given_image(
    weights: Tensors,
    table: tf.Tensor,
    sizes: Sizes,
    codebook: Codebook,
    image: tf.Tensor,
) -> ppl.RandomVariable:
    """q(codes | image): the variational program.  Its value is the nearest codes."""
    vectors = network.encode(weights, sizes, codebook, image)
    return codes_given_vectors(table, vectors)


def model(sizes: Sizes, codebook: Codebook) -> Model:
    """The programs' training objective.

    Batches are {"image": [batch, size, size, 3] int32 of 0 to 255}.  An example's nats
    are those of its pixels given its codes (`pixels`) plus those of its codes
    (`codes`).

    In evaluation an image has its nearest codes, and the sum bounds the image's own
    nats from above: p(image) is a sum over all codes, and this is one of its terms.  In
    training the decoder gets the mean of several sampled codes, with a straight-through
    gradient to the encoder, whose distance to that mean is added (`commitment`).  The
    prior trains on the nearest codes, and passes no gradient on.

    Raises ValueError for settings that no model can have.
    """
    network.check_sizes(sizes, codebook)
    rows, columns, codes_per_position = network.code_shape(sizes)
    num_codes, dims = rows * columns * codes_per_position, sizes.size**2 * CHANNELS
    log_prob_of_image, log_prob_of_codes = (
        functools.partial(ppl.make_log_likelihood_fn, function)
        for function in (image_given_vectors, codes_prior)
    )

    def nats_of_codes(weights: Tensors, codes: tf.Tensor) -> tf.Tensor:
        """The nats of each image's codes: [batch]."""
        batch = codes.shape[0]

        def by_prior() -> tf.Tensor:
            # Inside a loop over parts of a batch, TensorFlow finds gradients only for
            # tensors that the branch itself has made.
            own = {n: tf.identity(w) for n, w in weights.items() if PRIOR in n}
            log_prob = log_prob_of_codes(observed={"codes": codes})
            return -log_prob(own, sizes, codebook, batch)["codes"]

        def uniform() -> tf.Tensor:
            return tf.fill((batch,), num_codes * math.log(codebook.num_codes))

        if not sizes.prior_start:
            return by_prior()
        return tf.cond(weights["steps"] >= sizes.prior_start, by_prior, uniform)

    def loss(weights: Tensors, batch: Tensors, random: BatchRng) -> tuple:
        image = batch["image"]
        shape = [sizes.size, sizes.size, CHANNELS]
        if list(image.shape[1:]) != shape:
            raise ValueError(f"image: given {list(image.shape[1:])}, wanted {shape}")
        size, table = image.shape[0], weights["codes"]
        vectors = network.encode(weights, sizes, codebook, image)
        posterior = codes_given_vectors(table, vectors)
        codes = posterior.value
        flat = tf.reshape(vectors, (size, num_codes, codebook.code_dim))
        if random.training:
            logits = posterior.distribution.logits
            squares = -tf.reshape(logits, (-1, codebook.num_codes))
            responsibilities = quantizer.e_step(codebook, squares, size, random)
            means = tf.reshape(tf.matmul(responsibilities, table), flat.shape)
            quantised = quantizer.straight_through(flat, means)
        else:
            responsibilities = tf.one_hot(tf.reshape(codes, (-1,)), codebook.num_codes)
            means = quantised = tf.reshape(tf.gather(table, codes), flat.shape)
        error = tf.stop_gradient(means) - flat
        commitment = tf.reduce_mean(error * error, (1, 2))
        commitment = dims * codebook.commitment_cost * commitment
        quantised = tf.reshape(quantised, vectors.shape)

        log_probs = log_prob_of_image(observed={"image": image})(
            weights, sizes, quantised
        )
        pixels = -tf.reduce_sum(tf.reshape(log_probs["image"], (size, -1)), -1)
        code_nats = nats_of_codes(weights, codes)
        usage = weights["usage"]
        metrics = {
            "pixels": pixels,
            "codes": code_nats,
            "commitment": commitment,
            "perplexity": tf.fill((size,), quantizer.perplexity(usage)),
            "codes_in_use": tf.fill((size,), quantizer.codes_in_use(usage)),
        }
        nats = pixels + code_nats
        statistics = quantizer.statistics(
            codebook, tf.stop_gradient(flat), responsibilities, random
        )
        nats = nats + commitment if random.training else nats
        return nats, metrics, statistics

    shape = f"{sizes.size}x{sizes.size} to {rows}x{columns}x{codes_per_position}"
    layers = f"{sizes.prior_hidden}/{sizes.prior_heads}/{sizes.prior_filter_size}"
    starts_late = ((f"{PRIOR}.*", sizes.prior_start),) if sizes.prior_start else ()
    return Model(
        name=(
            f"vector_quantized({shape} of {codebook.num_codes} codes of "
            f"{codebook.code_dim}, {sizes.channels} channels, strides {sizes.strides}, "
            f"{sizes.likelihood}, prior of {sizes.prior_layers} layers of {layers})"
        ),
        weights=network.weights(sizes, codebook),
        loss=loss,
        trainable_from=starts_late,
        dims_per_example=dims,
        flops_per_example=network.flops(sizes, codebook),
        state=quantizer.state(codebook),
        update_state=functools.partial(quantizer.m_step, codebook),
    )
