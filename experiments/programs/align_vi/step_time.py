"""The cost of the language: Figure 12 through `ppl_core`, and written by hand."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from experiments.programs import preconditioned
from experiments.programs.align_vi import conjugate
from experiments.programs.turns import in_turns, ratio

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
NUM_ROWS, NUM_FEATURES = 1000, 50


class Losses(NamedTuple):
    """One loss twice: (parameters [2 * features], seed) -> scalar."""

    ours: Loss
    handwritten: Loss


def losses(rng: np.random.Generator) -> Losses:
    """The loss of a mean-field regression of 1000 rows and 50 features."""
    features = np.float32(rng.standard_normal([NUM_ROWS, NUM_FEATURES]))
    y = np.float32(features.sum(1) + rng.standard_normal(NUM_ROWS))
    noise = conjugate.REGRESSION_NOISE

    def ours(parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        terms = preconditioned.elbo_terms(
            lambda: conjugate.regression(features),
            lambda: conjugate.mean_field(parameters, ()),
            {"coeffs": "q_coeffs"},
            {"y": y},
            seed,
        )
        return preconditioned.negative(terms)

    def handwritten(parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seed = tfp.random.sanitize_seed(seed, salt="q_coeffs")
        loc, scale = tf.split(parameters, 2, axis=-1)
        scale = tf.nn.softplus(scale)
        coeffs = loc + scale * tf.random.stateless_normal([NUM_FEATURES], seed)
        errors = (y - tf.linalg.matvec(features, coeffs)) / noise
        log_2pi = np.log(2 * np.pi)
        energy = -0.5 * tf.reduce_sum(coeffs**2) - 0.5 * NUM_FEATURES * log_2pi
        energy -= 0.5 * tf.reduce_sum(errors**2)
        energy -= NUM_ROWS * (np.log(noise) + 0.5 * log_2pi)
        entropy = tf.reduce_sum(tf.math.log(scale))
        entropy += 0.5 * NUM_FEATURES * (1 + log_2pi)
        return -energy - entropy

    return Losses(ours, handwritten)


def measure(
    rng: np.random.Generator, *, num_turns: int, num_steps: int
) -> tuple[float, dict[str, Any]]:
    """How far the two losses end from each other, relatively; and the times."""

    def trainer(loss: Loss) -> Callable[[], tf.Tensor]:
        @tf.function(jit_compile=True, autograph=False)
        def train(parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            settings = {"seed": seed, "num_steps": num_steps}
            return preconditioned.train(loss, parameters, **settings).losses

        arguments = tf.zeros(2 * NUM_FEATURES), tf.constant([0, 1])
        return lambda: train(*arguments)

    first, second = (trainer(loss) for loss in losses(rng))
    ended = first()[-1].numpy(), second()[-1].numpy()
    ours, handwritten = in_turns(first, second, num_turns=num_turns)
    times = {
        "ppl_core_microseconds": 1e6 * float(np.median(ours)) / num_steps,
        "handwritten_microseconds": 1e6 * float(np.median(handwritten)) / num_steps,
        **ratio(ours, handwritten),
    }
    return abs(ended[0] / ended[1] - 1), times
