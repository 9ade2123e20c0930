"""What is believed of sound: the paper's prior, decoder and encoder, figures 3 and 4.

T samples of 16 bits are taken as numbers in [-1, 1), a uniform draw added to each
within its step: the density of the two together, in steps, bounds the probability of
the samples (Theis et al., 2016, A note on the evaluation of generative models, section
3.1), and so does the evidence lower bound with it.  What is on the line beyond [-1, 1)
costs density and gains nothing, so that the bound stays one.

There are T / 2 latents, each of 8 bits at most: its mean given the audio is within a
range, and its distribution there at least as wide, by entropy, as a 256th of it.  They
are real numbers, and their prior is a density: the bound holds for them as they are,
and none is rounded.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.audio_vae import networks
from experiments.audio_vae.flows import (
    DistributedAutoregressiveFlow,
    LogisticQuantile,
    Network,
    Part,
    Sinh,
    SplitFlow,
)
from experiments.audio_vae.networks import Adaptive, Row, within
from experiments.engines.manual_placement import Placement
from experiments.training.model import Model, Tensors, Weight
from experiments.training.prng import BatchRng, normal, uniform

tfd, tfb = tfp.distributions, tfp.bijectors

STEPS = 2**15  # of a 16-bit sample, in 1: full scale is from -1 to 1
SAMPLES_A_LATENT = 2
FLOWS_A_CORE = 2
LOGISTIC_SCALE = 3**0.5 / np.pi  # of a logistic distribution of variance 1
FIRST_TAIL = 0.45  # scale of the noise of least-squares errors, as sinh has it
CODED = 16  # samples that the compressor takes at once, and the upsampler gives
NEAR = 32  # of its last errors, what the aggregating flow's network sees
LOUDNESS = 1000.0  # audio comes to the compressor as asinh of so many times itself


class Sizes(NamedTuple):
    """The model's sizes; by default the paper's flows, 8 of 4 parts and one of 1."""

    length: int = 4096  # samples of a clip: the paper's T
    num_flows: int = 8  # besides the aggregating one; rows of the virtual topology
    num_splits: int = 4  # parts of each: its columns
    block_size: int = 32  # values that share a context, and that each sees at full rate
    context_blocks: int = 8  # before a block, of which its context is made
    channels: int = 64  # of the decoder's networks
    context_channels: int = 128
    prior_channels: int = 16
    prior_context_channels: int = 32
    compressor_channels: int = 128  # channels of compressor and upsampler
    refit_every: int = 32  # samples after which the least squares are solved again
    # Of each line through the past: its order, and the past's weight, refit to refit.
    linear_predictors: tuple[tuple[int, float], ...] = (
        (16, 0.8),
        (32, 0.4),
        (32, 0.6),
        (32, 0.8),
    )

    @property
    def latents(self) -> int:
        """Of a clip."""
        return self.length // SAMPLES_A_LATENT

    @property
    def num_cores(self) -> int:
        """Two consecutive flows a core, and one for the aggregating flow."""
        return self.num_flows // FLOWS_A_CORE * self.num_splits + 1


def check(sizes: Sizes) -> None:
    """Raises ValueError for sizes that no model can have."""
    for name, value in sizes._asdict().items():
        if name != "linear_predictors" and value < 1:
            raise ValueError(f"{name}: given {value}, wanted 1 or more")
    if not sizes.linear_predictors or any(
        n < 1 or not 0 < f <= 1 for n, f in sizes.linear_predictors
    ):
        raise ValueError(
            f"linear_predictors: given {sizes.linear_predictors}, wanted "
            "one or more, each of an order from 1 and a weight above 0 and at most 1"
        )
    if sizes.num_flows % FLOWS_A_CORE:
        raise ValueError(
            f"num_flows: given {sizes.num_flows}, wanted an even number: "
            "two share a core"
        )
    unit = SAMPLES_A_LATENT * sizes.num_splits * sizes.block_size
    for what, divisor in (
        (f"latents in {sizes.num_splits} parts of blocks of {sizes.block_size}", unit),
        (f"samples in blocks of {sizes.refit_every}", sizes.refit_every),
        (f"samples in blocks of {CODED}", CODED),
    ):
        if sizes.length % divisor:
            raise ValueError(
                f"length: given {sizes.length}, wanted a multiple of {divisor}: {what}"
            )
    part = sizes.latents // sizes.num_splits
    if part < _row(sizes, "prior").reach:
        raise ValueError(
            f"context_blocks: given {sizes.context_blocks} of {sizes.block_size}, "
            f"wanted at most the {part} latents of a part: a node reads its neighbour "
            "alone"
        )


# The programs.


def prior(weights: Tensors, sizes: Sizes, num_clips: int) -> ppl.RandomVariable:
    """p(z): uniform noise through a distributed flow, [num_clips, T / 2].

    Figure 4 has the noise as it is; see LogisticQuantile for why it is stretched.
    """
    stretched = [tfb.Scale(LOGISTIC_SCALE), LogisticQuantile()]
    return ppl.TransformedDistribution(
        _noise((sizes.latents,)),
        tfb.Chain([flow(weights, sizes, "prior"), *stretched]),
        sample_shape=num_clips,
        name="z",
    )


def decoder(
    weights: Tensors, sizes: Sizes, z: ppl.RandomVariable | tf.Tensor
) -> ppl.RandomVariable:
    """p(audio | z): noise shifted and scaled as upsampled z says, then a flow.

    z: [clips, T / 2].  The audio is [clips, T], of full scale 1.
    """
    shift, log_scale = upsampled(weights, tf.convert_to_tensor(z))
    return ppl.TransformedDistribution(
        _noise((shift.shape[0], sizes.length)),
        tfb.Chain(
            [
                flow(weights, sizes, "decoder"),
                Sinh(),
                tfb.Scale(log_scale=weights["decoder/tail"][0]),
                tfb.Shift(shift),
                tfb.Scale(log_scale=log_scale),
                LogisticQuantile(),
            ]
        ),
        name="audio",
    )


def encoder(
    weights: Tensors,
    audio: tf.Tensor,
    draw: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> ppl.RandomVariable:
    """q(z | audio): a normal distribution of each latent, the compressor's two numbers.

    audio: [clips, T], of full scale 1.
    draw: of mean and deviation, a draw; None: TFP's own.
    """
    heard = tf.asinh(LOUDNESS * audio) / 4
    given = networks.coded(within(weights, "compressor"), heard, CODED)
    mean = _limited(given[..., 0], networks.LATENT_LIMIT)
    log_scale = _limited(given[..., 1], networks.LATENT_LOG_SCALE)
    deviation = networks.LATENT_STEP + tf.exp(log_scale)
    drawn = None if draw is None else lambda *_: draw(mean, deviation)
    return ppl.MultivariateNormalDiag(
        mean, deviation, name="z", value=drawn, observed=False
    )


def clips(weights: Tensors, sizes: Sizes, num_clips: int) -> ppl.RandomVariable:
    """p(z) p(audio | z): the whole model."""
    return decoder(weights, sizes, prior(weights, sizes, num_clips))


def upsampled(weights: Tensors, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of latents [clips, T / 2]: shift and log-scale of T samples' noise."""
    made = networks.coded(within(weights, "upsampler"), z, CODED // SAMPLES_A_LATENT)
    return made[..., 0], _limited(made[..., 1], networks.LOG_SCALE)


def _noise(shape: tuple[int, ...]) -> tfd.Distribution:
    return tfd.Independent(tfd.Uniform(tf.zeros(shape), tf.ones(shape)), 1)


def _limited(x: tf.Tensor, limit: float) -> tf.Tensor:
    return limit * tf.tanh(x / limit)


# What the programs are made of.


def flow(weights: Tensors, sizes: Sizes, name: str) -> DistributedAutoregressiveFlow:
    """That of "prior" or "decoder": parts on their cores, orders in turn."""
    networks_of_flows = flow_networks(sizes, name)
    made = []
    for number, sized in enumerate(networks_of_flows):
        aggregates = number == sizes.num_flows
        parts = tuple(
            Part(
                core_of_node(sizes, number, column),
                within(weights, _node(name, number, column)),
            )
            for column in range(1 if aggregates else sizes.num_splits)
        )
        reach = sized.reach if isinstance(sized, Row) else 0
        # The aggregating flow and the grid's last, which meet data first, go through
        # them as time does; from there on every other one goes back.
        backwards = not aggregates and (sizes.num_flows - 1 - number) % 2 == 1
        made.append(SplitFlow(_network(sized), reach, parts, backwards))
    return DistributedAutoregressiveFlow(made)


@functools.cache
def _network(sized: Row | Adaptive) -> Network:
    """One function for networks of one size, by which it is known as the same."""
    if isinstance(sized, Row):
        return functools.partial(networks.row_network, sized)
    return functools.partial(networks.adaptive_network, sized)


def flow_networks(sizes: Sizes, name: str) -> list[Row | Adaptive]:
    """The sizes of each flow's networks, the aggregating one's last."""
    rows: list[Row | Adaptive] = [_row(sizes, name)] * sizes.num_flows
    return [*rows, _adaptive(sizes) if name == "decoder" else _row(sizes, name)]


def core_of_node(sizes: Sizes, number: int, column: int) -> int:
    """Of a flow's part: two consecutive flows share a core a column.

    Forward and inverse of it are both there.
    """
    if number == sizes.num_flows:
        return sizes.num_cores - 1
    return number // FLOWS_A_CORE * sizes.num_splits + column


def placement(sizes: Sizes) -> Placement:
    """Where weights are kept: a node's on its core, all else with the aggregator."""

    def core_of(name: str) -> int:
        found = re.fullmatch(r"(?:prior|decoder)/flow(\d+)/part(\d+)/.*", name)
        if found is None:
            return sizes.num_cores - 1
        return core_of_node(sizes, int(found[1]), int(found[2]))

    return Placement(
        dim="core",
        num_cores=sizes.num_cores,
        home=sizes.num_cores - 1,
        core_of=core_of,
        description=(
            f"{sizes.num_flows // FLOWS_A_CORE} x {sizes.num_splits} and one that "
            "aggregates"
        ),
    )


def weights_of(sizes: Sizes) -> dict[str, Weight]:
    """All weights, by name."""
    latents = CODED // SAMPLES_A_LATENT
    found = {"decoder/tail": Weight((1,), mean=float(np.log(FIRST_TAIL)))}
    coders = {
        "compressor": networks.coder_weights(
            CODED, CODED, sizes.compressor_channels, 2 * latents
        ),
        "upsampler": networks.coder_weights(
            CODED, latents, sizes.compressor_channels, 2 * CODED
        ),
    }
    nodes = {}
    for name in ("prior", "decoder"):
        for number, sized in enumerate(flow_networks(sizes, name)):
            held = (
                networks.row_weights(sized)
                if isinstance(sized, Row)
                else networks.adaptive_weights(sized)
            )
            for column in range(sizes.num_splits if number < sizes.num_flows else 1):
                nodes[_node(name, number, column)] = held
    for prefix, held in (coders | nodes).items():
        found |= {f"{prefix}/{name}": weight for name, weight in held.items()}
    return found


def _node(name: str, number: int, column: int) -> str:
    return f"{name}/flow{number}/part{column}"


def _row(sizes: Sizes, name: str) -> Row:
    channels, context = sizes.channels, sizes.context_channels
    if name == "prior":
        channels, context = sizes.prior_channels, sizes.prior_context_channels
    return Row(sizes.block_size, sizes.context_blocks, channels, context)


def _adaptive(sizes: Sizes) -> Adaptive:
    return Adaptive(
        block_size=sizes.refit_every,
        linear_predictors=tuple(
            (int(order), float(past)) for order, past in sizes.linear_predictors
        ),
        near=NEAR,
        channels=sizes.channels,
        context_channels=sizes.context_channels,
    )


# What is trained.


def dequantized(audio: tf.Tensor, random: BatchRng) -> tf.Tensor:
    """Samples [clips, T] of 16 bits as numbers in [-1, 1), anywhere in their steps."""
    within_step = uniform(random, "dequantize", tuple(audio.shape)) - 0.5
    return (tf.cast(audio, tf.float32) + within_step) / STEPS


def drawn_by(random: BatchRng) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Draws latents of mean and deviation, [clips, latents] each."""

    def draw(mean: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
        return mean + deviation * normal(random, "z", tuple(mean.shape))

    return draw


def bound(
    weights: Tensors, sizes: Sizes, audio: tf.Tensor, random: BatchRng
) -> dict[str, tf.Tensor]:
    """What the bound is made of, by name, [clips] each: in nats, their sum its loss.

    audio: [clips, T], integers of 16 bits.
    """
    heard = dequantized(audio, random)
    latents = encoder(weights, heard, drawn_by(random))
    log_prob = ppl.make_log_likelihood_fn(
        clips, observed={"z": latents.value, "audio": heard}
    )(weights, sizes, audio.shape[0])
    return {
        "reconstruction": sizes.length * np.log(STEPS) - log_prob["audio"],
        "latents": -log_prob["z"] - latents.entropy(),
    }


def model(sizes: Sizes) -> Model:
    """The model to be trained; batches are {"audio": [batch, T] of 16-bit integers}.

    The nats are the negative evidence lower bound of a clip's samples.
    """
    check(sizes)

    def loss(
        weights: Tensors, batch: Tensors, random: BatchRng
    ) -> tuple[tf.Tensor, Mapping[str, tf.Tensor]]:
        audio = batch["audio"]
        if tuple(audio.shape[1:]) != (sizes.length,) or not audio.dtype.is_integer:
            raise ValueError(
                f"audio: given {audio.dtype.name} {list(audio.shape[1:])}, wanted "
                f"integers of 16 bits {[sizes.length]}"
            )
        parts = bound(weights, sizes, audio, random)
        # Beside the sum, what of it the latents cost.
        return tf.add_n(list(parts.values())), {"latent_nats": parts["latents"]}

    return Model(
        name=(
            f"audio_vae(T={sizes.length}, {sizes.num_flows} flows of "
            f"{sizes.num_splits} and one of 1, channels "
            f"{sizes.channels}/{sizes.prior_channels}, contexts "
            f"{sizes.context_channels}/{sizes.prior_context_channels} of "
            f"{sizes.context_blocks} x {sizes.block_size}, least squares "
            f"{sizes.linear_predictors} every {sizes.refit_every})"
        ),
        weights=weights_of(sizes),
        loss=loss,
        dims_per_example=sizes.length,
        flops_per_example=flops(sizes),
    )


def flops(sizes: Sizes) -> int:
    """Of a clip's products with weights, forward and backward.

    Laying out what each value sees, and the least squares, do not count.
    """

    def of(held: Mapping[str, Weight], values: int, block: int) -> int:
        """Multiply-adds of a sequence: those of contexts are one a block."""
        slow = ("context", "mixed", "taps")
        return sum(
            weight.shape[0] * weight.shape[1] * values // (block if n in slow else 1)
            for n, weight in held.items()
            if len(weight.shape) == 2
        )

    total = 0
    for name, values in (("prior", sizes.latents), ("decoder", sizes.length)):
        row = networks.row_weights(_row(sizes, name))
        total += sizes.num_flows * of(row, values, sizes.block_size)
        if name == "prior":
            total += of(row, values, sizes.block_size)
    adaptive = networks.adaptive_weights(_adaptive(sizes))
    total += of(adaptive, sizes.length, sizes.refit_every)
    blocks = sizes.length // CODED
    for given, made in ((CODED, CODED), (CODED // SAMPLES_A_LATENT, 2 * CODED)):
        coder = networks.coder_weights(CODED, given, sizes.compressor_channels, made)
        total += of(coder, blocks, 1)
    return 3 * 2 * total
