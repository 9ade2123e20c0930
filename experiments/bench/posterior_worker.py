"""One system on one posterior, from a cold start, in a process of its own."""

import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import posterior_gate
from experiments.bench.posterior_systems import SYSTEMS
from experiments.bench.problems import PosteriorProblem, Protocol


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Runs the task's system and checks its draws.

    The result's seconds are build, warmup, sampling, and cold: from the start of the
    process (by the machine's clock, in the task) to the last draw, with the compilation
    of a program that was compiled before, and without a second run.
    """
    with np.load(task["data_path"]) as data:
        problem = PosteriorProblem(
            task["name"], dict(data), task["stan"], tuple(task["compared"])
        )
    protocol = Protocol(**task["protocol"])
    system = SYSTEMS[task["system"]]
    module = importlib.import_module(system.module)
    run = getattr(module, system.function)(problem, protocol, task["seed"])
    cold = time.time() - task["started_at"] + run.cold_start_difference
    wanted = (protocol.num_chains, protocol.num_draws)
    for name, values in run.values.items():
        if values.shape[:2] != wanted:
            raise ValueError(
                f"{name}: given draws of shape {values.shape[:2]}, wanted {wanted}"
            )
    reference = None
    if task["reference_path"]:
        reference = json.loads(Path(task["reference_path"]).read_text())["parameters"]
    check = posterior_gate.check(run.values, reference)
    gradients = int(run.leapfrogs.sum())
    return {
        "seconds": {**run.seconds, "cold": cold, "calls": [run.seconds["sampling"]]},
        "work": {
            "gradients": [gradients],  # that the chains used
            "warmup_gradients": run.warmup_leapfrogs,
            "divergences": int(run.diverged.sum()),
        },
        "check": check,
        "settings": dict(run.settings),
    }


MODES = {"sample": measure}
