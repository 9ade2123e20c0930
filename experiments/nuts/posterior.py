"""The posterior of `logistic_regression`, in blocks of rows if that is faster."""

import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.datasets.regression import RegressionProblem
from experiments.inference.settings import check_count
from experiments.nuts.program import logistic_regression
from experiments.training import topology

# Features of one block.  With one chain, they and what is computed from them fit in a
# core's own cache of 1 MB.  The logits of many chains do not count: blocks small enough
# for those were too small for fast matrix products.
BLOCK_BYTES = 768 << 10
# Blocks cost about 0.4 ms a gradient, since XLA cannot compile the sampler's loop with
# them.  On 2 cores of 2 MiB they were slower than one block up to about 80,000 rows of
# 55 columns (17 MiB) and faster on 581,012.
MIN_CACHES = 4  # features in blocks are larger than this many times the cores' caches
CACHE_BYTES = 1 << 20  # of a core, if the system does not report it
CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


class Block(NamedTuple):
    """Rows that are computed together."""

    rows: slice
    device: str | None  # None: the only device


def core_cache_bytes() -> int:
    """The size of a core's level-2 cache; CACHE_BYTES if Linux does not report it."""
    for level in CPU_CACHES.glob("index*/level"):
        try:
            size = re.fullmatch(r"(\d+)K", level.with_name("size").read_text().strip())
            if level.read_text().strip() == "2" and size:
                return int(size[1]) << 10
        except OSError:
            continue
    return CACHE_BYTES


def split_rows(
    problem: RegressionProblem,
    *,
    num_devices: int = 1,
    one_block: bool = False,
    block_bytes: int | None = None,
) -> list[Block]:
    """The problem's rows, in order: an equal part a device, in one or more blocks.

    A part is one block on an accelerator, and if the features are at most MIN_CACHES
    times as large as the level-2 caches of the cores.

    one_block: whether a device's part is always one block.
    block_bytes: the features of a block, for data of any size; None: BLOCK_BYTES.

    Raises ValueError if there are fewer rows than devices, or fewer devices than
    `num_devices`.  The CPU is split into logical devices before TensorFlow starts.
    """
    check_devices(problem, num_devices)
    # First, since TensorFlow starts when it is asked for accelerators.
    devices = [None] if num_devices == 1 else topology.local_devices(num_devices)
    small = block_bytes is None and fits_caches(4 * problem.rows * problem.dim)
    one_block = one_block or small or on_accelerator()
    block_bytes = block_bytes or BLOCK_BYTES
    edges = [i * problem.rows // num_devices for i in range(num_devices + 1)]
    blocks = []
    for device, (first, last) in zip(devices, itertools.pairwise(edges), strict=True):
        size = last - first
        if not one_block:
            size = math.ceil(size / math.ceil(size * 4 * problem.dim / block_bytes))
        blocks += [
            Block(slice(i, min(i + size, last)), device)
            for i in range(first, last, size)
        ]
    return blocks


def check_devices(problem: RegressionProblem, num_devices: int) -> None:
    """Raises what `split_rows` does, and starts no device."""
    check_count(
        "num_devices",
        num_devices,
        highest=problem.rows,
        why=f" (the rows of {problem.name}: one a device at least)",
    )
    topology.check_devices(num_devices, topology.resolve_device_type())


def fits_caches(num_bytes: int) -> bool:
    """Whether it is so little that blocks would not pay."""
    return num_bytes <= MIN_CACHES * len(os.sched_getaffinity(0)) * core_cache_bytes()


def on_accelerator() -> bool:
    """Whether there is a GPU or a TPU."""
    kinds = ("GPU", "TPU")
    return any(tf.config.list_logical_devices(kind) for kind in kinds)


def posterior(problem: RegressionProblem, blocks: Sequence[Block]) -> ppl.Posterior:
    """The posterior of `logistic_regression` given the problem's data.

    Each core computes one block at a time; see `unconstrain_shards`.
    """
    # int8, since TensorFlow keeps int32 labels in the host's memory.
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
    return ppl.unconstrain_shards(
        logistic_regression, shards, num_streams=streams, dtype=tf.float32
    )


def within_xla(blocks: Sequence[Block]) -> bool:
    """Whether XLA may compile the sampler's loop together with the density."""
    return len(blocks) == 1
