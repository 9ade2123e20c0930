"""One sampler measured in a process of its own."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from experiments.bench import reference
from experiments.bench.problems import SystemDraws
from experiments.bench.systems import SYSTEMS, System
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings


def save_problem(path: Path, problem: RegressionProblem, points: np.ndarray) -> None:
    """Writes the arrays that all workers read."""
    np.savez(path, points=points, **vars(problem))


def _load_problem(path: str) -> tuple[RegressionProblem, np.ndarray]:
    """The problem, and the points at which its density is checked."""
    with np.load(path, allow_pickle=False) as arrays:
        fields = dict(arrays)
    points = fields.pop("points")
    names = {key: str(fields.pop(key)) for key in ("name", "source")}
    return RegressionProblem(**names, **fields), points


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """The times of the task's system, whose call is repeated for `min_seconds`.

    Returns the seconds (build, first, calls) and the work (leapfrogs and gradients of
    each of the calls).  Writes the draws of the last call to `arrays_path`; with
    `check_density` also the density at the problem's points, of all rows and of the
    first.
    """
    system = SYSTEMS[task["system"]]
    problem, points = _load_problem(task["problem_path"])
    settings = SamplerSettings(**(task["settings"] | system.settings))
    module = importlib.import_module(system.module)

    begin = time.perf_counter()
    sample = module.prepare(problem, settings, task["seed"], **system.variant)
    build = time.perf_counter() - begin
    first, draws = _time(sample)
    results = [] if system.warms_up else [(first, draws)]
    while sum(wall for wall, _ in results) < task["min_seconds"] or not results:
        results.append(_time(sample))
    calls = [wall if d.seconds is None else d.seconds for wall, d in results]
    leapfrogs = [int(d.leapfrogs.sum()) for _, d in results]
    gradients = [
        int(d.gradients or count)
        for (_, d), count in zip(results, leapfrogs, strict=True)
    ]
    energy = {}
    arrays: dict[str, Any] = {"values": np.asarray(results[-1][1].values)}
    if task["check_density"]:
        if system.precision:
            arrays |= _densities(module, system, problem, points)
        if hasattr(module, "energy_error"):
            energy["energy_error_100_steps"] = module.energy_error(
                problem, settings, task["seed"], **system.variant
            )
    np.savez(task["arrays_path"], **arrays)
    return {
        "seconds": {"build": build, "first": first, "calls": calls},
        "work": {"leapfrogs": leapfrogs, "gradients": gradients},
        "energy": energy,
    }


def _time(sample: Callable[[], SystemDraws]) -> tuple[float, SystemDraws]:
    begin = time.perf_counter()
    draws = sample()
    return time.perf_counter() - begin, draws


def _densities(
    module: ModuleType, system: System, problem: RegressionProblem, points: np.ndarray
) -> dict[str, np.ndarray]:
    """Log prob and gradient at the points, of all rows and of the first: [2, ...]."""
    options = system.variant | system.density_options
    pairs = [
        module.log_prob_and_grad(problem, points, **options),
        module.log_prob_and_grad(
            reference.first_rows(problem), points, **options | system.first_rows_options
        ),
    ]
    log_prob, grad = map(np.stack, zip(*pairs, strict=True))
    return {"log_prob": log_prob, "grad": grad}


MODES = {"sample": measure}
