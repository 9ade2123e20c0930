"""One product of the features with a vector, with which a gradient is compared.

A gradient needs two such passes, one for the logits and one for the coefficients.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings

PASSES = 100  # a draw: enough that a call's own cost is not seen


def prepare(
    problem: RegressionProblem, settings: SamplerSettings, seed: int
) -> Callable[[], SystemDraws]:
    """Returns the function that passes PASSES times a draw; "leapfrogs" are passes."""
    del seed  # nothing is drawn
    features = tf.constant(np.ascontiguousarray(problem.features.T))  # [dim, rows]
    passes = PASSES * settings.num_results

    @tf.function(autograph=False)
    def run_passes(vector: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = tf.linalg.matvec(features, vector, transpose_a=True)
            return i + 1, vector + 0.0 * logits[0]  # the next pass waits for this one

        return tf.while_loop(lambda i, _: i < passes, body, (tf.constant(0), vector))[1]

    start = tf.constant(problem.start)

    def run() -> SystemDraws:
        end = run_passes(start).numpy()
        shape = (1, settings.num_results)
        return SystemDraws(
            values=np.broadcast_to(end, (*shape, problem.dim)),
            leapfrogs=np.full(shape, PASSES),
        )

    return run
