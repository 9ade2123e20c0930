"""NUTS on one regression problem by each of the compared systems."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import harness, nuts_worker, reference, subprocesses
from experiments.bench.systems import SYSTEMS, System
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.records import record
from experiments.report import page
from experiments.training.checks import check_count, check_number

MAX_SEED = 2**31 - 1
OF_SIZES = ("ppl_core_whole", "ppl_core")  # measured on fewer rows too

References = Sequence[reference.Reference]  # of all rows, and of the first rows


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
    row_subsets: Sequence[int] = (),
    timeout_seconds: float = 900.0,
) -> Path:
    """Measures the systems; appends a record per system and round, renders the page.

    Each run of a system is a fresh process with as many threads as cores, unless its
    entry in SYSTEMS sets others.  The first run of a system compares its log density
    and gradient with a float64 reference, and every run checks its draws.  A system
    that fails a check gets no ratio.

    min_seconds: for at least how long a system repeats its call in a round.
    systems: keys of SYSTEMS, in the order in which they run.
    row_subsets: numbers of first rows on which OF_SIZES are measured before, for the
      table of sizes.  Numbers that the problem does not exceed are left out.
    num_rounds, out, timeout_seconds: see `harness.Benchmark`.

    Returns the table's path.  Raises ValueError, before anything runs, for wrong values
    of the arguments; CheckFailed when a system of our own failed or did not pass its
    check.
    """
    bench = harness.start(
        "nuts", "nuts_worker", run_dir, seed, num_rounds, out, timeout_seconds
    )
    check_number("min_seconds", min_seconds, at_least=0)
    harness.check_some_of("systems", systems, SYSTEMS)
    for num in row_subsets:
        check_count("row_subsets", num)
    parts = [
        (reference.first_rows(problem, num), OF_SIZES)
        for num in row_subsets
        if num < problem.rows
    ]
    records = []
    for part, names in [*parts, (problem, systems)]:
        # A benchmark of its own: no ratio is taken between sizes.
        origin = bench.provenance | {"bench_id": record.new_bench_id()}
        of_part = bench._replace(provenance=origin)
        records += _measure(of_part, part, names, settings, min_seconds)
    tables = harness.finish(
        bench,
        records,
        page.render_nuts,
        fails=lambda one: one.system.startswith("ppl_core") and harness.is_wrong(one),
    )
    return tables / "nuts_speedup.md"


def _measure(
    bench: harness.Benchmark,
    problem: RegressionProblem,
    systems: Sequence[str],
    settings: SamplerSettings,
    min_seconds: float,
) -> list[record.Record]:
    """The records of the systems on one problem."""
    print(f"reference: {problem.rows:,} rows", flush=True)
    references = [
        reference.make(part, seed=bench.seed)
        for part in (problem, reference.first_rows(problem))
    ]
    path = bench.run_dir / "problem.npz"
    nuts_worker.save_problem(path, problem, references[0].points)
    task = {
        "mode": "sample",
        "settings": vars(settings),
        "min_seconds": min_seconds,
        "problem_path": str(path),
    }
    try:
        jobs = {name: _job(bench, name, problem, references, task) for name in systems}
        return harness.run_rounds(bench, jobs)
    finally:
        path.unlink()  # as large as the data


def _job(
    bench: harness.Benchmark,
    name: str,
    problem: RegressionProblem,
    references: References,
    shared: dict[str, Any],
) -> harness.Job:
    """Runs one system and makes its record.

    shared: what all systems' tasks have in common.
    """
    system = SYSTEMS[name]
    threads = len(os.sched_getaffinity(0))
    variables = subprocesses.with_threads(threads) | system.environment
    described = {n: getattr(problem, n) for n in ("name", "source", "rows", "dim")}
    described["features_bytes"] = problem.features.nbytes
    density_check: dict[str, Any] = {}  # of the first run

    def job(number: int) -> record.Record:
        label = f"{problem.rows}-rows-round{number}-{name}"
        arrays = bench.run_dir / f"{label}.npz"
        task = shared | {
            "system": name,
            "seed": (bench.seed + number) % MAX_SEED,
            "check_density": not density_check,
            "arrays_path": str(arrays),
        }
        (result,) = harness.run_tasks(
            bench, label, [task], threads=threads, environment=system.environment
        )
        check: dict[str, Any] = {}
        if result["status"] == "ok":
            with np.load(arrays) as answers:
                if not density_check:
                    density_check.update(_check_density(references, system, answers))
                    density_check.update(result["energy"])
                check = _check_draws(problem, references[0], system, answers)
            passed = density_check["passed"] and check.get("passed", True)
            check = density_check | check | {"passed": passed}
        return harness.make_record(
            bench,
            result,
            system=name,
            round=number,
            problem=described,
            hardware={"threads": variables},
            settings={
                **task["settings"],
                **system.settings,
                "seed": task["seed"],
                "start": "the problem's own, the same for every system",
                "metric": system.metric,
                "min_seconds": task["min_seconds"],
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
    parts = zip(references, answers["log_prob"], answers["grad"], strict=True)
    check, first_rows = (
        reference.check_density(*part, precision=system.precision) for part in parts
    )
    check["head"] = first_rows
    check["passed"] = check["passed"] and first_rows["passed"]
    if not check["passed"]:
        check["reason"] = "its density or gradient is not the reference's"
    return check


def _check_draws(
    problem: RegressionProblem, whole: reference.Reference, system: System, answers: Any
) -> dict[str, Any]:
    if not system.is_sampler:
        return {}
    check = reference.check_draws(problem, whole, answers["values"])
    if not check["passed"]:
        check["reason"] = "its draws cannot be the posterior's"
    return check
