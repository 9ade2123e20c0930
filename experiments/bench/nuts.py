"""The NUTS benchmark: samplers of one posterior, in turn, and the table of them."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.bench import harness, nuts_worker, reference, subprocesses
from experiments.bench.systems import SYSTEMS
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.records import record
from experiments.report import page

WORKER = "experiments.bench.nuts_worker"
PAPER = harness.REPO / "results" / "paper.json"
MAX_SEED = 2**31 - 1


class References(NamedTuple):
    """The densities that a system's is compared with."""

    whole: reference.Reference  # of all rows
    head: reference.Reference  # of the first rows alone


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
    """Measures the systems, one record a system and round, and renders the table.

    A system has as many threads as there are cores, unless it says otherwise.  In its
    first round its log density and gradient are compared with a float64 reference.  A
    system whose density differs, or whose draws cannot be right, gets no ratio.

    min_seconds: for how long a system repeats its call in a round.
    out: the folder of records/, tables/ and plots/, from the repository's root.
    timeout_seconds: of one system in one round.

    Returns the table's path.  Raises ValueError, before anything runs, for arguments of
    which no benchmark can be made; CheckFailed when a system of ours failed, or its
    density or draws are wrong.
    """
    harness.check_run(num_rounds, out, timeout_seconds)
    harness.check_seconds("min_seconds", min_seconds)
    harness.check_some_of("systems", systems, SYSTEMS)
    bench = harness.start(
        "nuts", WORKER, run_dir=run_dir, seed=seed, timeout_seconds=timeout_seconds
    )
    print(f"reference: {problem.rows:,} rows", flush=True)
    whole = reference.make(problem, seed=seed)
    head = reference.make(reference.head(problem), seed=seed)
    problem_path = run_dir / "problem.npz"
    nuts_worker.save_problem(problem_path, problem, whole.points)
    jobs = {
        name: _job(bench, name, problem, settings, References(whole, head), min_seconds)
        for name in systems
    }
    try:
        records = harness.run_rounds(bench, jobs, num_rounds, _figure)
    finally:
        problem_path.unlink()  # as large as the data
    harness.finish(
        bench,
        records,
        functools.partial(page.render_nuts, paper_path=PAPER),
        out,
        fails=lambda one: (
            one.system.startswith("ppl_core")
            and (one.status == "failed" or not one.check.get("passed"))
        ),
    )
    return harness.REPO / out / "tables" / "nuts_speedup.md"


def _job(
    bench: harness.Benchmark,
    name: str,
    problem: RegressionProblem,
    settings: SamplerSettings,
    references: References,
    min_seconds: float,
) -> harness.Job:
    """A job that samples with one system and checks its density once."""
    system = SYSTEMS[name]
    cores = len(os.sched_getaffinity(0))
    check: dict[str, Any] = {}

    def sample(number: int) -> record.Record:
        nonlocal check
        seed = (bench.seed + number) % MAX_SEED
        arrays_path = bench.run_dir / f"round{number}-{name}.npz"
        task = {
            "mode": "sample",
            "system": name,
            "seed": seed,
            "settings": vars(settings),
            "min_seconds": min_seconds,
            "check": not check,
            "problem_path": str(bench.run_dir / "problem.npz"),
            "arrays_path": str(arrays_path),
        }
        (result,) = harness.run_tasks(
            bench,
            f"round{number}-{name}",
            [task],
            threads=cores,
            environment=system.environment,
        )
        if result["status"] == "ok":
            with np.load(arrays_path) as arrays:
                check = _check(problem, references, name, arrays, check)
            if "energy_error_100_steps" in result:
                check["energy_error_100_steps"] = result["energy_error_100_steps"]
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
            },
            settings={
                **vars(settings),
                **system.settings,
                "seed": seed,
                "start": "the problem's own, the same for every system",
                "metric": system.metric,
                "min_seconds": min_seconds,
            },
            check=check,
            hardware={"threads": subprocesses.with_threads(cores) | system.environment},
        )

    return sample


def _check(
    problem: RegressionProblem,
    references: References,
    name: str,
    arrays: Mapping[str, np.ndarray],
    earlier: Mapping[str, Any],
) -> dict[str, Any]:
    """The check of the density, made in the first round, and of this round's draws."""
    system = SYSTEMS[name]
    check = {"passed": True, **earlier}
    if "log_prob" in arrays:
        whole = reference.check_density(
            references.whole,
            arrays["log_prob"],
            arrays["grad"],
            precision=system.checked,
        )
        head = reference.check_density(
            references.head,
            arrays["head_log_prob"],
            arrays["head_grad"],
            precision=system.checked,
        )
        check |= whole | {"head": head, "passed": whole["passed"] and head["passed"]}
        if not check["passed"]:
            check["reason"] = "its density or gradient differs from the reference"
    if system.draws:
        draws = reference.check_draws(problem, references.whole, arrays["values"])
        if not draws["passed"]:
            check["reason"] = "its draws cannot come from the posterior"
        check |= draws | {"passed": check["passed"] and draws["passed"]}
    return check


def _figure(one: record.Record) -> str:
    seconds, gradients = sum(one.seconds["calls"]), sum(one.work["gradients"])
    return f"{1000 * seconds / gradients:8.2f} ms per gradient ({gradients})"
