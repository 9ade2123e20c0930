"""NumPyro's NUTS as one of the systems compared: NumPy in, NumPy out.

The kernel runs in a scan that is compiled once: MCMC.run would compile at each call.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import NUTS, init_to_value
from numpyro.infer.util import log_density

from experiments.baselines.nuts.density import check_step_size, evaluate_jax
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
    program, x, y = _program(problem)
    kernel = NUTS(
        program,
        step_size=settings.step_size,
        adapt_step_size=False,
        adapt_mass_matrix=False,
        dense_mass=False,
        max_tree_depth=settings.max_depth,
        init_strategy=init_to_value(values={"coeffs": problem.start}),
    )

    def split(call: int) -> Any:
        key = jax.random.fold_in(jax.random.PRNGKey(seed), call)
        alone = settings.num_chains == 1  # a batch of one would mask every update
        return key if alone else jax.random.split(key, settings.num_chains)

    begin = kernel.init(split(0), 0, None, (x, y), {})

    @jax.jit
    def run(keys: Any, x: Any, y: Any) -> Any:
        def draw(state: Any, _: Any) -> Any:
            state = kernel.sample(state, (x, y), {})
            return state, (state.z["coeffs"], state.num_steps, state.adapt_state)

        state = begin._replace(rng_key=keys)
        return jax.lax.scan(draw, state, length=settings.num_results)[1]

    compiled = run.lower(split(0), x, y).compile()
    calls = itertools.count(1)

    def sample() -> SystemDraws:
        values, num_steps, adapt_state = compiled(split(next(calls)), x, y)
        check_step_size("NumPyro", adapt_state.step_size, settings)
        (metric,) = adapt_state.inverse_mass_matrix.values()
        if not np.all(np.asarray(metric) == 1):
            raise RuntimeError(f"NumPyro's inverse metric: {metric}, wanted ones")
        leapfrogs = np.asarray(num_steps).astype(np.int64)
        leapfrogs = leapfrogs.reshape(settings.num_results, settings.num_chains).T
        by_draw = np.asarray(values).reshape(settings.num_results, -1, problem.dim)
        gradients = gradients_computed(leapfrogs)
        return SystemDraws(by_draw.swapaxes(0, 1), leapfrogs, gradients=gradients)

    return sample


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """NumPyro's density and its gradient, in float32."""
    program, *data = _program(problem)

    def density(coeffs: Any, *data: Any) -> Any:
        return log_density(program, data, {}, {"coeffs": coeffs})[0]

    return evaluate_jax(density, tuple(data), points)


def _program(problem: RegressionProblem) -> tuple[Callable, Any, Any]:
    """The NumPyro program and its two arguments."""

    def program(x: Any, y: Any) -> None:
        prior = dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1)
        coeffs = numpyro.sample("coeffs", prior)
        numpyro.sample("labels", dist.Bernoulli(logits=x @ coeffs), obs=y)

    return program, jnp.asarray(problem.features), jnp.asarray(problem.labels)
