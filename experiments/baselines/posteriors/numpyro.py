"""NumPyro's NUTS with its own warm-up, in float64."""

import time
from typing import Any

import jax
import numpy as np
from numpyro.infer import NUTS

from experiments.baselines.posteriors.numpyro_models import program
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol


def run(problem: PosteriorProblem, protocol: Protocol, seed: int) -> PosteriorRun:
    """NumPyro's NUTS with its defaults, all chains as one batch.

    The loops are those of numpyro.infer.MCMC with chain_method="vectorized", compiled
    ahead of time; the compilation counts as the build.
    """
    jax.config.update("jax_enable_x64", True)
    begin = time.perf_counter()
    kernel = NUTS(
        program(problem.name, problem.data),
        target_accept_prob=protocol.target_accept,
        max_tree_depth=protocol.max_depth,
    )
    key = jax.random.PRNGKey(seed)
    if protocol.num_chains > 1:  # a batch of one would mask every update
        key = jax.random.split(key, protocol.num_chains)
    state = kernel.init(key, protocol.num_warmup, None, (), {})

    def step(state: Any, _: Any) -> Any:
        state = kernel.sample(state, (), {})
        return state, state.num_steps

    def draw(state: Any, _: Any) -> Any:
        state = kernel.sample(state, (), {})
        return state, (state.z, state.num_steps, state.diverging)

    @jax.jit
    def warm_up(state: Any) -> Any:
        return jax.lax.scan(step, state, length=protocol.num_warmup)

    @jax.jit
    def sample(state: Any) -> Any:
        return jax.lax.scan(draw, state, length=protocol.num_draws)

    warming = warm_up.lower(state).compile()
    sampling = sample.lower(state).compile()
    built = time.perf_counter()
    state, warmup_steps = jax.block_until_ready(warming(state))
    warmed = time.perf_counter()
    state, (z, steps, diverged) = jax.block_until_ready(sampling(state))
    seconds = {
        "build": built - begin,
        "warmup": warmed - built,
        "sampling": time.perf_counter() - warmed,
    }
    shape = (protocol.num_draws, protocol.num_chains)
    z = {
        name: value.reshape(*shape, *value.shape[len(steps.shape) :])
        for name, value in z.items()
    }
    constrain = jax.jit(jax.vmap(jax.vmap(kernel.postprocess_fn((), {}))))
    values = constrain(z)
    return PosteriorRun(
        values={
            name: np.asarray(values[name]).swapaxes(0, 1) for name in problem.compared
        },
        leapfrogs=np.asarray(steps).reshape(shape).T.astype(np.int64),
        diverged=np.asarray(diverged).reshape(shape).T,
        warmup_leapfrogs=int(np.sum(warmup_steps)),
        seconds=seconds,
        settings={
            "metric": "diagonal, of each chain",
            "step_size": np.ravel(state.adapt_state.step_size).tolist(),
            "dtype": "float64",
        },
    )
