"""One system's variational fit of one posterior, in a process of its own."""

import importlib
from typing import Any

import numpy as np

from experiments.bench.problems import VariationalProblem

SYSTEMS = {
    "ppl_core": "experiments.bench.ppl_core_vi",
    "numpyro": "experiments.baselines.posteriors.numpyro_vi",
    "pymc": "experiments.baselines.posteriors.pymc_vi",
}


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """The seconds of the task's system, and the guide that it found."""
    with np.load(task["data_path"]) as data:
        problem = VariationalProblem(data=dict(data), **task["problem"])
    run = importlib.import_module(SYSTEMS[task["system"]]).run(problem)
    return {
        "seconds": dict(run.seconds),
        "means": {name: np.ravel(part).tolist() for name, part in run.means.items()},
        "deviations": {
            name: np.ravel(part).tolist() for name, part in run.deviations.items()
        },
    }


MODES = {"fit": fit}
