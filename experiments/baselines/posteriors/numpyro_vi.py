"""NumPyro's SVI with AutoNormal in float64, its steps in one compiled loop."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import distributions as dist
from numpyro.infer import SVI, Trace_ELBO, init_to_uniform
from numpyro.infer.autoguide import AutoNormal

from experiments.baselines.posteriors.numpyro_models import program
from experiments.bench.problems import VariationalProblem, VariationalRun


def run(problem: VariationalProblem) -> VariationalRun:
    """As `SVI.run` does it without a progress bar, compiled ahead of time.

    Rows of a batch are drawn with replacement: the subsample of NumPyro's own plate
    shuffles all rows at each step.
    """
    jax.config.update("jax_enable_x64", True)
    begin = time.perf_counter()
    key, rows_key = jax.random.split(jax.random.PRNGKey(problem.seed))
    arguments, batch = (), None
    if problem.batch_size is None:
        model: Any = program(problem.name, problem.data)
    else:
        x, y = jnp.asarray(problem.data["x"], jnp.float64), problem.data["y"]
        y = jnp.asarray(y)
        num, size = len(x), problem.batch_size

        def model(x: Any, y: Any) -> None:
            beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]))
            with numpyro.handlers.scale(scale=num / size):
                numpyro.sample("y", dist.Bernoulli(logits=x @ beta), obs=y)

        def batch(step: Any, x: Any, y: Any) -> tuple[Any, Any]:
            rows = jax.random.randint(
                jax.random.fold_in(rows_key, step), (size,), 0, num
            )
            return x[rows], y[rows]

        arguments = (x, y)
    guide = AutoNormal(
        model, init_loc_fn=init_to_uniform(radius=0.0), init_scale=problem.scale
    )
    optimizer = numpyro.optim.Adam(problem.learning_rate)
    svi = SVI(model, guide, optimizer, Trace_ELBO())
    first = arguments if batch is None else batch(0, *arguments)
    state = svi.init(key, *first)

    @jax.jit
    def steps(state: Any, *arguments: Any) -> Any:
        def step(state: Any, number: Any) -> Any:
            given = arguments if batch is None else batch(number, *arguments)
            return svi.update(state, *given)

        return jax.lax.scan(step, state, jnp.arange(problem.num_steps))

    compiled = steps.lower(state, *arguments).compile()
    built = time.perf_counter()
    state, _ = jax.block_until_ready(compiled(state, *arguments))
    done = time.perf_counter()
    params = {name: np.asarray(p) for name, p in svi.get_params(state).items()}
    names = [name.removesuffix("_auto_loc") for name in params if "_auto_loc" in name]
    return VariationalRun(
        means={name: params[f"{name}_auto_loc"] for name in names},
        deviations={name: params[f"{name}_auto_scale"] for name in names},
        seconds={"build": built - begin, "steps": done - built},
    )
