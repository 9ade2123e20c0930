"""Images of a trained model: samples, and reconstructions of given images.

`weights` are the trained weights by name, together with the codebook's `codes`.
"""

import numpy as np
import tensorflow as tf

from experiments.image_transformer import likelihood
from experiments.image_transformer import sampling as transformer
from experiments.image_transformer.likelihood import CHANNELS
from experiments.training.model import Tensors, subset
from experiments.training.prng import BatchRng
from experiments.vq_vae import network, program
from experiments.vq_vae.network import Sizes
from experiments.vq_vae.quantizer import Codebook


def sample(
    weights: Tensors,
    sizes: Sizes,
    codebook: Codebook,
    seed: tf.Tensor,
    num_images: int,
    *,
    temperature: float = 1.0,
) -> np.ndarray:
    """Images [num_images, size, size, 3] int32: the likeliest pixels of sampled codes.

    The Image Transformer samples the codes one after another; one pass decodes them.
    """
    codes = transformer.sample(
        subset(weights, "prior"),
        network.prior_sizes(sizes, codebook),
        seed,
        num_images,
        temperature=temperature,
    )
    return _decode_codes(weights, sizes, codes).numpy()


def reconstruct(
    weights: Tensors, sizes: Sizes, codebook: Codebook, image: tf.Tensor
) -> tf.Tensor:
    """The most likely pixels given each image's nearest codes.

    image: [batch, size, size, 3] int32, the shape of the result too.
    """
    codes = _nearest_codes(weights, sizes, codebook, image)
    return _decode_codes(weights, sizes, codes)


def code_usage(
    weights: Tensors, sizes: Sizes, codebook: Codebook, image: tf.Tensor
) -> tf.Tensor:
    """The frequency of each code among the images' nearest codes: [codes] float32.

    image: [batch, size, size, 3] int32.
    """
    codes = _nearest_codes(weights, sizes, codebook, image)
    return tf.reduce_mean(tf.one_hot(tf.reshape(codes, (-1,)), codebook.num_codes), 0)


def most_likely_pixels(sizes: Sizes, outputs: tf.Tensor) -> tf.Tensor:
    """Images [batch, size, size, 3] int32 of `network.decode`'s outputs.

    A mixture gives the most likely value of its most likely component.
    """
    flat = tf.reshape(outputs, (-1, outputs.shape[-1]))
    if sizes.likelihood == "dmol":
        unused = BatchRng(tf.constant([0, 0]), tf.constant(0))
        pixels = likelihood.sample_mixture(flat, unused, 0.0, sizes.num_values)
    else:
        pixels = tf.argmax(flat, -1, tf.int32)
    return tf.reshape(pixels, (-1, sizes.size, sizes.size, CHANNELS))


def _decode_codes(weights: Tensors, sizes: Sizes, codes: tf.Tensor) -> tf.Tensor:
    vectors = tf.gather(weights["codes"], codes)
    return most_likely_pixels(sizes, network.decode(weights, sizes, vectors))


def _nearest_codes(
    weights: Tensors, sizes: Sizes, codebook: Codebook, image: tf.Tensor
) -> tf.Tensor:
    table = weights["codes"]
    return program.codes_given_image(weights, table, sizes, codebook, image).value
