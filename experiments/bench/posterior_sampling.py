"""NUTS with its own warm-up, system by system, on every posterior of the benchmark."""

import math
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
from experiments.report.posteriors_rows import NO_TIME
from experiments.training.checks import check_number

MAX_SEED = 2**31 - 1
WITH_REFERENCE = tuple(n for n, model in MODELS.items() if not model.no_reference)


def compare_posteriors(
    *,
    run_dir: Path,
    seed: int,
    num_chains: Sequence[int],
    num_warmup: Sequence[int],
    num_draws: Sequence[int],
    num_rounds: int,
    out: str,
    resume: bool = False,
    target_accept: float = 0.8,
    max_depth: int = 10,
    posteriors: Sequence[str] = WITH_REFERENCE,
    systems: Sequence[str] = tuple(SYSTEMS),
    skip: Mapping[str, Sequence[str]] | None = None,
    timeout_seconds: float = 300.0,
    max_minutes: float | None = None,
) -> Path:
    """Runs each system on each posterior and renders the page.

    Every system is given the same: chains, draws, warm-up draws, target acceptance and
    greatest depth.  Its warm-up is its own, its starts and its metric are its default.
    Each run is a fresh process.  A run whose draws do not agree with the reference
    posterior, or whose chains disagree, has no speed.

    num_chains: of each of the tables.
    num_warmup, num_draws: of each chain, a number for each of `num_chains`.
    resume: whether to go on with the run in `run_dir`: what it has measured under the
      same protocol is not run again.
    posteriors, systems: names, in the order in which they run: every system with every
      number of chains on one posterior before the next.
    skip: by system, or by system and chains as in "stan/64": posteriors that it is not
      run on, since it would take too long; ["all"] for all.
    num_rounds, out, timeout_seconds: see `harness.Benchmark`.
    max_minutes: of this call, after which no run begins; what is left has records that
      say so, and runs when the benchmark is resumed.

    Returns the table's path.  Raises ValueError, before anything runs, for wrong
    arguments and for a posterior whose reference is missing or of another model;
    CheckFailed when ours failed or did not pass its check where another system did.
    """
    end = math.inf
    if max_minutes is not None:
        check_number("max_minutes", max_minutes, above=0)
        end = time.monotonic() + 60 * max_minutes
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
    protocols = {}
    for name, counts in (("num_warmup", num_warmup), ("num_draws", num_draws)):
        harness.check_counts(name, counts)
        if len(counts) != len(num_chains):
            raise ValueError(
                f"{name}: given {list(counts)}, wanted a number for each of "
                f"num_chains, {list(num_chains)}"
            )
    for chains, warmup, draws in zip(num_chains, num_warmup, num_draws, strict=True):
        protocols[chains] = Protocol(chains, warmup, draws, target_accept, max_depth)
    check_number("target_accept", target_accept, above=0, below=1)
    harness.check_some_of("posteriors", posteriors, MODELS)
    harness.check_some_of("systems", systems, SYSTEMS)
    skipped = dict(skip or {})
    keys = [*SYSTEMS, *(f"{name}/{num}" for name in SYSTEMS for num in num_chains)]
    for key, names in skipped.items():
        harness.check_some_of("skip", [key], keys)
        harness.check_some_of(f"skip: {key}", names, [*MODELS, "all"])
    done: dict[tuple[int, str], record.Record] = {}
    if resume:
        bench, earlier = harness.resumed(bench, _label_of)
        done = {
            key: one
            for key, one in earlier.items()
            if _is_of(one, protocols) and not one.reason.startswith(NO_TIME)
        }
    data = {name: MODELS[name].make_data() for name in posteriors}
    for name in posteriors:
        posterior_references.check_current(MODELS[name], data[name])
    jobs: dict[str, harness.Job] = {}
    for name in posteriors:
        path = run_dir / f"{name}.npz"
        np.savez(path, **data[name])
        for chains, protocol in protocols.items():
            for system in systems:
                left_out = {
                    *skipped.get(system, ()),
                    *skipped.get(f"{system}/{chains}", ()),
                }
                only = SYSTEMS[system].only
                is_for = only is None or (name, chains) in only
                if is_for and not left_out & {name, "all"}:
                    jobs[_label(name, chains, system)] = _job(
                        bench, system, MODELS[name], path, protocol, end
                    )
    records = harness.run_rounds(bench, jobs, done=done)
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
    end: float,
) -> harness.Job:
    """Runs one system on one posterior and makes its record.

    end: by the monotonic clock, after which it is skipped.
    """
    label = _label(model.name, protocol.num_chains, system)
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
        if time.monotonic() < end:
            # What PyTensor compiled for this posterior, it finds again with another
            # number of chains, and nothing older.  XLA finds nothing.
            folder = bench.run_dir / "pytensor" / model.name
            environment = {
                "PYTENSOR_FLAGS": f"base_compiledir={folder}",
                "PPL_COMPILE_CACHE": "",
                "JAX_ENABLE_COMPILATION_CACHE": "false",
            }
            (result,) = harness.run_tasks(
                bench,
                f"round{number}-{label}",
                [task],
                threads=threads,
                environment=environment,
            )
        else:
            result = harness.not_begun()
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


def _label(posterior: str, num_chains: int, system: str) -> str:
    return f"{posterior}-{num_chains}-{system}"


def _label_of(one: record.Record) -> str:
    return _label(one.problem["name"], one.settings["num_chains"], one.system)


def _is_of(one: record.Record, protocols: Mapping[int, Protocol]) -> bool:
    """Whether a record was made under the protocol of its number of chains."""
    protocol = protocols.get(one.settings["num_chains"])
    return protocol is not None and protocol._asdict().items() <= one.settings.items()


def _reference_path(model: BenchModel) -> Path:
    return posterior_references.FOLDER / f"{model.reference_name}.json"


def _ours_alone_fails(one: record.Record, records: Sequence[record.Record]) -> bool:
    """Whether ours is wrong on a posterior that another system got right."""
    if not one.system.startswith("ppl_core") or not harness.is_wrong(one):
        return False

    def case(other: record.Record) -> Any:
        return other.problem["name"], other.settings["num_chains"]

    return any(
        case(other) == case(one)
        and other.status == "ok"
        and not harness.is_wrong(other)
        for other in records
    )
