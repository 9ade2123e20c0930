"""The posterior of `logistic_regression` of features kept by their structure."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.datasets.regression import RegressionProblem
from experiments.nuts.posterior import BLOCK_BYTES, fits_caches, on_accelerator
from experiments.nuts.program import logistic_regression_by_design

# Logits of all chains in a block.  Their arithmetic outweighs the products, so they,
# and not the features, should fit in a core's cache.
LOGITS_BYTES = 1 << 20
MIN_ROWS = 2048  # per block with many chains, for products that are large enough


def split_design(
    problem: RegressionProblem,
    *,
    num_chains: int = 1,
    block_bytes: int | None = None,
) -> list[ppl.Shard]:
    """The problem's rows, sorted by category, in one or more parts.

    There is one part on an accelerator, and for data that caches hold, as for
    `split_rows`.

    block_bytes: numbers, codes and labels of a part, for data of any size.
    """
    design = ppl.DesignMatrix(problem.features)
    order = design.argsort()
    design, labels = design[order], problem.labels[order].astype(np.int8)
    row_bytes = (
        sum(
            part.dtype.size * (part.shape.num_elements() // problem.rows)
            for part in (design.numbers, *design.codes)
        )
        + labels.itemsize
    )
    one = block_bytes is None and fits_caches(row_bytes * problem.rows)
    if one or on_accelerator():
        return [ppl.Shard((design,), {"labels": labels})]
    rows = (block_bytes or BLOCK_BYTES) // row_bytes
    if block_bytes is None:
        rows = min(rows, max(MIN_ROWS, LOGITS_BYTES // (4 * num_chains)))
    return [
        ppl.Shard((design[part],), {"labels": labels[part]})
        for part in _parts(design, rows)
    ]


def _parts(design: ppl.DesignMatrix, rows: int) -> list[slice]:
    """Slices of about `rows` rows.

    All but the last are of one size and of whole blocks, if there are blocks.
    """
    total = int(design.shape[0])
    front = design.blocks.shape[0] * design.block_rows
    size = max(1, rows // design.block_rows) * design.block_rows
    edges = [*range(0, front or total, size)]
    if len(edges) > 1 and total - edges[-1] < size // 2:
        edges.pop()
    ends = [*edges[1:], total]
    return [slice(*ends_of) for ends_of in zip(edges, ends, strict=True)]


def structured_posterior(shards: Sequence[ppl.Shard]) -> ppl.Posterior:
    """The posterior given all shards of `split_design`, a stream for each core."""
    return ppl.unconstrain_shards(
        logistic_regression_by_design,
        shards,
        num_streams=len(os.sched_getaffinity(0)),
        dtype=tf.float32,
    )
