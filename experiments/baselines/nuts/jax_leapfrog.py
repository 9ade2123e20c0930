"""A bare leapfrog loop in JAX, float32: a reference for speed, not a sampler."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.baselines.nuts.density import evaluate_jax
from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings

LEAPFROGS_PER_DRAW = 255  # a full tree of depth 8


def prepare(
    problem: RegressionProblem,
    settings: SamplerSettings,
    seed: int,
    *,
    layout: str = "dim_rows",
    batched: bool = False,
) -> Callable[[], SystemDraws]:
    """Compiles the loop and returns the function that runs it from `problem.start`.

    A "draw" is the position after another LEAPFROGS_PER_DRAW steps; the momentum is
    drawn anew for each call, not for each draw, and the chains run one after another.

    layout: "dim_rows" stores the features [dim, rows], "rows_dim" [rows, dim].
    batched: whether all chains run at once.
    """
    density, x, y = _density(problem, layout)
    step_size = jnp.float32(settings.step_size)
    value_and_grad = jax.value_and_grad(density)

    def trajectory(position: Any, momentum: Any, x: Any, y: Any) -> Any:
        def leapfrog(_: Any, state: Any) -> Any:
            position, momentum, grad, _ = state
            momentum = momentum + 0.5 * step_size * grad
            position = position + step_size * momentum
            log_prob, grad = value_and_grad(position, x, y)
            return position, momentum + 0.5 * step_size * grad, grad, log_prob

        def draw(state: Any, _: Any) -> Any:
            state = jax.lax.fori_loop(0, LEAPFROGS_PER_DRAW, leapfrog, state)
            return state, (state[0], state[3])

        log_prob, grad = value_and_grad(position, x, y)
        state = (position, momentum, grad, log_prob)
        # The log prob is handed out too, so that the compiler cannot leave it out.
        return jax.lax.scan(draw, state, length=settings.num_results)[1]

    start = jnp.asarray(problem.start)
    shape = (settings.num_chains, problem.dim)
    if batched:
        trajectory = jax.vmap(trajectory, in_axes=(None, 0, None, None))
    example = jnp.zeros(shape if batched else shape[1:], jnp.float32)
    compiled = jax.jit(trajectory).lower(start, example, x, y).compile()
    calls = itertools.count()

    def sample() -> SystemDraws:
        random = np.random.default_rng((seed, next(calls)))
        momenta = random.standard_normal(shape, np.float32)
        starts = momenta[np.newaxis] if batched else momenta
        values = [np.asarray(compiled(start, jnp.asarray(m), x, y)[0]) for m in starts]
        done = (settings.num_chains, settings.num_results)
        return SystemDraws(
            values=values[0] if batched else np.stack(values),
            leapfrogs=np.full(done, LEAPFROGS_PER_DRAW, np.int64),
        )

    return sample


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray, *, layout: str = "dim_rows"
) -> tuple[np.ndarray, np.ndarray]:
    """The loop's density, without its constants, and its gradient, in float32."""
    density, *data = _density(problem, layout)
    return evaluate_jax(density, tuple(data), points)


def _density(problem: RegressionProblem, layout: str) -> tuple[Callable, Any, Any]:
    """The log density as a function of (coeffs, x, y), and x and y."""
    if layout not in ("dim_rows", "rows_dim"):
        raise ValueError(f"layout: given {layout!r}, wanted 'dim_rows' or 'rows_dim'")

    def density(coeffs: Any, x: Any, y: Any) -> Any:
        logits = coeffs @ x if layout == "dim_rows" else x @ coeffs  # [rows]
        likelihood = jnp.sum(y * logits - jax.nn.softplus(logits))
        return likelihood - 0.5 * jnp.sum(coeffs**2)

    features = problem.features.T if layout == "dim_rows" else problem.features
    x = jnp.asarray(np.ascontiguousarray(features))
    return density, x, jnp.asarray(problem.labels, jnp.float32)
