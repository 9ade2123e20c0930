"""BlackJAX's NUTS over a log density in JAX, as one of the systems compared."""

import itertools
from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats

from experiments.baselines.nuts.density import evaluate_jax
from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.inference.samples import gradients_computed


def prepare(
    problem: RegressionProblem, settings: SamplerSettings, seed: int
) -> Callable[[], SystemDraws]:
    """Compiles the whole run as one program, and returns the function that samples.

    Several chains run as one batch, in which every chain waits for the longest tree:
    `SystemDraws.gradients` counts all gradients computed.  Each call has its own random
    stream.
    """
    density, x, y = _density(problem)
    start = jnp.asarray(problem.start)

    @jax.jit
    def run(keys: Any, x: Any, y: Any) -> Any:
        kernel = blackjax.nuts(
            lambda coeffs: density(coeffs, x, y),
            step_size=settings.step_size,
            inverse_mass_matrix=jnp.ones(problem.dim),
            max_num_doublings=settings.max_depth,
        )

        def draw(state: Any, key: Any) -> Any:
            state, info = kernel.step(key, state)
            return state, (state.position, info.num_integration_steps)

        def chain(key: Any) -> Any:
            each = jax.random.split(key, settings.num_results)
            return jax.lax.scan(draw, kernel.init(start), each)[1]

        if len(keys) > 1:
            return jax.vmap(chain)(keys)
        # Without a batch axis, under which loops mask every update.
        return jax.tree.map(lambda leaf: leaf[None], chain(keys[0]))

    def split(call: int) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), call)
        return jax.random.split(key, settings.num_chains)

    compiled = run.lower(split(0), x, y).compile()
    calls = itertools.count()

    def sample() -> SystemDraws:
        values, leapfrogs = map(np.asarray, compiled(split(next(calls)), x, y))
        gradients = gradients_computed(leapfrogs)
        return SystemDraws(values, leapfrogs.astype(np.int64), gradients=gradients)

    return sample


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The density that BlackJAX is given and its gradient, in float32."""
    density, *data = _density(problem)
    return evaluate_jax(density, tuple(data), points)


def _density(problem: RegressionProblem) -> tuple[Callable, Any, Any]:
    """The log density as a function of (coeffs, x, y), and x and y."""

    def density(coeffs: Any, x: Any, y: Any) -> Any:
        logits = x @ coeffs  # [rows]
        likelihood = jnp.sum(y * logits - jnp.logaddexp(0.0, logits))
        return likelihood + jnp.sum(stats.norm.logpdf(coeffs))

    x = jnp.asarray(problem.features)
    return density, x, jnp.asarray(problem.labels, x.dtype)
