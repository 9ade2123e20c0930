"""Rounds in which systems train in turn, each turn a fresh process: what they share."""

import os
import secrets
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import subprocesses
from experiments.records import provenance, record
from experiments.records.run_dir import CheckFailed, utc_now

REPO = Path(__file__).resolve().parents[2]
BITS_TOLERANCE = 1e-4  # bits/dim before the first update
LATER_TOLERANCE = 1e-3  # relative, of the losses after updates
PROBED = "square matrix products, float32"


class Bench(NamedTuple):
    """What the turns of one benchmark have in common."""

    experiment: str  # the records'
    worker: str  # the module of a turn's process
    run_dir: Path
    seed: int
    timeout_seconds: float
    origin: dict[str, Any]


def origin_of(provenance_of_run: Mapping[str, Any]) -> dict[str, Any]:
    """A new benchmark's part of its records' provenance."""
    kept = {key: v for key, v in provenance_of_run.items() if key != "hardware"}
    return kept | {"bench_id": f"{utc_now()}-{secrets.token_hex(3)}"}


def turn(
    bench: Bench,
    number: int,
    *,
    system: str,
    task: Mapping[str, Any],
    problem: Mapping[str, Any],
) -> record.Record:
    """A fresh process of as many threads as cores, and the record of it."""
    cores = len(os.sched_getaffinity(0))
    task = {**task, "seed": bench.seed}
    when = {"started_at": utc_now(), "load_average": round(os.getloadavg()[0], 2)}
    (result,) = subprocesses.run(
        bench.run_dir,
        f"round{number}-{system.replace('/', '-')}",
        [task],
        threads=cores,
        timeout=bench.timeout_seconds,
        worker=bench.worker,
    )
    told = {key: result[key] for key in ("model", "source") if key in result}
    settings = {key: value for key, value in task.items() if key != "sizes"}
    check = {"passed": result["status"] == "ok"}
    if "bits_per_dim" in result:
        check["bits_per_dim"] = result["bits_per_dim"]
    return record.Record(
        experiment=bench.experiment,
        system=system,
        round=number,
        problem={**problem, **told},
        hardware=provenance.hardware() | {"device": "cpu", "threads": cores},
        settings=settings,
        status=result["status"],
        reason=result.get("reason", ""),
        note=result.get("note", ""),
        seconds=result.get("seconds", {}),
        work=result.get("work", {}),
        check=check,
        provenance=bench.origin | when,
    )


def probe(bench: Bench, number: int) -> record.Record:
    """The record of what matrix products alone come to in this round."""
    return turn(
        bench,
        number,
        system="probe",
        task={"mode": "probe"},
        problem={"name": PROBED},
    )


def check_bits(bits: Sequence[float], wanted: Sequence[float] | None) -> dict[str, Any]:
    """Whether the bits/dim of a system's first steps are ours.

    Those before any update to 1e-4; those after, in which rounding and where Adam adds
    its epsilon show, to 1e-3 of them.
    """
    check: dict[str, Any] = {"bits_per_dim": list(bits), "tolerance": BITS_TOLERANCE}
    if wanted is None:
        return check | {"passed": False, "reason": "ours gave nothing to hold it to"}
    first = abs(bits[0] - wanted[0])
    later = max(abs(a / b - 1) for a, b in zip(bits, wanted, strict=True))
    check |= {"bits_error": first, "later_error": later}
    check["passed"] = first <= BITS_TOLERANCE and later <= LATER_TOLERANCE
    if not check["passed"]:
        check["reason"] = (
            f"its bits/dim are off by {first:.1e} at first and by {later:.1e} of them "
            "after updates"
        )
    return check


def hold(
    made: record.Record, first_bits: dict[str, list[float]], *, is_ours: bool
) -> None:
    """Checks a turn's bits/dim against ours of the same problem, which come first.

    first_bits: ours, by the problem's name; a turn of ours adds those of a new one.
    """
    bits, name = made.check.pop("bits_per_dim"), made.problem["name"]
    if is_ours:
        first_bits.setdefault(name, bits)
    made.check.update(check_bits(bits, first_bits.get(name)))


def keep(
    bench: Bench, kept: list[record.Record], made: record.Record, said: str
) -> None:
    """Adds a turn's record to those kept, and to the run's; prints what is said."""
    kept.append(made)
    record.append(bench.run_dir / "records.jsonl", made)
    print(said, flush=True)


def told(made: record.Record, figure: Callable[[record.Record], str]) -> str:
    """A turn in a line: its figure, or why it has none."""
    if made.status != "ok":
        return f"{made.system:32} {made.status}: {made.reason}"
    verdict = "" if made.check["passed"] else f"  WRONG: {made.check['reason']}"
    return f"{made.system:32} {figure(made)}{verdict}"


def a_step(made: record.Record) -> str:
    """The median time of a turn's steps, in words."""
    return f"{1000 * statistics.median(made.seconds['calls']):9.1f} ms a step"


def finish(
    kept: Sequence[record.Record], render: Callable[..., None], out: str
) -> None:
    """Adds the records of a benchmark that ended to those of `out`, and renders them.

    Raises CheckFailed when a turn failed, or its losses were not ours.
    """
    out_dir = REPO / out
    records_path = out_dir / "records" / f"{kept[0].experiment}.jsonl"
    for made in kept:  # together, so that a benchmark cut short leaves the last one
        record.append(records_path, made)
    render(records_path=records_path, out_dir=out_dir)
    print(f"wrote {out}/tables", flush=True)
    wrong = {
        f"{made.system}, round {made.round}": made.reason or made.check.get("reason")
        for made in kept
        if made.status == "failed"
        or (made.status == "ok" and not made.check.get("passed"))
    }
    if wrong:
        raise CheckFailed(str(wrong))


def check_least(
    what: str, given: Mapping[str, Any], counts: Mapping[str, float]
) -> None:
    """Raises ValueError, naming it, for a value below the least wanted."""
    for name, least in counts.items():
        if not given[name] >= least:
            raise ValueError(
                f"{what}: {name}: given {given[name]}, wanted {least} or more"
            )
