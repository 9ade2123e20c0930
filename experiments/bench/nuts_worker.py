"""The task of the NUTS benchmark: sample with one system."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import reference
from experiments.bench.problems import SystemDraws
from experiments.bench.systems import SYSTEMS
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings


def save_problem(path: Path, problem: RegressionProblem, points: np.ndarray) -> None:
    """Writes the arrays that all workers read.

    points: at which densities are evaluated, [points, dim].
    """
    np.savez(
        path,
        name=problem.name,
        source=problem.source,
        features=problem.features,
        labels=problem.labels,
        start=problem.start,
        points=points,
    )


def sample(task: dict[str, Any]) -> dict[str, Any]:
    """Times a system's call, repeated for the task's `min_seconds`.

    Returns the seconds (build, first, calls) and the work: leapfrogs and gradients of
    each timed call.  The draws of the last call are in the task's `arrays_path`.  With
    the task's `check`, the density is there too, at the problem's points: of all rows
    and of the first ones.
    """
    system = SYSTEMS[task["system"]]
    with np.load(task["problem_path"], allow_pickle=False) as arrays:
        fields = {key: arrays[key] for key in ("features", "labels", "start")}
        problem = RegressionProblem(
            name=str(arrays["name"]), source=str(arrays["source"]), **fields
        )
        points = arrays["points"]
    settings = SamplerSettings(**(task["settings"] | system.settings))
    module = importlib.import_module(system.module)
    begin = time.perf_counter()
    call = module.prepare(problem, settings, task["seed"], **system.variant)
    build = time.perf_counter() - begin

    first, draws = _timed(call)
    walls, timed = ([], []) if system.warms_up else ([first], [draws])
    while sum(walls) < task["min_seconds"] or not walls:
        wall, draws = _timed(call)
        walls.append(wall)
        timed.append(draws)
    calls = [
        wall if one.seconds is None else one.seconds
        for wall, one in zip(walls, timed, strict=True)
    ]
    leapfrogs = [int(one.leapfrogs.sum()) for one in timed]
    gradients = [
        int(one.gradients or count) for one, count in zip(timed, leapfrogs, strict=True)
    ]

    outputs: dict[str, Any] = {"values": np.asarray(draws.values)}
    result = {
        "note": system.note or getattr(module, "NOTE", ""),
        "seconds": {"build": build, "first": first, "calls": calls},
        "work": {"leapfrogs": leapfrogs, "gradients": gradients},
    }
    if task["check"]:
        options = system.variant | system.checked_as
        if system.checked:
            outputs["log_prob"], outputs["grad"] = module.log_prob_and_grad(
                problem, points, **options
            )
            outputs["head_log_prob"], outputs["head_grad"] = module.log_prob_and_grad(
                reference.head(problem), points, **options | system.head_checked_as
            )
        if hasattr(module, "energy_error"):
            result["energy_error_100_steps"] = module.energy_error(
                problem, settings, task["seed"], **system.variant
            )
    np.savez(task["arrays_path"], **outputs)
    return result


def _timed(call: Callable[[], SystemDraws]) -> tuple[float, SystemDraws]:
    begin = time.perf_counter()
    draws = call()
    return time.perf_counter() - begin, draws


MODES = {"sample": sample}
