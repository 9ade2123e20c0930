"""TensorFlow Probability's windowed NUTS on our traced log densities, in float64.

It shares the density with our system, so the two rows differ in the sampler alone.
"""

import time
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.internal import unnest

import ppl_core as ppl
from experiments.bench.posteriors import MODELS, build
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol
from experiments.inference import drawing, results, starts

tfd, tfb = tfp.distributions, tfp.bijectors


class Density(tfd.Distribution):
    """A posterior on unconstrained space, for a joint distribution of one variable.

    posterior: its gradient is `log_prob_and_grad`'s, which TFP need not find again.
    weight: a scalar, by which the log density is multiplied.
    """

    def __init__(self, posterior: ppl.Posterior, weight: tf.Tensor) -> None:
        self._posterior, self._weight = posterior, weight
        super().__init__(
            dtype=posterior.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._posterior.dim])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self._posterior.dim])

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return tfb.Identity()

    def _sample_n(self, n: int, seed: Any = None) -> tf.Tensor:
        # A joint distribution draws once to learn its shapes.
        return tf.zeros([n, self._posterior.dim], self.dtype)

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def weighted(vectors: tf.Tensor) -> Any:
            log_prob, grad = self._posterior.log_prob_and_grad(vectors)
            log_prob = tf.cast(log_prob, vectors.dtype)

            def backward(upstream: tf.Tensor) -> tf.Tensor:
                return (upstream * self._weight)[..., tf.newaxis] * grad

            return log_prob * self._weight, backward

        return weighted(value)


def run(problem: PosteriorProblem, protocol: Protocol, seed: int) -> PosteriorRun:
    """`windowed_adaptive_nuts` with its defaults, all chains as one batch by XLA.

    Its one call compiles, warms up and samples.  A call with a log density of NaN, in
    which every trajectory ends at its first leapfrog, compiles; a second one tells
    what such a call takes besides.  Warm-up and sampling share the seconds as they do
    the leapfrogs of the batch, each as many as its longest trajectory has.
    """
    begin = time.perf_counter()
    posterior = build(MODELS[problem.name], problem.data)
    seeds = drawing.seed_pair(seed)
    start = _starts(posterior, protocol.num_chains, seeds)

    @tf.function(jit_compile=True, autograph=False)
    def sample(weight: tf.Tensor, seed: tf.Tensor, start: tf.Tensor) -> Any:
        return tfp.experimental.mcmc.windowed_adaptive_nuts(
            protocol.num_draws,
            tfd.JointDistributionSequential([Density(posterior, weight)]),
            n_chains=protocol.num_chains,
            num_adaptation_steps=protocol.num_warmup,
            current_state=[start],
            dual_averaging_kwargs={"target_accept_prob": protocol.target_accept},
            max_tree_depth=protocol.max_depth,
            trace_fn=_statistics,
            discard_tuning=False,
            seed=seed,
        )

    def timed(weight: float) -> tuple[Any, float]:
        started = time.perf_counter()
        (vectors,), statistics = sample(
            tf.constant(weight, posterior.dtype), seeds, start
        )
        found = np.asarray(vectors), {k: np.asarray(v) for k, v in statistics.items()}
        return found, time.perf_counter() - started

    timed(np.nan)
    _, idle = timed(np.nan)
    built = time.perf_counter() - begin - 2 * idle
    (vectors, statistics), seconds = timed(1.0)
    leapfrogs = statistics["leapfrogs"].astype(np.int64)
    num = protocol.num_warmup
    of_batch = leapfrogs.max(axis=1)
    share = of_batch[:num].sum() / of_batch.sum()
    draws = np.moveaxis(vectors[num:], 0, 1)
    values = results.Constrained(posterior.constrain, draws).by_name(draws)
    return PosteriorRun(
        values={name: values[name] for name in problem.compared},
        leapfrogs=leapfrogs[num:].T,
        diverged=statistics["diverged"][num:].T,
        warmup_leapfrogs=int(leapfrogs[:num].sum()),
        seconds={
            "build": built,
            "warmup": share * seconds,
            "sampling": (1 - share) * seconds,
        },
        settings={
            "metric": "diagonal, of each chain",
            "step_size": np.unique(statistics["step_size"][-1]).tolist(),
            "dtype": "float64",
        },
        cold_start_difference=-2 * idle,
    )


def _statistics(state: Any, bijector: Any, is_adapting: Any, kernel: Any) -> Any:
    """What is kept of each transition."""
    del state, bijector, is_adapting
    innermost = unnest.get_innermost
    return {
        "leapfrogs": innermost(kernel, "leapfrogs_taken"),
        "diverged": innermost(kernel, "has_divergence"),
        "step_size": innermost(kernel, "step_size"),
    }


def _starts(posterior: ppl.Posterior, num_chains: int, seed: tf.Tensor) -> tf.Tensor:
    """As ours: uniform(-2, 2) on unconstrained space, where the density is finite."""
    evaluate = tf.function(posterior.log_prob_and_grad, jit_compile=True)
    found = starts.find_starts(
        lambda position: evaluate(tf.constant(position, posterior.dtype)),
        seed=seed,
        num_chains=num_chains,
        dim=posterior.dim,
    )
    return tf.constant(found.position, posterior.dtype)
