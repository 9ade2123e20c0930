"""The density written by hand in TensorFlow, under the same sampler as ours.

What it takes longer or shorter than the traced program is what the language costs.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings, chain
from experiments.inference.leapfrog import LogProbAndGrad, value_and_gradient


def density(problem: RegressionProblem, *, gradient: str) -> LogProbAndGrad:
    """The log posterior and its gradient, for one chain: [1, dim] -> [1], [1, dim].

    gradient: "autodiff", or "by_hand".
    """
    features = tf.constant(np.ascontiguousarray(problem.features.T))  # [dim, rows]
    labels = tf.constant(problem.labels, tf.float32)  # [rows]

    def log_prob(coeffs: tf.Tensor) -> tf.Tensor:
        logits = tf.linalg.matvec(features, coeffs[0], transpose_a=True)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        prior = -0.5 * tf.reduce_sum(tf.square(coeffs), axis=-1)
        return tf.cast(prior, tf.float64) - tf.reduce_sum(tf.cast(losses, tf.float64))

    def log_prob_and_grad(coeffs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.linalg.matvec(features, coeffs[0], transpose_a=True)
        terms = (
            labels * logits
            - tf.maximum(logits, 0.0)
            - tf.math.log1p(tf.exp(-tf.abs(logits)))
        )
        prior = -0.5 * tf.reduce_sum(tf.square(coeffs), axis=-1)
        grad = tf.linalg.matvec(features, labels - tf.sigmoid(logits)) - coeffs[0]
        value = tf.reduce_sum(tf.cast(terms, tf.float64)) + tf.cast(prior, tf.float64)
        return value, grad[tf.newaxis]

    choices = {"autodiff": value_and_gradient(log_prob), "by_hand": log_prob_and_grad}
    if gradient not in choices:
        raise ValueError(f"gradient: given {gradient!r}, wanted one of {list(choices)}")
    return choices[gradient]


def prepare(
    problem: RegressionProblem, settings: SamplerSettings, seed: int, *, gradient: str
) -> Callable[[], SystemDraws]:
    """Traces and compiles, and returns the function that samples."""
    run = chain.prepare(
        density(problem, gradient=gradient),
        start=np.repeat(problem.start[np.newaxis], settings.num_chains, 0),
        settings=settings,
        seed=seed,
    )

    def sample() -> SystemDraws:
        samples = run()
        return SystemDraws(values=samples.draws, leapfrogs=samples.leapfrogs)

    return sample


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray, *, gradient: str
) -> tuple[np.ndarray, np.ndarray]:
    """The log posterior at `points` [points, dim] and its gradient, as NumPy."""
    return chain.evaluate(density(problem, gradient=gradient), points)
