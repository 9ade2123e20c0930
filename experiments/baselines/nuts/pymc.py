"""PyMC's own NUTS as one of the systems compared: NumPy in, NumPy out."""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.baselines.nuts.density import call_seeds, check_step_size, stack
from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings


def prepare(
    problem: RegressionProblem,
    settings: SamplerSettings,
    seed: int,
    *,
    dtype: str = "float64",
) -> Callable[[], SystemDraws]:
    """Builds and compiles model and sampler, and returns the function that samples.

    `SystemDraws.seconds` is the time inside PyMC's transitions by its own counter,
    summed over the chains and divided by the cores that they keep busy.  It excludes
    the set-up of a call, the start of processes and idle cores.  Each call has its own
    random stream.  Raises as `build_model` does.
    """
    model = build_model(problem, dtype=dtype)
    import pymc as pm
    from pymc.step_methods.hmc.quadpotential import QuadPotentialDiag

    cores = len(os.sched_getaffinity(0))
    start = {"coeffs": problem.start.astype(dtype)}
    with model:
        step = pm.NUTS(
            step_scale=settings.step_size * problem.dim**0.25,  # PyMC divides by it
            adapt_step_size=False,
            potential=QuadPotentialDiag(np.ones(problem.dim)),
            max_treedepth=settings.max_depth,
            early_max_treedepth=settings.max_depth,
            initial_point=start,
        )

    # The density is compiled at its first call; one gradient is enough for that.
    step._logp_dlogp_func(pm.blocking.DictToArrayBijection.map(start))
    seeds = call_seeds(seed)

    def sample() -> SystemDraws:
        with warnings.catch_warnings():
            # ArviZ supposes that more chains than draws are a mistake.
            warnings.filterwarnings("ignore", "Found chain dimension to be longer")
            trace = pm.sample(
                model=model,
                step=step,
                nuts_sampler="pymc",
                draws=settings.num_results,
                tune=0,
                chains=settings.num_chains,
                cores=cores,
                initvals=start,
                random_seed=next(seeds),
                compute_convergence_checks=False,
                progressbar=False,
                quiet=True,
            )

        stats = trace["sample_stats"]
        check_step_size("PyMC", stats["step_size"].values, settings)
        seconds = stats["perf_counter_diff"].values.sum(axis=1)  # [chains]
        return SystemDraws(
            values=trace["posterior"]["coeffs"].values,
            leapfrogs=stats["n_steps"].values.astype(np.int64),
            seconds=float(seconds.sum() / min(cores, settings.num_chains)),
        )

    return sample


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray, *, dtype: str = "float64"
) -> tuple[np.ndarray, np.ndarray]:
    """PyMC's density and its gradient in `dtype`.  Raises as `build_model` does."""
    model = build_model(problem, dtype=dtype)
    from pymc.blocking import DictToArrayBijection

    density = model.logp_dlogp_function(ravel_inputs=True)
    density.set_extra_values({})
    return stack(
        density(DictToArrayBijection.map({"coeffs": point.astype(dtype)}))
        for point in points
    )


def build_model(problem: RegressionProblem, *, dtype: str) -> Any:
    """The pymc.Model of the problem, whose data and coeffs have `dtype`.

    Raises RuntimeError in a process that has loaded PyTensor with another floatX.
    """
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype: given {dtype!r}, wanted 'float64' or 'float32'")
    if "pytensor" not in sys.modules:
        flags = os.environ.get("PYTENSOR_FLAGS", "")  # inherited by chains' processes
        os.environ["PYTENSOR_FLAGS"] = f"{flags},floatX={dtype}".lstrip(",")
    import pytensor

    if pytensor.config.floatX != dtype:
        raise RuntimeError(
            f"dtype {dtype}: this process has PyTensor with floatX "
            f"{pytensor.config.floatX}, wanted a fresh process"
        )
    import pymc as pm

    with pm.Model() as model:
        # Column-major is the faster order here.
        x = pm.Data("x", np.asfortranarray(problem.features, dtype=dtype))
        coeffs = pm.Normal("coeffs", 0.0, 1.0, shape=problem.dim)
        pm.Bernoulli("labels", logit_p=x @ coeffs, observed=problem.labels)
    return model
