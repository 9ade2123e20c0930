"""NUTS on one regression problem by each of the compared systems."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.bench import harness, nuts_worker, reference, subprocesses
from experiments.bench.systems import SYSTEMS, System
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.records import record
from experiments.report import page

WORKER = "experiments.bench.nuts_worker"
MAX_SEED = 2**31 - 1


class References(NamedTuple):
    """The exact posterior of all rows, and that of the first rows."""

    all_rows: reference.Reference
    first_rows: reference.Reference


def compare_samplers(
    *,
    run_dir: Path,
    seed: int,
    problem: RegressionProblem,
    settings: SamplerSettings,
    num_rounds: int,
    min_seconds: float,
    out: str,
    systems: Sequence[str] = tuple(SYSTEMS),
    timeout_seconds: float = 900.0,
) -> Path:
    """Measures the systems; appends a record a system and round, and renders the page.

    Each run of a system is a fresh process with as many threads as cores, unless its
    entry in SYSTEMS sets others.  The first run of a system compares its log density
    and gradient with a float64 reference, and every run checks its draws.  A system
    that fails a check gets no ratio.

    min_seconds: for at least how long a system repeats its call in a round.
    out: the folder of records/, tables/ and plots/, from the repository's root.
    systems: keys of SYSTEMS, in the order in which they run.
    timeout_seconds: of one system in one round.

    Returns the table's path.  Raises ValueError, before anything runs, for wrong values
    of the arguments; CheckFailed when a system of our own failed or did not pass its
    check.
    """
    harness.check_run(num_rounds, out, timeout_seconds)
    harness.check_seconds("min_seconds", min_seconds)
    harness.check_some_of("systems", systems, SYSTEMS)
    bench = harness.start(
        "nuts", WORKER, run_dir=run_dir, seed=seed, timeout_seconds=timeout_seconds
    )
    print(f"reference: {problem.rows:,} rows", flush=True)
    references = References(
        reference.make(problem, seed=seed),
        reference.make(reference.first_rows(problem), seed=seed),
    )
    arrays_path = run_dir / "problem.npz"
    nuts_worker.save_problem(arrays_path, problem, references.all_rows.points)
    jobs = {
        name: _job(bench, name, problem, settings, references, arrays_path, min_seconds)
        for name in systems
    }
    try:
        records = harness.run_rounds(bench, jobs, num_rounds, _figure)
    finally:
        arrays_path.unlink()  # as large as the data
    paper_path = harness.REPO / "results" / "paper.json"
    harness.finish(
        bench,
        records,
        functools.partial(page.render_nuts, paper_path=paper_path),
        out,
        fails=lambda one: one.system.startswith("ppl_core") and harness.is_wrong(one),
    )
    return harness.REPO / out / "tables" / "nuts_speedup.md"


def _job(
    bench: harness.Benchmark,
    name: str,
    problem: RegressionProblem,
    settings: SamplerSettings,
    references: References,
    arrays_path: Path,
    min_seconds: float,
) -> harness.Job:
    """Runs one system and makes its record."""
    system = SYSTEMS[name]
    threads = len(os.sched_getaffinity(0))
    variables = subprocesses.with_threads(threads) | system.environment
    density_check: dict[str, Any] = {}  # of the first run

    def job(number: int) -> record.Record:
        arrays = bench.run_dir / f"round{number}-{name}.npz"
        task = {
            "mode": "sample",
            "system": name,
            "seed": (bench.seed + number) % MAX_SEED,
            "settings": vars(settings),
            "min_seconds": min_seconds,
            "check_density": not density_check,
            "problem_path": str(arrays_path),
            "arrays_path": str(arrays),
        }
        (result,) = harness.run_tasks(
            bench,
            f"round{number}-{name}",
            [task],
            threads=threads,
            environment=system.environment,
        )
        check: dict[str, Any] = {}
        if result["status"] == "ok":
            with np.load(arrays) as answers:
                if not density_check:
                    density_check.update(_check_density(references, system, answers))
                    if "energy_error_100_steps" in result:
                        error = result["energy_error_100_steps"]
                        density_check["energy_error_100_steps"] = error
                check = _check_draws(problem, references, system, answers)
            passed = density_check["passed"] and check.get("passed", True)
            check = density_check | check | {"passed": passed}
        return harness.make_record(
            bench,
            result,
            system=name,
            number=number,
            problem={
                "name": problem.name,
                "source": problem.source,
                "rows": problem.rows,
                "dim": problem.dim,
                "features_bytes": problem.features.nbytes,
            },
            hardware={"threads": variables},
            settings=vars(settings)
            | system.settings
            | {
                "seed": task["seed"],
                "start": "the problem's own, the same for every system",
                "metric": system.metric,
                "min_seconds": min_seconds,
            },
            check=check,
        )

    return job


def _check_density(
    references: References, system: System, answers: Any
) -> dict[str, Any]:
    """The check of log density and gradient, on all rows and on the first."""
    if not system.precision:
        return {"passed": True}
    check = reference.check_density(
        references.all_rows,
        answers["log_prob"],
        answers["grad"],
        precision=system.precision,
    )
    check["head"] = reference.check_density(
        references.first_rows,
        answers["first_rows_log_prob"],
        answers["first_rows_grad"],
        precision=system.precision,
    )
    check["passed"] = check["passed"] and check["head"]["passed"]
    if not check["passed"]:
        check["reason"] = "its density or gradient is not the reference's"
    return check


def _check_draws(
    problem: RegressionProblem, references: References, system: System, answers: Any
) -> dict[str, Any]:
    if not system.is_sampler:
        return {}
    check = reference.check_draws(problem, references.all_rows, answers["values"])
    if not check["passed"]:
        check["reason"] = "its draws cannot be the posterior's"
    return check


def _figure(one: record.Record) -> str:
    seconds, gradients = sum(one.seconds["calls"]), sum(one.work["gradients"])
    return f"{1000 * seconds / gradients:8.2f} ms per gradient ({gradients})"
