"""NUTS with its own warm-up, system by system, on every posterior of the benchmark."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import harness, posterior_references
from experiments.bench.posterior_systems import SYSTEMS
from experiments.bench.posteriors import MODELS, BenchModel
from experiments.bench.problems import Protocol
from experiments.records import record
from experiments.report import page
from experiments.training.checks import check_count, check_number

MAX_SEED = 2**31 - 1
WITH_REFERENCE = tuple(n for n, model in MODELS.items() if not model.no_reference)


def compare_posteriors(
    *,
    run_dir: Path,
    seed: int,
    num_chains: Sequence[int],
    num_warmup: int,
    num_draws: int,
    num_rounds: int,
    out: str,
    target_accept: float = 0.8,
    max_depth: int = 10,
    posteriors: Sequence[str] = WITH_REFERENCE,
    systems: Sequence[str] = tuple(SYSTEMS),
    skip: Mapping[str, Sequence[str]] | None = None,
    timeout_seconds: float = 300.0,
) -> Path:
    """Runs each system on each posterior and renders the page.

    Every system is told the same: chains, draws, warm-up draws, target acceptance and
    greatest depth.  Its warm-up is its own, its starts and its metric are its default.
    Each run is a fresh process.  A run whose draws do not agree with the reference
    posterior, or whose chains disagree, has no speed.

    num_chains: of each of the tables.
    posteriors, systems: names, in the order in which they run.
    skip: by system, or by system and chains as in "stan/64": posteriors that it is not
      run on, since it would take too long.
    num_rounds, out, timeout_seconds: see `harness.Benchmark`.

    Returns the table's path.  Raises ValueError, before anything runs, for wrong
    arguments and for a posterior whose reference is missing or of another model;
    CheckFailed when ours failed or did not pass its check where another system did.
    """
    bench = harness.start(
        "posteriors",
        "posterior_worker",
        run_dir,
        seed,
        num_rounds,
        out,
        timeout_seconds,
    )
    harness.check_counts("num_chains", num_chains)
    for name, count in (("num_warmup", num_warmup), ("num_draws", num_draws)):
        check_count(name, count)
    check_number("target_accept", target_accept, above=0, below=1)
    harness.check_some_of("posteriors", posteriors, MODELS)
    harness.check_some_of("systems", systems, SYSTEMS)
    skipped = dict(skip or {})
    keys = [*SYSTEMS, *(f"{name}/{num}" for name in SYSTEMS for num in num_chains)]
    for key, names in skipped.items():
        harness.check_some_of("skip", [key], keys)
        harness.check_some_of(f"skip: {key}", names, MODELS)
    data = {name: MODELS[name].make_data() for name in posteriors}
    for name in posteriors:
        posterior_references.check_current(MODELS[name], data[name])
    jobs: dict[str, harness.Job] = {}
    for name in posteriors:
        path = run_dir / f"{name}.npz"
        np.savez(path, **data[name])
        for chains in num_chains:
            protocol = Protocol(chains, num_warmup, num_draws, target_accept, max_depth)
            for system in systems:
                left_out = [
                    *skipped.get(system, ()),
                    *skipped.get(f"{system}/{chains}", ()),
                ]
                if name not in left_out:
                    label = f"{name}-{chains}-{system}"
                    jobs[label] = _job(
                        bench, system, MODELS[name], path, protocol, label
                    )
    records = harness.run_rounds(bench, jobs)
    tables = harness.finish(
        bench,
        records,
        page.render_posteriors,
        fails=lambda one: _ours_alone_fails(one, records),
    )
    return tables / "posteriors.md"


def _job(
    bench: harness.Benchmark,
    system: str,
    model: BenchModel,
    data_path: Path,
    protocol: Protocol,
    label: str,
) -> harness.Job:
    """Runs one system on one posterior and makes its record."""
    threads = len(os.sched_getaffinity(0))
    reference = "" if model.no_reference else str(_reference_path(model))

    def job(number: int) -> record.Record:
        task = {
            "mode": "sample",
            "system": system,
            "name": model.name,
            "stan": model.stan,
            "compared": model.compared_names,
            "data_path": str(data_path),
            "reference_path": reference,
            "protocol": protocol._asdict(),
            "seed": (bench.seed + number) % MAX_SEED,
            "started_at": time.time(),
        }
        (result,) = harness.run_tasks(
            bench, f"round{number}-{label}", [task], threads=threads
        )
        return harness.make_record(
            bench,
            result,
            system=system,
            round=number,
            problem={"name": model.name, "about": model.about},
            hardware={"threads": threads},
            settings={
                **protocol._asdict(),
                "seed": task["seed"],
                **result.get("settings", {}),
            },
            check=result.get("check", {}),
        )

    return job


def _reference_path(model: BenchModel) -> Path:
    return posterior_references.FOLDER / f"{model.reference_name}.json"


def _ours_alone_fails(one: record.Record, records: Sequence[record.Record]) -> bool:
    """Whether ours is wrong on a posterior that another system got right."""
    if one.system != "ppl_core" or not harness.is_wrong(one):
        return False

    def case(other: record.Record) -> Any:
        return other.problem["name"], other.settings["num_chains"]

    return any(
        case(other) == case(one)
        and other.status == "ok"
        and not harness.is_wrong(other)
        for other in records
    )
