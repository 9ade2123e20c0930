"""The traced program under our sampler, as one of the systems compared."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.inference import chain
from experiments.nuts.program import logistic_regression
from experiments.problem import Draws, Problem, SamplerSettings


def posterior(problem: Problem) -> ppl.Unconstrained:
    """The posterior of `logistic_regression` given the problem's data."""
    features = tf.constant(np.ascontiguousarray(problem.features.T))  # [dim, rows]
    labels = tf.constant(problem.labels)
    return ppl.unconstrain(logistic_regression, features, observed={"labels": labels})


def prepare(
    problem: Problem, settings: SamplerSettings, seed: int
) -> Callable[[], Draws]:
    """Traces and compiles, and returns the function that samples."""
    return chain.prepare(
        posterior(problem).log_prob_and_grad,
        start=np.repeat(problem.start[np.newaxis], settings.num_chains, 0),
        settings=settings,
        seed=seed,
    )


def log_prob_and_grad(
    problem: Problem, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The log posterior at `points` [points, dim] and its gradient, as NumPy."""
    return chain.evaluate(posterior(problem).log_prob_and_grad, points)


def energy_error(problem: Problem, settings: SamplerSettings, seed: int) -> float:
    """The largest energy error of a trajectory of 100 steps from the problem's start."""
    errors = chain.energy_error(
        posterior(problem).log_prob_and_grad,
        seed=tf.constant([0, seed]),
        start=problem.start[np.newaxis],
        step_size=settings.step_size,
    )
    return float(np.abs(errors).max())
