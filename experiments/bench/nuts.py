"""Runs the systems in turn, round by round, and renders what their records say."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.bench import nuts_worker, reference, subprocesses
from experiments.bench.systems import SYSTEMS
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.records import provenance, record
from experiments.records.run_dir import CheckFailed, utc_now
from experiments.report import page

REPO = Path(__file__).resolve().parents[2]
ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
MAX_SEED = 2**31 - 1


class Exacts(NamedTuple):
    """What a density is held against: that of all rows, and of the first alone."""

    whole: reference.Reference
    head: reference.Reference


def compare_samplers(
    *,
    run_dir: Path,
    seed: int,
    problem: RegressionProblem,
    settings: SamplerSettings,
    rounds: int,
    min_seconds: float,
    out: str,
    systems: Sequence[str] = tuple(SYSTEMS),
    timeout_seconds: float = 900.0,
) -> Path:
    """Measures the systems, one record a system and round, and renders the table.

    Each system's turn is a fresh process with as many threads as cores, but where the
    system says otherwise.  In the first round its log density and gradient are held
    against a float64 reference; one that differs, or whose draws cannot be right, gets
    no ratio.

    out: folder of records/, tables/ and plots/, from the repository's root; records are
      appended.
    min_seconds: for how long each turn repeats its call.
    timeout_seconds: of one turn, after which it has failed.

    Returns the table's path.  Raises ValueError for an unknown system, and CheckFailed
    when a system of our own failed, or its density or draws their check.
    """
    unknown = sorted(set(systems) - set(SYSTEMS))
    if unknown or rounds < 1:
        raise ValueError(
            f"bench: given systems {unknown} and {rounds} rounds, "
            f"wanted some of {list(SYSTEMS)} and at least 1"
        )
    out_dir = REPO / out
    records_path = out_dir / "records" / "nuts.jsonl"
    origin = _origin(run_dir)
    print(f"reference: {problem.rows:,} rows", flush=True)
    exact = reference.make(problem, seed=seed)
    exacts = Exacts(exact, reference.make(reference.head(problem), seed=seed))
    arrays_path = run_dir / "problem.npz"
    nuts_worker.save_problem(arrays_path, problem, exact.points)

    try:
        kept = _take_turns(
            problem,
            settings,
            exacts,
            arrays_path,
            origin=origin,
            seed=seed,
            rounds=rounds,
            systems=systems,
            min_seconds=min_seconds,
            timeout=timeout_seconds,
        )
    finally:
        arrays_path.unlink()  # as large as the data
    for made in kept:  # together, so that a benchmark cut short leaves the last one
        record.append(records_path, made)
    page.render_nuts(
        records_path=records_path,
        paper_path=REPO / "results" / "paper.json",
        out_dir=out_dir,
    )
    print(f"wrote {out}/tables and {out}/plots", flush=True)
    wrong = {
        made.system: made.reason or made.check.get("reason")
        for made in kept
        if made.system.startswith("ppl_core")
        and (made.status == "failed" or not made.check.get("passed"))
    }
    if wrong:
        raise CheckFailed(str(wrong))
    return out_dir / "tables" / "nuts_speedup.md"


def _take_turns(
    problem: RegressionProblem,
    settings: SamplerSettings,
    exacts: Exacts,
    arrays_path: Path,
    *,
    origin: dict[str, Any],
    seed: int,
    rounds: int,
    systems: Sequence[str],
    min_seconds: float,
    timeout: float,
) -> list[record.Record]:
    """Every system's turn in every round; one that failed takes no more."""
    run_dir = arrays_path.parent
    checks: dict[str, dict[str, Any]] = {}
    kept: list[record.Record] = []
    out_of_race: set[str] = set()
    for number in range(1, rounds + 1):
        for name in systems:
            if name in out_of_race:
                continue
            task = {
                "system": name,
                "round": number,
                "seed": (seed + number) % MAX_SEED,
                "settings": vars(settings),
                "min_seconds": min_seconds,
                "check": name not in checks,
            }
            when = {
                "started_at": utc_now(),
                "load_average": round(os.getloadavg()[0], 2),
            }
            result_path = run_dir / f"round{number}-{name}.json"
            result = _take_turn(task, arrays_path, result_path, timeout)
            if result["status"] == "ok":
                with np.load(result_path.with_suffix(".npz")) as made:
                    checks[name] = _check(
                        problem, exacts, name, made, result, checks.get(name)
                    )
            else:
                out_of_race.add(name)
            made = _record(
                problem, settings, origin | when, task, result, checks.get(name, {})
            )
            record.append(run_dir / "records.jsonl", made)
            kept.append(made)
            print(f"round {number}/{rounds}  {name:24} {_told(made)}", flush=True)
    return kept


def _take_turn(
    task: dict[str, Any], arrays_path: Path, result_path: Path, timeout: float
) -> dict[str, Any]:
    """What the system's own process measured, or why it did not."""
    task_path = result_path.with_suffix(".task.json")
    log_path = result_path.with_suffix(".log")
    task_path.write_text(json.dumps(task))
    command = [sys.executable, "-m", "experiments.bench.nuts_worker"]
    command += [str(task_path), str(arrays_path), str(result_path)]
    environment = os.environ | _threads(task["system"]) | ON_CPU
    with (
        open(log_path, "wb") as log,
        subprocesses.process_group(
            command, cwd=REPO, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return {"status": "failed", "reason": f"stopped after {timeout:.0f} s"}
    if result_path.exists():
        return json.loads(result_path.read_text())
    code = process.returncode
    return {"status": "failed", "reason": f"exit code {code}; see {log_path.name}"}


def _threads(system: str) -> dict[str, str]:
    """As many threads as there are cores, for every library that asks.

    But where the system itself says otherwise.
    """
    threads = subprocesses.with_threads(len(os.sched_getaffinity(0)))
    return threads | SYSTEMS[system].environment


def _check(
    problem: RegressionProblem,
    exacts: Exacts,
    name: str,
    made: Any,
    result: dict[str, Any],
    before: dict[str, Any] | None,
) -> dict[str, Any]:
    """The density's check, made once, and that of this round's draws."""
    system = SYSTEMS[name]
    check = dict(before or {"passed": True})
    if "log_prob" in made:
        whole = reference.check_density(
            exacts.whole,
            made["log_prob"],
            made["grad"],
            precision=system.checked,
        )
        head = reference.check_density(
            exacts.head,
            made["head_log_prob"],
            made["head_grad"],
            precision=system.checked,
        )
        check |= whole | {"head": head, "passed": whole["passed"] and head["passed"]}
        if not check["passed"]:
            check["reason"] = "its density or gradient is not the reference's"
    if "energy_error_100_steps" in result:
        check["energy_error_100_steps"] = result["energy_error_100_steps"]
    if system.draws:
        drawn = reference.check_draws(problem, exacts.whole, made["values"])
        if not drawn["passed"]:
            check["reason"] = "its draws cannot be the posterior's"
        check |= drawn | {"passed": check["passed"] and drawn["passed"]}
    return check


def _origin(run_dir: Path) -> dict[str, Any]:
    """Where the records come from; every turn adds when it began, and the load then."""
    kept = json.loads((run_dir / "provenance.json").read_text())
    return kept | {"bench_id": f"{utc_now()}-{secrets.token_hex(3)}"}


def _record(
    problem: RegressionProblem,
    settings: SamplerSettings,
    origin: dict[str, Any],
    task: dict[str, Any],
    result: dict[str, Any],
    check: dict[str, Any],
) -> record.Record:
    threads = _threads(task["system"])
    hardware = provenance.hardware() | {"device": "cpu", "threads": threads}
    origin = {key: value for key, value in origin.items() if key != "hardware"}
    return record.Record(
        experiment="nuts",
        system=task["system"],
        round=task["round"],
        problem={
            "name": problem.name,
            "source": problem.source,
            "rows": problem.rows,
            "dim": problem.dim,
        },
        hardware=hardware,
        settings=vars(settings)
        | SYSTEMS[task["system"]].settings
        | {
            "seed": task["seed"],
            "start": "the problem's own, the same for every system",
            "metric": SYSTEMS[task["system"]].metric,
            "min_seconds": task["min_seconds"],
        },
        status=result["status"],
        reason=result.get("reason", ""),
        note=result.get("note", ""),
        seconds=result.get("seconds", {}),
        work=result.get("work", {}),
        check=check,
        provenance=origin,
    )


def _told(made: record.Record) -> str:
    if made.status != "ok":
        return f"{made.status}: {made.reason}"
    seconds, work = sum(made.seconds["calls"]), sum(made.work["gradients"])
    verdict = "" if made.check["passed"] else "  WRONG: " + made.check["reason"]
    return f"{1000 * seconds / work:8.2f} ms per gradient ({work}){verdict}"
