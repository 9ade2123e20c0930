"""One system's turn, in a process of its own: reads a task, writes what it measured."""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import reference
from experiments.bench.problems import SystemDraws, Unavailable
from experiments.bench.systems import SYSTEMS
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings


def save_problem(path: Path, problem: RegressionProblem, points: np.ndarray) -> None:
    """Writes the arrays that workers read, once for all of them."""
    np.savez(
        path,
        name=problem.name,
        source=problem.source,
        features=problem.features,
        labels=problem.labels,
        start=problem.start,
        points=points,
    )


def run(task: dict[str, Any], arrays_path: Path, draws_path: Path) -> dict[str, Any]:
    """Measures one system.

    Its call is repeated for the task's min_seconds.

    Returns status "ok" with seconds (build, first, calls) and work (leapfrogs and
    gradients of each call that counts); or "skipped" or "failed" with the reason.  The
    draws of the last call are left in `draws_path`, and where the task says check, so
    is the density at the points given, of all rows and of the first.
    """
    system = SYSTEMS[task["system"]]
    with np.load(arrays_path, allow_pickle=False) as arrays:
        fields = {key: arrays[key] for key in ("features", "labels", "start")}
        problem = RegressionProblem(
            name=str(arrays["name"]), source=str(arrays["source"]), **fields
        )
        points = arrays["points"]
    settings = SamplerSettings(**(task["settings"] | system.settings))
    try:
        return _measure(system, task, problem, settings, points, draws_path)
    except Unavailable as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:300]}


def _measure(
    system: Any,
    task: dict[str, Any],
    problem: RegressionProblem,
    settings: SamplerSettings,
    points: np.ndarray,
    draws_path: Path,
) -> dict[str, Any]:
    module = importlib.import_module(system.module)
    began = time.perf_counter()
    sample = module.prepare(problem, settings, task["seed"], **system.variant)
    build = time.perf_counter() - began

    first, made = _timed(sample)
    walls, counted = ([], []) if system.warms_up else ([first], [made])
    while sum(walls) < task["min_seconds"] or not walls:
        wall, made = _timed(sample)
        walls.append(wall)
        counted.append(made)
    calls = [
        wall if draws.seconds is None else draws.seconds
        for wall, draws in zip(walls, counted, strict=True)
    ]
    leapfrogs = [int(draws.leapfrogs.sum()) for draws in counted]
    gradients = [
        int(draws.gradients or count)
        for draws, count in zip(counted, leapfrogs, strict=True)
    ]

    kept: dict[str, Any] = {"values": np.asarray(made.values)}
    result = {
        "status": "ok",
        "note": system.note or getattr(module, "NOTE", ""),
        "seconds": {"build": build, "first": first, "calls": calls},
        "work": {"leapfrogs": leapfrogs, "gradients": gradients},
    }
    if task["check"]:
        told = system.variant | system.checked_as
        if system.checked:
            kept["log_prob"], kept["grad"] = module.log_prob_and_grad(
                problem, points, **told
            )
            kept["head_log_prob"], kept["head_grad"] = module.log_prob_and_grad(
                reference.head(problem), points, **told | system.head_checked_as
            )
        if hasattr(module, "energy_error"):
            result["energy_error_100_steps"] = module.energy_error(
                problem, settings, task["seed"], **system.variant
            )
    np.savez(draws_path, **kept)
    return result


def _timed(sample: Callable[[], SystemDraws]) -> tuple[float, SystemDraws]:
    began = time.perf_counter()
    made = sample()
    return time.perf_counter() - began, made


def main(task_path: str, arrays_path: str, result_path: str) -> None:
    """Runs the task of one file and writes its result to another."""
    task = json.loads(Path(task_path).read_text())
    result_file = Path(result_path)
    result = run(task, Path(arrays_path), result_file.with_suffix(".npz"))
    result_file.write_text(json.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: freeing all that TensorFlow holds takes a second, and nobody needs it.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
