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


def posterior(problem: Problem, num_chains: int = 1) -> ppl.Unconstrained:
    """The posterior of `logistic_regression` given the problem's data.

    On CPUs the data are in blocks of rows, as many under way as there are cores; see
    `unconstrain_shards`.  On an accelerator they are whole.
    """
    rows = _block_rows(problem, num_chains)
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


def in_one_block(problem: Problem, num_chains: int = 1) -> bool:
    """Whether XLA should compile the density together with the sampler's loop."""
    return _block_rows(problem, num_chains) == problem.rows


def _block_rows(problem: Problem, num_chains: int) -> int:
    """Rows a block: all of them where they fit, or on an accelerator."""
    if tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return problem.rows
    row_bytes = 4 * (problem.dim + num_chains)
    num_blocks = math.ceil(problem.rows * row_bytes / BLOCK_BYTES)
    return math.ceil(problem.rows / num_blocks)


def prepare(
    problem: Problem, settings: SamplerSettings, seed: int
) -> Callable[[], Draws]:
    """Traces and compiles, and returns the function that samples."""
    return chain.prepare(
        posterior(problem, settings.num_chains).log_prob_and_grad,
        start=np.repeat(problem.start[np.newaxis], settings.num_chains, 0),
        settings=settings,
        seed=seed,
        jit_compile=in_one_block(problem, settings.num_chains),
    )


def log_prob_and_grad(
    problem: Problem, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The log posterior at `points` [points, dim] and its gradient, as NumPy."""
    return chain.evaluate(
        posterior(problem).log_prob_and_grad,
        points,
        jit_compile=in_one_block(problem),
    )


def energy_error(problem: Problem, settings: SamplerSettings, seed: int) -> float:
    """The largest energy error of 100 leapfrogs from the problem's start."""
    errors = chain.energy_error(
        posterior(problem).log_prob_and_grad,
        seed=tf.constant([0, seed]),
        start=problem.start[np.newaxis],
        step_size=settings.step_size,
        jit_compile=in_one_block(problem),
    )
    return float(np.abs(errors).max())
