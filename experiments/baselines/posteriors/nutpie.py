"""nutpie's NUTS with its own warm-up, over the PyMC models."""

import os
import time
import warnings

import numpy as np
import nutpie

from experiments.baselines.posteriors.pymc_models import build
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol


def run(problem: PosteriorProblem, protocol: Protocol, seed: int) -> PosteriorRun:
    """nutpie's NUTS with its defaults: a diagonal metric from draws and gradients.

    nutpie does not say where warm-up ends: the run's seconds are split as the leapfrogs
    are, since each takes one gradient.
    """
    begin = time.perf_counter()
    compiled = nutpie.compile_pymc_model(build(problem.name, problem.data))
    built = time.perf_counter()
    with warnings.catch_warnings():
        # ArviZ supposes that more chains than draws are a mistake.
        warnings.filterwarnings("ignore", "Found chain dimension to be longer")
        trace = nutpie.sample(
            compiled,
            draws=protocol.num_draws,
            tune=protocol.num_warmup,
            chains=protocol.num_chains,
            cores=min(protocol.num_chains, len(os.sched_getaffinity(0))),
            seed=seed,
            save_warmup=True,
            progress_bar=False,
            maxdepth=protocol.max_depth,
            target_accept=protocol.target_accept,
        )
    total = time.perf_counter() - built
    stats = trace["sample_stats"]
    leapfrogs = stats["n_steps"].values.astype(np.int64)
    in_warmup = int(trace["warmup_sample_stats"]["n_steps"].values.sum())
    share = in_warmup / (in_warmup + leapfrogs.sum())
    return PosteriorRun(
        values={name: trace["posterior"][name].values for name in problem.compared},
        leapfrogs=leapfrogs,
        diverged=stats["diverging"].values.astype(bool),
        warmup_leapfrogs=in_warmup,
        seconds={
            "build": built - begin,
            "warmup": share * total,
            "sampling": (1 - share) * total,
        },
        settings={
            "metric": "diagonal, of each chain, from draws and gradients",
            "step_size": stats["step_size"].values[:, -1].tolist(),
        },
    )
