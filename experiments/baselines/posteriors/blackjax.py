"""BlackJAX's NUTS and window adaptation on NumPyro's log densities, in float64."""

import time
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import initialize_model

from experiments.baselines.posteriors.numpyro_models import program
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol


def run(problem: PosteriorProblem, protocol: Protocol, seed: int) -> PosteriorRun:
    """Window adaptation and NUTS, each chain its own, all chains as one batch.

    Starts are NumPyro's: uniform(-2, 2) on unconstrained space.  Compilation is ahead
    of time, and counts as the build.
    """
    jax.config.update("jax_enable_x64", True)
    begin = time.perf_counter()
    keys = jax.random.split(jax.random.key(seed), (3, protocol.num_chains))
    model = initialize_model(
        keys[0], program(problem.name, problem.data), dynamic_args=False
    )

    def log_density(position: Any) -> Any:
        return -model.potential_fn(position)

    @jax.jit
    def warm_up(keys: Any, starts: Any) -> Any:
        def one(key: Any, start: Any) -> Any:
            adaptation = blackjax.window_adaptation(
                blackjax.nuts,
                log_density,
                target_acceptance_rate=protocol.target_accept,
                max_num_doublings=protocol.max_depth,
            )
            (state, parameters), info = adaptation.run(
                key, start, num_steps=protocol.num_warmup
            )
            parameters.pop("max_num_doublings", None)
            return state, parameters, info.info.num_integration_steps.sum()

        return jax.vmap(one)(keys, starts)

    @jax.jit
    def sample(keys: Any, states: Any, parameters: Any) -> Any:
        def one(key: Any, state: Any, parameters: Any) -> Any:
            kernel = blackjax.nuts(
                log_density, max_num_doublings=protocol.max_depth, **parameters
            )

            def draw(state: Any, key: Any) -> Any:
                state, info = kernel.step(key, state)
                statistics = info.num_integration_steps, info.is_divergent
                return state, (state.position, *statistics)

            each = jax.random.split(key, protocol.num_draws)
            return jax.lax.scan(draw, state, each)[1]

        return jax.vmap(one)(keys, states, parameters)

    starts = model.param_info.z
    shapes = jax.eval_shape(warm_up, keys[1], starts)
    warming = warm_up.lower(keys[1], starts).compile()
    sampling = sample.lower(keys[2], *shapes[:2]).compile()
    built = time.perf_counter()
    states, parameters, warmup_leapfrogs = jax.block_until_ready(
        warming(keys[1], starts)
    )
    warmed = time.perf_counter()
    positions, leapfrogs, diverged = jax.block_until_ready(
        sampling(keys[2], states, parameters)
    )
    seconds = {
        "build": built - begin,
        "warmup": warmed - built,
        "sampling": time.perf_counter() - warmed,
    }
    constrain = jax.jit(jax.vmap(jax.vmap(model.postprocess_fn)))
    values = constrain(positions)
    return PosteriorRun(
        values={name: np.asarray(values[name]) for name in problem.compared},
        leapfrogs=np.asarray(leapfrogs).astype(np.int64),
        diverged=np.asarray(diverged),
        warmup_leapfrogs=int(jnp.sum(warmup_leapfrogs)),
        seconds=seconds,
        settings={
            "metric": "diagonal, of each chain",
            "step_size": np.asarray(parameters["step_size"]).tolist(),
            "dtype": "float64",
        },
    )
