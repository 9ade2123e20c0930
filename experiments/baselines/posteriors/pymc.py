"""PyMC's own NUTS with its own warm-up."""

import os
import time
import warnings
from typing import Any

import numpy as np
import pymc as pm

from experiments.baselines.posteriors.pymc_models import build
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol


def run(problem: PosteriorProblem, protocol: Protocol, seed: int) -> PosteriorRun:
    """PyMC's NUTS as `pm.sample` sets it up, the chains in processes, one per core.

    Warm-up and sampling are the time inside the transitions by PyMC's own counter;
    the rest of the run is its build: compiling, and starting processes.
    """
    cores = min(protocol.num_chains, len(os.sched_getaffinity(0)))
    begin = time.perf_counter()
    with build(problem.name, problem.data), warnings.catch_warnings():
        # ArviZ supposes that more chains than draws are a mistake; and what PyMC says
        # of divergences, the benchmark reports.
        warnings.simplefilter("ignore")
        trace = pm.sample(
            nuts_sampler="pymc",
            init="jitter+adapt_diag",
            draws=protocol.num_draws,
            tune=protocol.num_warmup,
            chains=protocol.num_chains,
            cores=cores,
            target_accept=protocol.target_accept,
            random_seed=seed,
            discard_tuned_samples=False,
            compute_convergence_checks=False,
            progressbar=False,
            quiet=True,
        )
    total = time.perf_counter() - begin
    warmup = trace["warmup_sample_stats"]
    stats = trace["sample_stats"]
    seconds = {
        "warmup": _seconds(warmup) / cores,
        "sampling": _seconds(stats) / cores,
    }
    return PosteriorRun(
        values={name: trace["posterior"][name].values for name in problem.compared},
        leapfrogs=stats["n_steps"].values.astype(np.int64),
        diverged=stats["diverging"].values.astype(bool),
        warmup_leapfrogs=int(warmup["n_steps"].values.sum()),
        seconds={"build": total - sum(seconds.values()), **seconds},
        settings={
            "metric": "diagonal, of each chain",
            "step_size": stats["step_size"].values[:, -1].tolist(),
        },
    )


def _seconds(stats: Any) -> float:
    return float(stats["perf_counter_diff"].values.sum())
