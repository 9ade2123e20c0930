"""nutpie's NUTS over the PyMC model, as one of the systems compared."""

import ctypes
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import nutpie

from experiments.baselines.nuts.density import call_seeds, check_step_size
from experiments.baselines.nuts.pymc import build_model
from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings

MAX_DEPTH = 7


def prepare(
    problem: RegressionProblem, settings: SamplerSettings, seed: int
) -> Callable[[], SystemDraws]:
    """Compiles the PyMC model through nutpie and returns the function that samples.

    The step size is fixed and exact.  The metric cannot be: nutpie sets it from the
    gradient at the start and once more after the one warm-up draw that it insists on.
    That draw is the first that is returned, so that all that is timed is counted. Under
    that metric the step is far too short on a large problem and every tree reaches its
    greatest depth, which is MAX_DEPTH here.

    Raises as `pymc.build_model` does.
    """
    compiled = _compile(problem)
    seeds = call_seeds(seed)

    def sample() -> SystemDraws:
        with warnings.catch_warnings():
            # ArviZ supposes that more chains than draws are a mistake.
            warnings.filterwarnings("ignore", "Found chain dimension to be longer")
            trace = nutpie.sample(
                compiled,
                draws=settings.num_results - 1,
                tune=1,
                chains=settings.num_chains,
                cores=min(settings.num_chains, len(os.sched_getaffinity(0))),
                seed=next(seeds),
                save_warmup=True,
                progress_bar=False,
                maxdepth=min(settings.max_depth, MAX_DEPTH),
                step_size_adapt_method=repr(settings.step_size),  # a number fixes it
                step_size_jitter=0.0,
            )
        stats = _joined(trace, "sample_stats", settings)
        check_step_size("nutpie", stats["step_size"], settings)
        return SystemDraws(
            values=_joined(trace, "posterior", settings)["coeffs"],
            leapfrogs=stats["n_steps"].astype(np.int64),
        )

    return sample


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The density that nutpie compiled and its gradient.  Raises as `prepare` does."""
    compiled = _compile(problem)
    density = compiled.compiled_logp_func.ctypes
    log_probs, grads = np.empty(len(points)), np.empty(points.shape)
    double_p = ctypes.POINTER(ctypes.c_double)
    for i, point in enumerate(points.astype(np.float64)):
        code = density(
            problem.dim,
            point.ctypes.data_as(double_p),
            grads[i].ctypes.data_as(double_p),
            log_probs[i : i + 1].ctypes.data_as(double_p),
            compiled.user_data.ctypes.data,
        )
        if code != 0:
            raise RuntimeError(f"nutpie's density gave error code {code} at {point}")
    return log_probs, grads


def _compile(problem: RegressionProblem) -> Any:
    return nutpie.compile_pymc_model(
        build_model(problem, dtype="float64"),
        initial_points={"coeffs": problem.start.astype(np.float64)},
        jitter_rvs=set(),
        freeze_model=True,  # as constants the features stay column-major
    )


def _joined(trace: Any, group: str, settings: SamplerSettings) -> dict[str, np.ndarray]:
    """The group's variables, [chains, draws, ...], the warm-up draw first."""
    groups = [trace[f"warmup_{group}"]]
    if settings.num_results > 1:
        groups.append(trace[group])
    names = ["step_size", "n_steps"] if group == "sample_stats" else ["coeffs"]
    return {n: np.concatenate([g[n].values for g in groups], axis=1) for n in names}
