"""The harness of every benchmark: rounds, fresh processes, records, pages.

A benchmark calls `start`, makes a job for each system (a function from the number of a
round to a record), runs them with `run_rounds` and ends with `finish`:

    bench = harness.start("vae", worker, run_dir=run_dir, seed=0, timeout_seconds=600)
    records = harness.run_rounds(bench, jobs, num_rounds, figure)
    harness.finish(bench, records, page.render_vae, out)

A job runs its task with `run_tasks` and makes its record with `make_record`.
"""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import subprocesses
from experiments.records import provenance, record
from experiments.records.run_dir import CheckFailed, utc_now

REPO = Path(__file__).resolve().parents[2]

Job = Callable[[int], record.Record]
Result = dict[str, Any]  # of a process: status, reason, seconds, work, ...


class Benchmark(NamedTuple):
    """What all records and processes of one benchmark share."""

    experiment: str  # of the records, and the name of their file
    worker: str  # the module that runs the tasks
    run_dir: Path
    seed: int
    timeout_seconds: float  # of one task
    provenance: dict[str, Any]


def start(
    experiment: str, worker: str, *, run_dir: Path, seed: int, timeout_seconds: float
) -> Benchmark:
    """A benchmark with a new id, in the folder of a run."""
    origin = json.loads((run_dir / "provenance.json").read_text())
    origin.pop("hardware", None)  # each record has its own
    origin["bench_id"] = f"{utc_now()}-{secrets.token_hex(3)}"
    return Benchmark(experiment, worker, run_dir, seed, timeout_seconds, origin)


def run_tasks(
    bench: Benchmark,
    label: str,
    tasks: Sequence[Mapping[str, Any]],
    *,
    threads: int,
    **options: Any,
) -> list[Result]:
    """The results of tasks that run side by side, each in a fresh process.

    label: names the files of the tasks, results and logs in the run's folder.
    threads, options: as `subprocesses.run` takes them.

    Each result also has `start`: the time and the load average before it.
    """
    begin = _start()
    results = subprocesses.run(
        bench.run_dir,
        label,
        tasks,
        worker=bench.worker,
        threads=threads,
        timeout=bench.timeout_seconds,
        **options,
    )
    return [result | {"start": begin} for result in results]


def merge_results(
    results: Sequence[Result], merge: Callable[[Sequence[float]], float]
) -> Result:
    """One result of processes that ran side by side.

    merge: of the seconds that a step took in each of them.

    It is the first result that is not "ok", if there is one.
    """
    for result in results:
        if result["status"] != "ok":
            return result
    if len(results) == 1:
        return results[0]
    seconds = [result["seconds"] for result in results]
    return results[0] | {
        "seconds": {
            "build": max(one["build"] for one in seconds),
            "first": max(one["first"] for one in seconds),
            "calls": [
                merge(step)
                for step in zip(*(one["calls"] for one in seconds), strict=True)
            ],
        }
    }


def _start() -> dict[str, Any]:
    return {"started_at": utc_now(), "load_average": round(os.getloadavg()[0], 2)}


def make_record(
    bench: Benchmark,
    result: Mapping[str, Any],
    *,
    system: str,
    number: int,
    problem: dict[str, Any],
    settings: dict[str, Any],
    check: dict[str, Any],
    hardware: Mapping[str, Any] | None = None,
) -> record.Record:
    """The record of a result.

    number: of the round.
    hardware: what the record says besides this machine's hardware.
    """
    return record.Record(
        experiment=bench.experiment,
        system=system,
        round=number,
        problem=problem,
        hardware=provenance.hardware() | {"device": "cpu", **(hardware or {})},
        settings=settings,
        status=result["status"],
        reason=result.get("reason", ""),
        note=result.get("note", ""),
        seconds=result.get("seconds", {}),
        work=result.get("work", {}),
        check=check,
        provenance=bench.provenance | (result.get("start") or _start()),
    )


def run_rounds(
    bench: Benchmark,
    jobs: Mapping[str, Job],
    num_rounds: int,
    figure: Callable[[record.Record], str],
) -> list[record.Record]:
    """Runs each job once a round, so that a machine that drifts affects all alike.

    A job whose record is not "ok" is left out of later rounds.  Records also go to the
    run's records.jsonl, and each is printed with its `figure`.
    """
    records = []
    stopped = set()
    for number in range(1, num_rounds + 1):
        for name, job in jobs.items():
            if name in stopped:
                continue
            one = job(number)
            records.append(one)
            record.append(bench.run_dir / "records.jsonl", one)
            print(f"round {number}/{num_rounds}  {outcome(one, figure)}", flush=True)
            if one.status != "ok":
                stopped.add(name)
    return records


def outcome(one: record.Record, figure: Callable[[record.Record], str]) -> str:
    """A record in a line: its figure, or why it has none."""
    if one.status != "ok":
        return f"{one.system:32} {one.status}: {one.reason}"
    wrong = "" if one.check["passed"] else f"  WRONG: {one.check['reason']}"
    return f"{one.system:32} {figure(one)}{wrong}"


def is_wrong(one: record.Record) -> bool:
    """Whether a system failed, or ran and did not pass its check."""
    return one.status == "failed" or (
        one.status == "ok" and not one.check.get("passed")
    )


def finish(
    bench: Benchmark,
    records: Sequence[record.Record],
    render: Callable[..., None],
    out: str,
    *,
    fails: Callable[[record.Record], bool] = is_wrong,
) -> None:
    """Appends a benchmark's records to those of `out` and renders its page.

    fails: which records fail the benchmark.

    All records are appended at the end: a benchmark that is interrupted leaves the page
    of the last one.

    Raises CheckFailed when a record fails it.
    """
    out_dir = REPO / out
    records_path = out_dir / "records" / f"{bench.experiment}.jsonl"
    for one in records:
        record.append(records_path, one)
    render(records_path=records_path, out_dir=out_dir)
    print(f"wrote {out}/tables", flush=True)
    wrong = {
        f"{one.system}, round {one.round}": one.reason or one.check.get("reason")
        for one in records
        if fails(one)
    }
    if wrong:
        raise CheckFailed(str(wrong))


def check_dict(name: str, value: Any) -> None:
    """Raises ValueError for what is no dict."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: given {value!r}, wanted a dict")


def check_keys(
    name: str,
    config: Any,
    required: Collection[str],
    optional: Collection[str] = (),
) -> None:
    """Raises ValueError for what is no dict, unknown keys and missing ones."""
    check_dict(name, config)
    unknown = [key for key in config if key not in {*required, *optional}]
    missing = [key for key in required if key not in config]
    if unknown or missing:
        given = [f"unknown {unknown}"] * bool(unknown) + [f"no {missing}"] * bool(
            missing
        )
        also = f", optionally {list(optional)}" if optional else ""
        raise ValueError(
            f"{name}: given {' and '.join(given)}, wanted {list(required)}{also}"
        )


@contextlib.contextmanager
def errors_with(name: str) -> Iterator[None]:
    """Puts the name before the message of what a model's own check raises."""
    try:
        yield
    except (TypeError, ValueError) as error:  # TypeError: a number for a list, say
        raise ValueError(f"{name}: {error}") from error


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raises ValueError for what is no whole number, or below `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: given {value!r}, wanted an integer, {least} or more")


def check_counts(name: str, values: Any) -> None:
    """Raises ValueError for what is no list of one or more counts."""
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{name}: given {values!r}, wanted a list of some")
    for value in values:
        check_count(name, value)


def check_seconds(name: str, value: Any, *, positive: bool = False) -> None:
    """Raises ValueError for what is no finite number of seconds."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf or (positive and not value):
        wanted = "above 0" if positive else "0 or more"
        raise ValueError(f"{name}: given {value!r}, wanted {wanted} seconds")


def check_some_of(name: str, values: Any, known: Collection[str]) -> None:
    """Raises ValueError unless `values` has one or more of `known`, none twice."""
    listed = isinstance(values, (list, tuple)) and all(
        isinstance(value, str) and value in known for value in values
    )
    if not listed or not values or len(set(values)) < len(values):
        given = list(values) if isinstance(values, (list, tuple)) else values
        raise ValueError(f"{name}: given {given!r}, wanted some of {list(known)}")


def check_run(num_rounds: Any, out: Any, timeout_seconds: Any) -> None:
    """Raises ValueError for wrong values of the arguments that all benchmarks have."""
    check_count("num_rounds", num_rounds)
    check_seconds("timeout_seconds", timeout_seconds, positive=True)
    if not isinstance(out, str) or not out:
        raise ValueError(f"out: given {out!r}, wanted the path of a folder")
