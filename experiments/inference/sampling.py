"""Draws from a posterior: starts, warm-up and NUTS, in one call or by the chunk."""

from collections.abc import Callable
from typing import Any

from experiments.inference import walnuts, warmup
from experiments.inference.drawing import chunks, kept, seed_pair
from experiments.inference.given_starts import given_positions
from experiments.inference.kernel import compile_kernel
from experiments.inference.leapfrog import LogProbAndGrad, value_and_gradient
from experiments.inference.memory import check_bytes
from experiments.inference.metric import Kind
from experiments.inference.nuts import NUTS, Method
from experiments.inference.results import to_datatree
from experiments.inference.settings import STATISTICS_BYTES, check_count, suggesting
from experiments.inference.tiles import Kernel
from experiments.inference.warmup_state import WarmupSettings


def compile_posterior(
    posterior: Any,
    settings: WarmupSettings,
    *,
    num_chains: int,
    dim: int | None = None,
    jit_compile: bool = True,
    first_chain: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    method: Method = NUTS,
) -> Kernel:
    """The sampler of a posterior, or of a log prob function of `dim` coordinates.

    posterior: of `ppl.posterior`; or a function from positions [chains, dim] to log
      probs [chains], whose gradient is then found by autodiff.
    should_stop: ends a run of the sampler when it returns True: see `chunks`.

    Raises ValueError for a number of chains below 1, and without a dimension.
    """
    check_count("num_chains", num_chains)
    density, dim = _density(posterior, dim)
    return compile_kernel(
        density,
        num_chains=num_chains,
        dim=dim,
        max_depth=settings.max_depth,
        jit_compile=jit_compile,
        first_chain=first_chain,
        keep_grads=settings.metric == "gradient",
        should_stop=should_stop,
        method=method,
    )


@suggesting
def sample_nuts(
    posterior: Any,
    *,
    num_chains: int = 4,
    num_warmup: int = 1000,
    num_draws: int = 1000,
    seed: int = 0,
    start: Any = None,
    target_accept: float = 0.8,
    max_depth: int = 10,
    metric: Kind = "diagonal",
    pooled: bool | None = None,
    step_size: float | None = None,
    inverse_mass: Any = None,
    dim: int | None = None,
    jit_compile: bool = True,
    method: Method = NUTS,
) -> Any:
    """Draws from a posterior by NUTS, warmed up as Stan does: an ArviZ DataTree.

    posterior: of `ppl.posterior`; or a function from positions [chains, dim] to log
      probs [chains], with `dim`.
    num_warmup, num_draws: of each chain.  Warm-up draws adapt the step size and the
      metric, and are not kept.
    start: None for uniform(-2, 2) on the unconstrained scale, vectors [chains, dim], or
      values by name, of one variable or more.
    metric: "diagonal", "dense", or "gradient", which is diagonal and estimated from
      draws and gradients.
    pooled: whether all chains share one metric; None: from 8 chains on.
    step_size: where the adaptation begins, or without warm-up the one to use.
    inverse_mass: to begin with; see `metric.to_scale`.
    jit_compile: whether XLA compiles the density together with the sampler.
    method: what `sample_walnuts` changes.

    The same seed gives the same draws.  `inference.summarize` judges the tree.

    Raises ValueError, naming it, for a parameter out of range, for more draws than this
    machine's memory holds, where no chain can start, and for an improper posterior.

    >>> tree = sample_nuts(
    ...     lambda x: -0.5 * tf.reduce_sum(x**2, axis=-1), dim=2, num_draws=50, seed=1
    ... )
    >>> tree["posterior/x"].shape, int(tree["sample_stats/diverging"].sum())
    ((4, 50, 2), 0)
    """
    settings = WarmupSettings(
        num_warmup=num_warmup,
        target_accept=target_accept,
        metric=metric,
        pooled=pooled,
        max_depth=max_depth,
        step_size=step_size,
        inverse_mass=inverse_mass,
    )
    check_count("num_chains", num_chains)
    check_count("num_draws", num_draws)
    seeds = seed_pair(seed)
    _, dim = _density(posterior, dim)
    needed = num_chains * num_draws * (8 * dim + STATISTICS_BYTES)
    check_bytes("num_draws", num_draws, needed)
    kernel = compile_posterior(
        posterior,
        settings,
        num_chains=num_chains,
        dim=dim,
        jit_compile=jit_compile,
        method=method,
    )
    if start is not None:
        drawn = warmup.drawn_starts(seeds, num_chains=num_chains, dim=dim)
        start = given_positions(
            start,
            num_chains=num_chains,
            dim=dim,
            posterior=posterior if hasattr(posterior, "names") else None,
            drawn=drawn,
        )
    samples, found = kept(
        chunks(
            kernel,
            settings,
            num_draws=num_draws,
            seed=seeds,
            posterior=posterior,
            start=start,
        )
    )
    return to_datatree(
        samples,
        posterior if hasattr(posterior, "constrain") else None,
        step_size=found.step_size,
        max_depth=max_depth,
        warmup=found if num_warmup else None,
        settings={
            "seed": seed,
            "num_warmup": num_warmup,
            "target_accept": target_accept,
            "metric": metric,
            **method.settings,
        },
    )


def sample_walnuts(
    posterior: Any,
    *,
    max_energy_error: float = 1.0,
    max_level: int = 10,
    **options: Any,
) -> Any:
    """Draws from a posterior by WALNUTS: an ArviZ DataTree, as of `sample_nuts`.

    For posteriors whose scale is not the same everywhere, such as funnels: along a
    trajectory, each step is done in as many leapfrogs as its energy error needs.
    Bou-Rabee, Carpenter, Kleppe & Liu (2026), arXiv 2506.18746, with the deterministic
    choice of their number.

    max_energy_error: how far the energy may range along a step.
    max_level: a step is done in 2^max_level leapfrogs at most.
    options: those of `sample_nuts`.

    The step size is that of whole steps.  It is adapted until `target_accept` is the
    mean of exp(-|energy error|) of a step done in one leapfrog, which is
    `acceptance_rate`.  `n_steps` counts the leapfrogs of all levels tried, in both
    directions.  `diverging` are trajectories with a step that no level keeps within
    `max_energy_error`.

    Raises ValueError for a parameter out of range, and as `sample_nuts` does.

    >>> def funnel(x):
    ...     neck, rest = x[:, 0], x[:, 1]
    ...     return -(neck**2) / 18 - rest**2 * tf.exp(-neck) / 2 - neck / 2
    >>> tree = sample_walnuts(funnel, dim=2, num_draws=50, seed=1)
    >>> tree["posterior/x"].shape, int(tree["sample_stats/diverging"].sum())
    ((4, 50, 2), 0)
    """
    limits = walnuts.Limits(max_energy_error, max_level)
    return sample_nuts(posterior, method=walnuts.method(limits), **options)


def _density(posterior: Any, dim: int | None) -> tuple[LogProbAndGrad, int]:
    if hasattr(posterior, "log_prob_and_grad"):
        return posterior.log_prob_and_grad, posterior.dim
    if not callable(posterior):
        raise ValueError(
            f"posterior: given {posterior!r}, wanted one of ppl.posterior, or a log "
            "prob function"
        )
    if dim is None:
        raise ValueError("dim: given None, wanted the number of coordinates")
    check_count("dim", dim)
    return value_and_gradient(posterior), dim
