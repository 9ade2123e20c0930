"""The sampler of one log density, compiled by TensorFlow's XLA."""

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference import density_graph, nuts, streams, xla_options
from experiments.inference.leapfrog import LogProbAndGrad
from experiments.inference.loop_state import Loop, Setting
from experiments.inference.tile_run import Tile
from experiments.inference.tiles import Kernel

# A tile's arrays stay in a core's cache, and its loop runs on one thread.
MAX_TILE = 64  # chains
TILE_BYTES = 256 << 10  # of what a turn reads and writes
# Data larger than this are read once for all chains, not once a tile.
SHARED_DATA_BYTES = 1 << 20
ROW_BYTES = 1 << 22  # of a tile's log, and of its random numbers
MAX_ROWS = 1024
# In a loop compiled as one function (see `xla_options`) products of matrices take about
# a nanosecond a multiplication.  Otherwise each turn costs some 50 microseconds more.
MULTIPLICATIONS_AS_ONE = 50_000


def compile_kernel(
    log_prob_and_grad: LogProbAndGrad,
    *,
    num_chains: int,
    dim: int,
    max_depth: int,
    dtype: tf.DType | None = None,
    jit_compile: bool = True,
    first_chain: int = 0,
    keep_grads: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    method: nuts.Method = nuts.NUTS,
    tile_size: int | None = None,
) -> Kernel:
    """The sampler of one log density; XLA compiles it at its first transition.

    dtype: of positions; None: that of the posterior, and float32 of another function.
    jit_compile: whether XLA compiles the whole loop with the density in it.  Otherwise
      it compiles the sampler's own work, and TensorFlow runs the density as it is.
    first_chain: the number of the first chain.  A chain's random numbers depend on the
      seed and its number: chains 2 and 3 alone draw as they do in a kernel of four.
    keep_grads: whether draws come with their gradients.
    should_stop: of all runs of the kernel: see `Kernel`.
    method: NUTS, or `walnuts.method`.
    tile_size: chains that are computed together; None: what suits this machine's cores.
    """
    xla_options.read_options()
    if dtype is None:
        dtype = getattr(log_prob_and_grad, "dtype", tf.float32)
    density = tf.function(
        log_prob_and_grad, autograph=False, jit_compile=True if jit_compile else None
    )
    size = _tile_size(num_chains, dim, max_depth, dtype) if jit_compile else num_chains
    size = tile_size or size
    traced = density.get_concrete_function(tf.TensorSpec([size, dim], dtype))
    if (
        tile_size is None
        and size < num_chains
        and _data_bytes(traced) > SHARED_DATA_BYTES
    ):
        size = num_chains
        traced = density.get_concrete_function(tf.TensorSpec([size, dim], dtype))
    log_prob_dtype = traced.structured_outputs[0].dtype
    tiles = tuple(
        Tile(
            slice(first, min(first + size, num_chains)),
            np.arange(first, first + size, dtype=np.int32) + np.int32(first_chain),
        )
        for first in range(0, num_chains, size)
    )
    row_bytes = size * (2 * dim * dtype.size + 8 * max_depth + 40)
    rows = int(np.clip(ROW_BYTES // row_bytes, 4, MAX_ROWS))

    # Outside XLA not as a function of its own, which would hide its devices.
    evaluate, as_one = log_prob_and_grad, True
    if jit_compile:
        evaluate = density_graph.in_loops(traced) or density
        as_one = density_graph.multiplications(traced) < MULTIPLICATIONS_AS_ONE

    @tf.function(jit_compile=True if jit_compile else None, autograph=False)
    def run(loop: Loop, setting: Setting, numbers: streams.Numbers) -> Loop:
        return nuts.run(
            loop,
            setting,
            numbers,
            evaluate,
            within_xla=jit_compile,
            method=method,
            as_one=as_one,
        )

    # For a diagonal metric, and for a dense one.  Their calls cost half of those of the
    # function, which looks for the one to call.
    programs: dict[int, Any] = {}

    def transitions(loop: Loop, setting: Setting, numbers: streams.Numbers) -> Loop:
        rank = len(setting.scale.shape)
        if rank not in programs:
            programs[rank] = run.get_concrete_function(loop, setting, numbers)
        return programs[rank](loop, setting, numbers)

    draw = functools.partial(
        streams.draw,
        rows=rows,
        dim=dim,
        max_depth=max_depth,
        dtype=dtype.as_numpy_dtype,
        energy_dtype=log_prob_dtype.as_numpy_dtype,
    )

    def numbers(*args: Any) -> streams.Numbers:
        # Once for the many calls that read them.
        return streams.Numbers(*map(tf.constant, draw(*args)))

    return Kernel(
        num_chains=num_chains,
        dim=dim,
        max_depth=max_depth,
        first_chain=first_chain,
        dtype=np.dtype(dtype.as_numpy_dtype),
        log_prob_dtype=np.dtype(log_prob_dtype.as_numpy_dtype),
        keep_grads=keep_grads,
        tiles=tiles,
        rows=rows,
        extend=method.extend,
        density=density,
        transitions=transitions,
        numbers=numbers,
        program=run,
        should_stop=should_stop,
    )


def _tile_size(num_chains: int, dim: int, max_depth: int, dtype: tf.DType) -> int:
    """The chains of a tile: all alike, at least a tile a core."""
    bytes_of_chain = (3 * max_depth + 20) * dim * dtype.size
    most = int(np.clip(TILE_BYTES // bytes_of_chain, 4, MAX_TILE))
    cores = len(os.sched_getaffinity(0))
    num_tiles = max(-(-num_chains // most), min(cores, num_chains))
    return -(-num_chains // num_tiles)


def _data_bytes(density: Any) -> int:
    """The size of the data that a traced density reads."""
    captured = sum(
        tensor.dtype.size * (tensor.shape.num_elements() or 0)
        for tensor in density.captured_inputs
        if tensor.dtype != tf.resource
    )
    try:
        return captured + density.graph.as_graph_def().ByteSize()
    except (ValueError, tf.errors.OpError):  # constants beyond a message's 2 GB
        return 1 << 31
