"""PyMC's ADVI with its Adam."""

import time
from typing import Any

import numpy as np
import pymc as pm

from experiments.baselines.posteriors.pymc_models import build
from experiments.bench.problems import VariationalProblem, VariationalRun


def run(problem: VariationalProblem) -> VariationalRun:
    """As `pm.fit` does it, which estimates the ELBO at each step.

    With score=False PyMC 6.4 would not: but then the random numbers are no part of what
    its step returns, so they are never updated, and each step has the same ones.
    """
    begin = time.perf_counter()
    ends: list[float] = []
    with _model(problem) as model:
        start = {variable.name: 0.0 for variable in model.value_vars}
        zeros = {
            name: np.zeros_like(value)
            for name, value in model.initial_point().items()
            if name in start
        }
        advi = pm.ADVI(
            random_seed=problem.seed,
            start=zeros,
            start_sigma={name: problem.scale for name in zeros},
        )
        approx = advi.fit(
            problem.num_steps + 1,
            obj_optimizer=pm.adam(learning_rate=problem.learning_rate),
            progressbar=False,
            callbacks=[_clock(ends, problem.num_steps)],
        )
        means, deviations = approx.mean.eval(), approx.std.eval()
        places = approx.groups[0].ordering
    first, last = ends
    names = {name: name.removesuffix("__").removesuffix("_log") for name in places}
    return VariationalRun(
        means={names[n]: means[part[1]].reshape(part[2]) for n, part in places.items()},
        deviations={
            names[n]: deviations[part[1]].reshape(part[2]) for n, part in places.items()
        },
        seconds={"build": first - begin, "steps": last - first},
    )


def _clock(ends: list[float], num_steps: int) -> Any:
    """Notes the end of the first step, and of that many more."""

    def note(_: Any, __: Any, number: int) -> None:
        if number in (1, num_steps + 1):
            ends.append(time.perf_counter())

    return note


def _model(problem: VariationalProblem) -> pm.Model:
    if problem.batch_size is None:
        return build(problem.name, problem.data)
    x = np.ascontiguousarray(problem.data["x"], dtype=np.float64)
    with pm.Model() as model:
        # Labels of another type would be cast, and then be taken for computed ones.
        y = np.asarray(problem.data["y"], np.int32)
        rows, labels = pm.Minibatch(x, y, batch_size=problem.batch_size)
        beta = pm.Normal("beta", 0.0, 1.0, shape=x.shape[1])
        pm.Bernoulli("y", logit_p=rows @ beta, observed=labels, total_size=len(x))
    return model
