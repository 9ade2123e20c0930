"""Our sampler on the traced program, as one of the systems compared.

Of each function `blocks` are the keyword arguments of `nuts.posterior.split_rows`, and
`structured` says whether features are kept by their structure: `nuts.structured`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings, chain
from experiments.inference.leapfrog import LogProbAndGrad
from experiments.inference.samples import gradients_without_waiting
from experiments.nuts.posterior import posterior, split_rows, within_xla
from experiments.nuts.structured import split_design, structured_posterior


def _density(
    problem: RegressionProblem,
    num_chains: int,
    *,
    structured: bool = False,
    **blocks: Any,
) -> tuple[LogProbAndGrad, bool]:
    """The log posterior with its gradient, and whether XLA compiles it."""
    if structured:
        shards = split_design(problem, num_chains=num_chains, **blocks)
        return structured_posterior(shards).log_prob_and_grad, len(shards) == 1
    parts = split_rows(problem, **blocks)
    return posterior(problem, parts).log_prob_and_grad, within_xla(parts)


def prepare(
    problem: RegressionProblem, settings: SamplerSettings, seed: int, **blocks: Any
) -> Callable[[], SystemDraws]:
    """Traces and compiles, and returns the function that samples."""
    density, jit_compile = _density(problem, settings.num_chains, **blocks)
    run = chain.prepare(
        density,
        start=np.repeat(problem.start[np.newaxis], settings.num_chains, 0),
        settings=settings,
        seed=seed,
        jit_compile=jit_compile,
    )

    def sample() -> SystemDraws:
        samples = run()
        gradients = gradients_without_waiting(samples.leapfrogs)
        return SystemDraws(samples.draws, samples.leapfrogs, gradients=gradients)

    return sample


def log_prob_and_grad(
    problem: RegressionProblem,
    points: np.ndarray,
    *,
    num_chains: int = 1,
    **blocks: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The log posterior at `points` [points, dim] and its gradient, as NumPy.

    num_chains: points evaluated at once.
    """
    density, jit_compile = _density(problem, num_chains, **blocks)
    return chain.evaluate(
        density, points, num_chains=num_chains, jit_compile=jit_compile
    )


def energy_error(
    problem: RegressionProblem, settings: SamplerSettings, seed: int, **blocks: Any
) -> float:
    """The largest energy error of 100 leapfrogs of one chain from the start."""
    density, jit_compile = _density(problem, 1, **blocks)
    errors = chain.energy_error(
        density,
        seed=tf.constant([0, seed]),
        start=problem.start[np.newaxis],
        step_size=settings.step_size,
        jit_compile=jit_compile,
    )
    return float(np.abs(errors).max())
