"""The posterior of `logistic_regression` on blocks of rows, for our sampler."""

import itertools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.datasets.regression import RegressionProblem
from experiments.nuts.program import logistic_regression
from experiments.training import topology

# Of features: with one chain they and what is made of them stay in a core's own cache
# of 1 MB.  Logits of many chains do not count: blocks were too small for a product.
BLOCK_BYTES = 768 << 10


class Block(NamedTuple):
    """Rows of the data that are worked on together, and where."""

    rows: slice
    device: str | None  # None: the only one


def split_rows(
    problem: RegressionProblem,
    *,
    num_devices: int = 1,
    whole: bool = False,
    block_bytes: int | None = None,
) -> list[Block]:
    """The problem's rows, in order: an equal share a device, cut to fit a cache.

    block_bytes: of features; None: BLOCK_BYTES.
    whole: whether a device's share is one block, as it always is on an accelerator.

    Raises ValueError when there are fewer rows than devices, or fewer devices than
    wanted; the CPU counts as many as are asked for before TensorFlow begins.
    """
    if not 1 <= num_devices <= problem.rows:
        raise ValueError(
            f"num_devices: given {num_devices}, wanted 1 to {problem.rows}, the rows "
            f"of {problem.name}: a device without one has nothing to do"
        )
    block_bytes = block_bytes or BLOCK_BYTES
    devices = [None] if num_devices == 1 else topology.local_devices(num_devices)
    edges = [i * problem.rows // num_devices for i in range(num_devices + 1)]
    made = []
    for device, (first, last) in zip(devices, itertools.pairwise(edges), strict=True):
        size = last - first
        if not whole and not _on_accelerator():
            size = math.ceil(size / math.ceil(size * 4 * problem.dim / block_bytes))
        made += [
            Block(slice(i, min(i + size, last)), device)
            for i in range(first, last, size)
        ]
    return made


def _on_accelerator() -> bool:
    kinds = ("GPU", "TPU")
    return any(tf.config.list_logical_devices(kind) for kind in kinds)


def posterior(problem: RegressionProblem, blocks: Sequence[Block]) -> ppl.Posterior:
    """The posterior of `logistic_regression` given the problem's data.

    As many blocks are under way as there are cores, see `unconstrain_shards`.
    """
    # int8, since TensorFlow would keep int32 labels in the host's memory.
    labels = problem.labels.astype(np.int8)
    shards = [
        ppl.Shard(
            args=(np.ascontiguousarray(problem.features[block.rows].T),),
            observed={"labels": labels[block.rows]},
            device=block.device,
        )
        for block in blocks
    ]
    num_devices = len({block.device for block in blocks})
    streams = max(1, len(os.sched_getaffinity(0)) // num_devices)
    return ppl.unconstrain_shards(logistic_regression, shards, num_streams=streams)


def within_xla(blocks: Sequence[Block]) -> bool:
    """Whether XLA may compile the sampler's loop with the density of these in it."""
    return len(blocks) == 1
