"""The probabilistic program of sound: the paper's prior, decoder and encoder.

Tran et al. (2018), figures 3 and 4.

T samples of 16 bits become numbers in [-1, 1) by adding uniform noise within each
quantization step.  The density of these, per step, bounds the probability of the
samples from below (Theis et al., 2016, A note on the evaluation of generative models,
section 3.1), and so does the evidence lower bound on that density.  Mass outside
[-1, 1) is lost, so the bound stays a bound.

There are T / 2 latents of at most 8 bits each: a latent's mean given the audio is
within a range, and its distribution is, by entropy, at least a 256th of it wide.
Latents are real numbers with a prior density.  The bound holds for them as they are;
none is rounded.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.audio_vae import network, resampling
from experiments.audio_vae.flows import LogisticQuantile, Sinh
from experiments.audio_vae.network import Sizes
from experiments.training.model import Model, Tensors
from experiments.training.prng import BatchRng, normal, uniform

tfd, tfb = tfp.distributions, tfp.bijectors

FULL_SCALE = 2**15  # quantization steps in 1: 16-bit audio is from -1 to 1
LOGISTIC_SCALE = 3**0.5 / np.pi  # of a logistic distribution of variance 1


def prior(weights: Tensors, sizes: Sizes, num_clips: int) -> ppl.RandomVariable:
    """p(z): uniform noise through a distributed flow, [num_clips, T / 2].

    Figure 4 has the noise without `LogisticQuantile`, which says why it is here.
    """
    to_logistic = [tfb.Scale(LOGISTIC_SCALE), LogisticQuantile()]
    return ppl.TransformedDistribution(
        _noise((sizes.latents,)),
        tfb.Chain([network.flow(weights, sizes, "prior"), *to_logistic]),
        sample_shape=num_clips,
        name="z",
    )


def decoder(
    weights: Tensors, sizes: Sizes, z: ppl.RandomVariable | tf.Tensor
) -> ppl.RandomVariable:
    """p(audio | z): noise, shifted and scaled by the upsampled z, through a flow.

    z: [clips, T / 2].  The audio is [clips, T], of full scale 1.
    """
    shift, log_scale = resampling.upsample(weights, tf.convert_to_tensor(z))
    return ppl.TransformedDistribution(
        _noise((shift.shape[0], sizes.length)),
        tfb.Chain(
            [
                network.flow(weights, sizes, "decoder"),
                Sinh(),
                tfb.Scale(log_scale=weights["decoder/tail"][0]),
                tfb.Shift(shift),
                tfb.Scale(log_scale=log_scale),
                LogisticQuantile(),
            ]
        ),
        name="audio",
    )


def latents_and_audio(
    weights: Tensors, sizes: Sizes, num_clips: int
) -> ppl.RandomVariable:
    """p(z) p(audio | z): the whole model."""
    return decoder(weights, sizes, prior(weights, sizes, num_clips))


def encoder(
    weights: Tensors,
    audio: tf.Tensor,
    draw: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> ppl.RandomVariable:
    """q(z | audio): independent normal distributions, by the compressor.

    audio: [clips, T], of full scale 1.
    draw: makes a sample of the mean and the standard deviation; None: TFP's own.
    """
    mean, stddev = resampling.compress(weights, audio)
    sample = None if draw is None else lambda *_: draw(mean, stddev)
    return ppl.MultivariateNormalDiag(
        mean, stddev, name="z", value=sample, observed=False
    )


def _noise(shape: tuple[int, ...]) -> tfd.Distribution:
    return tfd.Independent(tfd.Uniform(tf.zeros(shape), tf.ones(shape)), 1)


def dequantize(audio: tf.Tensor, random: BatchRng) -> tf.Tensor:
    """16-bit samples [clips, T] as numbers in [-1, 1), uniform within their steps."""
    offset = uniform(random, "dequantize", tuple(audio.shape)) - 0.5
    return (tf.cast(audio, tf.float32) + offset) / FULL_SCALE


def latent_sampler(
    random: BatchRng,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function that samples latents of mean and deviation, [clips, latents] each."""

    def draw(mean: tf.Tensor, stddev: tf.Tensor) -> tf.Tensor:
        return mean + stddev * normal(random, "z", tuple(mean.shape))

    return draw


def negative_elbo(
    weights: Tensors, sizes: Sizes, audio: tf.Tensor, random: BatchRng
) -> dict[str, tf.Tensor]:
    """The terms of the negative evidence lower bound by name: [clips] each, in nats.

    audio: [clips, T], integers of 16 bits.
    """
    dequantized = dequantize(audio, random)
    z = encoder(weights, dequantized, latent_sampler(random))
    log_prob = ppl.make_log_likelihood_fn(
        latents_and_audio, observed={"z": z.value, "audio": dequantized}
    )(weights, sizes, audio.shape[0])
    return {
        "reconstruction": sizes.length * np.log(FULL_SCALE) - log_prob["audio"],
        "latents": -log_prob["z"] - z.entropy(),
    }


def model(sizes: Sizes) -> Model:
    """The programs' training objective: the negative evidence lower bound of a clip.

    Batches are {"audio": [batch, T] of 16-bit integers}.

    Raises ValueError for sizes that no model can have.
    """
    network.check_sizes(sizes)

    def loss(
        weights: Tensors, batch: Tensors, random: BatchRng
    ) -> tuple[tf.Tensor, Mapping[str, tf.Tensor]]:
        audio = batch["audio"]
        if tuple(audio.shape[1:]) != (sizes.length,) or not audio.dtype.is_integer:
            raise ValueError(
                f"audio: given {audio.dtype.name} {list(audio.shape[1:])}, wanted "
                f"integers of 16 bits {[sizes.length]}"
            )
        terms = negative_elbo(weights, sizes, audio, random)
        return tf.add_n(list(terms.values())), {"latent_nats": terms["latents"]}

    return Model(
        name=(
            f"audio_vae(T={sizes.length}, {sizes.num_flows} flows of "
            f"{sizes.num_splits} and one of 1, channels "
            f"{sizes.channels}/{sizes.prior_channels}, contexts "
            f"{sizes.context_channels}/{sizes.prior_context_channels} of "
            f"{sizes.context_blocks} x {sizes.block_size}, least squares "
            f"{sizes.linear_predictors} every {sizes.refit_every})"
        ),
        weights=network.weights(sizes),
        loss=loss,
        dims_per_example=sizes.length,
        flops_per_example=network.flops(sizes),
    )
