"""TFP's own No-U-Turn sampler on a density written with TFP's distributions."""

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings, chain
from experiments.inference.leapfrog import value_and_gradient

tfd = tfp.distributions


def density(problem: RegressionProblem) -> Callable[[tf.Tensor], tf.Tensor]:
    """The log posterior of one chain, [1, dim] -> [1]."""
    features = tf.constant(np.ascontiguousarray(problem.features.T))  # [dim, rows]
    labels = tf.constant(problem.labels)  # [rows]

    def log_prob(coeffs: tf.Tensor) -> tf.Tensor:
        logits = tf.linalg.matvec(features, coeffs[0], transpose_a=True)
        terms = tfd.Bernoulli(logits=logits).log_prob(labels)
        prior = tfd.Normal(0.0, 1.0).log_prob(coeffs)
        return tf.reduce_sum(tf.cast(prior, tf.float64), -1) + tf.reduce_sum(
            tf.cast(terms, tf.float64)
        )

    return log_prob


def prepare(
    problem: RegressionProblem, settings: SamplerSettings, seed: int
) -> Callable[[], SystemDraws]:
    """Returns the function that samples; its first call compiles."""
    log_prob = density(problem)
    kernel = tfp.mcmc.NoUTurnSampler(
        lambda coeffs: tf.cast(log_prob(coeffs), tf.float32),  # it mixes no dtypes
        step_size=np.float32(settings.step_size),
        max_tree_depth=settings.max_depth,
    )
    start = tf.constant(problem.start[np.newaxis])

    @tf.function(jit_compile=True, autograph=False)
    def sample(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tfp.mcmc.sample_chain(
            num_results=settings.num_results,
            current_state=start,
            kernel=kernel,
            trace_fn=lambda _, results: results.leapfrogs_taken,
            seed=seed,
        )

    calls = itertools.count()

    def run() -> SystemDraws:
        draws, leapfrogs = sample(tf.constant([next(calls), seed]))
        return SystemDraws(
            values=np.moveaxis(draws.numpy(), 0, 1), leapfrogs=leapfrogs.numpy().T
        )

    return run


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The log posterior at `points` [points, dim] and its gradient, as NumPy."""
    return chain.evaluate(value_and_gradient(density(problem)), points)
