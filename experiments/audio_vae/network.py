"""The audio VAE's sizes, its flows on the virtual topology of cores, its weights."""

import functools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.audio_vae import block_network, linear_prediction, resampling
from experiments.audio_vae.block_network import BlockNetwork
from experiments.audio_vae.flows import (
    DistributedAutoregressiveFlow,
    Network,
    Part,
    SplitFlow,
)
from experiments.audio_vae.linear_prediction import LinearPrediction
from experiments.audio_vae.resampling import SAMPLES_PER_LATENT
from experiments.engines.manual_placement import Placement
from experiments.training.checks import check_counts
from experiments.training.model import Tensors, Weight, subset

FLOWS_PER_CORE = 2
NUM_RECENT_ERRORS = 32  # of the mixture of predictors, read by the aggregating flow
INITIAL_TAIL = 0.45  # scale of the prediction errors' noise before sinh


class Sizes(NamedTuple):
    """The model's sizes; by default the paper's flows, 8 of 4 parts and one of 1."""

    length: int = 4096  # samples of a clip: the paper's T
    num_flows: int = 8  # besides the aggregating one; rows of the virtual topology
    num_splits: int = 4  # parts of each; columns of the virtual topology
    block_size: int = 32  # values that share a context; each depends on as many before
    context_blocks: int = 8  # blocks before a block, from which its context is computed
    channels: int = 64  # of the decoder's networks
    context_channels: int = 128
    prior_channels: int = 16
    prior_context_channels: int = 32
    compressor_channels: int = 128  # of the compressor and the upsampler
    refit_every: int = 32  # samples after which the linear predictors are fitted again
    # Each linear predictor has an order, and a factor by which the weight of past
    # samples shrinks from one fit to the next.
    linear_predictors: tuple[tuple[int, float], ...] = (
        (16, 0.8),
        (32, 0.4),
        (32, 0.6),
        (32, 0.8),
    )

    @property
    def latents(self) -> int:
        """How many latents a clip has."""
        return self.length // SAMPLES_PER_LATENT

    @property
    def num_cores(self) -> int:
        """Two consecutive flows share a row of cores; the aggregating flow has one."""
        return self.num_flows // FLOWS_PER_CORE * self.num_splits + 1


def check_sizes(sizes: Sizes) -> None:
    """Raises ValueError for sizes that no model can have."""
    predictors = sizes.linear_predictors
    check_counts(**sizes._replace(linear_predictors=1)._asdict())
    if not predictors or any(n < 1 or not 0 < f <= 1 for n, f in predictors):
        raise ValueError(
            f"linear_predictors: given {predictors}, wanted one or more, each of an "
            "order from 1 and a weight above 0 and at most 1"
        )
    if sizes.num_flows % FLOWS_PER_CORE:
        raise ValueError(
            f"num_flows: given {sizes.num_flows}, wanted an even number: two share a "
            "core"
        )
    splits, block = sizes.num_splits, sizes.block_size
    for what, divisor in (
        (
            f"latents in {splits} parts of blocks of {block}",
            SAMPLES_PER_LATENT * splits * block,
        ),
        (f"samples in blocks of {sizes.refit_every}", sizes.refit_every),
        (f"samples in blocks of {resampling.BLOCK}", resampling.BLOCK),
    ):
        if sizes.length % divisor:
            raise ValueError(
                f"length: given {sizes.length}, wanted a multiple of {divisor}: {what}"
            )
    part = sizes.latents // splits
    if part < _block_network(sizes, "prior").receptive_field:
        raise ValueError(
            f"context_blocks: given {sizes.context_blocks} of {block}, wanted at most "
            f"the {part} latents of a part: a node reads its neighbour alone"
        )


def flow(weights: Tensors, sizes: Sizes, name: str) -> DistributedAutoregressiveFlow:
    """The flow of "prior" or "decoder": parts on their cores, directions alternate."""
    flows = []
    for number, network in enumerate(flow_networks(sizes, name)):
        aggregates = number == sizes.num_flows
        parts = tuple(
            Part(
                core_of_node(sizes, number, column),
                subset(weights, _node(name, number, column)),
            )
            for column in range(1 if aggregates else sizes.num_splits)
        )
        reads = network.receptive_field if isinstance(network, BlockNetwork) else 0
        # The aggregating flow and the grid's last, which are the first to see data, run
        # forward in time.  From there on every other flow runs backward.
        backwards = not aggregates and (sizes.num_flows - 1 - number) % 2 == 1
        flows.append(SplitFlow(_function(network), reads, parts, backwards))
    return DistributedAutoregressiveFlow(flows)


@functools.cache
def _function(network: BlockNetwork | LinearPrediction) -> Network:
    """The network as a function; the same object for equal sizes, which caches need."""
    if isinstance(network, BlockNetwork):
        return functools.partial(block_network.shift_and_log_scale, network)
    return functools.partial(linear_prediction.shift_and_log_scale, network)


def flow_networks(sizes: Sizes, name: str) -> list[BlockNetwork | LinearPrediction]:
    """Each flow's network, that of the aggregating flow last."""
    grid: list[BlockNetwork | LinearPrediction] = [_block_network(sizes, name)]
    last = _linear_prediction(sizes) if name == "decoder" else grid[0]
    return [*grid * sizes.num_flows, last]


def core_of_node(sizes: Sizes, number: int, column: int) -> int:
    """The core of a flow's part, both forward and inverse."""
    if number == sizes.num_flows:
        return sizes.num_cores - 1
    return number // FLOWS_PER_CORE * sizes.num_splits + column


def placement(sizes: Sizes) -> Placement:
    """Where weights are stored: a node's on its core, others with the aggregator."""

    def core_of(name: str) -> int:
        match = re.fullmatch(r"(?:prior|decoder)/flow(\d+)/part(\d+)/.*", name)
        if match is None:
            return sizes.num_cores - 1
        return core_of_node(sizes, int(match[1]), int(match[2]))

    rows = sizes.num_flows // FLOWS_PER_CORE
    return Placement(
        dim="core",
        num_cores=sizes.num_cores,
        home=sizes.num_cores - 1,
        core_of=core_of,
        description=f"{rows} x {sizes.num_splits} and one that aggregates",
    )


def weights(sizes: Sizes) -> dict[str, Weight]:
    """All weights, by name."""
    named = {"decoder/tail": Weight((1,), mean=float(np.log(INITIAL_TAIL)))}
    named |= resampling.weights(sizes.compressor_channels)
    for name in ("prior", "decoder"):
        for number, network in enumerate(flow_networks(sizes, name)):
            own = (
                block_network.weights(network)
                if isinstance(network, BlockNetwork)
                else linear_prediction.weights(network)
            )
            for column in range(sizes.num_splits if number < sizes.num_flows else 1):
                node = _node(name, number, column)
                named |= {f"{node}/{weight}": own[weight] for weight in own}
    return named


def _node(name: str, number: int, column: int) -> str:
    return f"{name}/flow{number}/part{column}"


def _block_network(sizes: Sizes, name: str) -> BlockNetwork:
    channels, context = sizes.channels, sizes.context_channels
    if name == "prior":
        channels, context = sizes.prior_channels, sizes.prior_context_channels
    return BlockNetwork(sizes.block_size, sizes.context_blocks, channels, context)


def _linear_prediction(sizes: Sizes) -> LinearPrediction:
    predictors = tuple((int(order), float(f)) for order, f in sizes.linear_predictors)
    return LinearPrediction(
        sizes.refit_every,
        predictors,
        NUM_RECENT_ERRORS,
        sizes.channels,
        sizes.context_channels,
    )


def flops(sizes: Sizes) -> int:
    """Operations in a clip's products with weights, forward and backward.

    Gathering each value's inputs and the least squares do not count.
    """

    def multiply_adds(named: Mapping[str, Weight], values: int, block: int) -> int:
        """Those of a sequence, with one product of a context per block."""
        per_block = ("context", "mixed", "taps")
        return sum(
            math.prod(weight.shape) * values // (block if name in per_block else 1)
            for name, weight in named.items()
            if len(weight.shape) == 2
        )

    total = 0
    for name, values in (("prior", sizes.latents), ("decoder", sizes.length)):
        grid = block_network.weights(_block_network(sizes, name))
        grid_flows = sizes.num_flows + (name == "prior")
        total += grid_flows * multiply_adds(grid, values, sizes.block_size)
    last = linear_prediction.weights(_linear_prediction(sizes))
    total += multiply_adds(last, sizes.length, sizes.refit_every)
    coders = resampling.weights(sizes.compressor_channels)
    total += multiply_adds(coders, sizes.length // resampling.BLOCK, 1)
    return 3 * 2 * total
