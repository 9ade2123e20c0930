"""The traced program under our sampler, as one of the systems compared."""

import math
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.inference import chain
from experiments.nuts.program import logistic_regression
from experiments.problem import Draws, Problem, SamplerSettings

BLOCK_BYTES = 2 << 20  # of features and logits: what a core's cache holds


def block_rows(problem: Problem, num_chains: int = 1) -> int:
    """Rows a block for `posterior`: all if they fit a cache, or on an accelerator."""
    if tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return problem.rows
    row_bytes = 4 * (problem.dim + num_chains)
    num_blocks = math.ceil(problem.rows * row_bytes / BLOCK_BYTES)
    return math.ceil(problem.rows / num_blocks)


def posterior(problem: Problem, rows: int) -> ppl.Unconstrained:
    """The posterior of `logistic_regression` given the problem's data.

    rows: of a block; as many blocks are under way as there are cores, see
      `unconstrain_shards`.
    """
    shards = [
        ppl.Shard(
            args=(np.ascontiguousarray(problem.features[i : i + rows].T),),
            observed={"labels": problem.labels[i : i + rows]},
        )
        for i in range(0, problem.rows, rows)
    ]
    return ppl.unconstrain_shards(
        logistic_regression, shards, streams=len(os.sched_getaffinity(0))
    )


def prepare(
    problem: Problem, settings: SamplerSettings, seed: int, *, blocks: bool = True
) -> Callable[[], Draws]:
    """Traces and compiles, and returns the function that samples."""
    rows = block_rows(problem, settings.num_chains) if blocks else problem.rows
    return chain.prepare(
        posterior(problem, rows).log_prob_and_grad,
        start=np.repeat(problem.start[np.newaxis], settings.num_chains, 0),
        settings=settings,
        seed=seed,
        jit_compile=rows == problem.rows,  # the sampler's loop with the density in it
    )


def log_prob_and_grad(
    problem: Problem,
    points: np.ndarray,
    *,
    blocks: bool = True,
    num_chains: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """The log posterior at `points` [points, dim] and its gradient, as NumPy.

    num_chains: points at once, as a sampler of so many chains would have them.
    """
    rows = block_rows(problem, num_chains) if blocks else problem.rows
    return chain.evaluate(
        posterior(problem, rows).log_prob_and_grad,
        points,
        num_chains=num_chains,
        jit_compile=rows == problem.rows,
    )


def energy_error(
    problem: Problem, settings: SamplerSettings, seed: int, *, blocks: bool = True
) -> float:
    """The largest energy error of 100 leapfrogs of one chain from the start."""
    rows = block_rows(problem) if blocks else problem.rows
    errors = chain.energy_error(
        posterior(problem, rows).log_prob_and_grad,
        seed=tf.constant([0, seed]),
        start=problem.start[np.newaxis],
        step_size=settings.step_size,
        jit_compile=rows == problem.rows,
    )
    return float(np.abs(errors).max())
