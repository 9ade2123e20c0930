"""The harness of every benchmark: rounds, fresh processes, records, pages, checks.

A benchmark calls `start`, makes a job for each system (a function from the number of a
round to a record), runs them with `run_rounds` and ends with `finish`.  A job runs its
task with `run_tasks` and makes its record with `make_record`.
"""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import subprocesses
from experiments.bench.subprocesses import REPO
from experiments.records import provenance, record
from experiments.records.run_dir import CheckFailed, utc_now
from experiments.report.posteriors_rows import NO_TIME
from experiments.training.checks import check_count, check_number

UNITS = ("gradients", "positions", "examples")  # of work, timed in calls

Job = Callable[[int], record.Record]
Result = dict[str, Any]  # of a process: status, reason, seconds, work, ...


class Benchmark(NamedTuple):
    """What all records and processes of one benchmark share."""

    experiment: str  # of the records, and the name of their file
    worker: str  # the module of experiments.bench that runs the tasks
    run_dir: Path
    seed: int
    num_rounds: int
    out: str  # the folder of records/, tables/ and plots/, from the repository's root
    timeout_seconds: float  # of one system in one round
    provenance: dict[str, Any]


def start(
    experiment: str,
    worker: str,
    run_dir: Path,
    seed: int,
    num_rounds: int,
    out: str,
    timeout_seconds: float,
) -> Benchmark:
    """A benchmark with a new id, in the folder of a run.

    Raises ValueError for a wrong value.
    """
    check_count("num_rounds", num_rounds)
    check_number("timeout_seconds", timeout_seconds, above=0)
    if not isinstance(out, str) or not out:
        raise ValueError(f"out: given {out!r}, wanted the path of a folder")
    origin = json.loads((run_dir / "provenance.json").read_text())
    origin.pop("hardware", None)  # each record has its own
    origin["bench_id"] = record.new_bench_id()
    return Benchmark(
        experiment, worker, run_dir, seed, num_rounds, out, timeout_seconds, origin
    )


def run_tasks(
    bench: Benchmark, label: str, tasks: Sequence[Mapping[str, Any]], **options: Any
) -> list[Result]:
    """The results of tasks that run side by side, each in a fresh process.

    label: names the files of the tasks, results and logs in the run's folder.
    options: as `subprocesses.run` takes them.

    Each result also has `start`: the time and the load average before it.
    """
    begin = _start()
    results = subprocesses.run(
        bench.run_dir / label,
        tasks,
        worker=f"experiments.bench.{bench.worker}",
        timeout=bench.timeout_seconds,
        **options,
    )
    return [result | {"start": begin} for result in results]


def not_begun() -> Result:
    """The result of a run that had no time left: a resumed benchmark runs it."""
    return {"status": "skipped", "reason": f"{NO_TIME}: --resume runs it"}


def merge_results(
    results: Sequence[Result], merge: Callable[[Sequence[float]], float]
) -> Result:
    """One result of processes that ran side by side.

    merge: of the seconds that a step took in each of them.

    It is the first result that is not "ok", if there is one.
    """
    for result in results:
        if result["status"] != "ok" or len(results) == 1:
            return result
    seconds = [result["seconds"] for result in results]
    calls = zip(*(one["calls"] for one in seconds), strict=True)
    return results[0] | {
        "seconds": {
            "build": max(one["build"] for one in seconds),
            "first": max(one["first"] for one in seconds),
            "calls": [merge(step) for step in calls],
        }
    }


def _start() -> dict[str, Any]:
    return {"started_at": utc_now(), "load_average": round(os.getloadavg()[0], 2)}


def make_record(
    bench: Benchmark,
    result: Mapping[str, Any],
    *,
    hardware: Mapping[str, Any] | None = None,
    **fields: Any,
) -> record.Record:
    """The record of a result.

    hardware: what the record says besides this machine's hardware.
    fields: the record's system, round, problem, settings and check.
    """
    return record.Record(
        experiment=bench.experiment,
        hardware=provenance.hardware() | {"device": "cpu", **(hardware or {})},
        status=result["status"],
        reason=result.get("reason", ""),
        seconds=result.get("seconds", {}),
        work=result.get("work", {}),
        provenance=bench.provenance | (result.get("start") or _start()),
        **fields,
    )


def run_rounds(
    bench: Benchmark,
    jobs: Mapping[str, Job],
    num_rounds: int | None = None,
    done: Mapping[tuple[int, str], record.Record] | None = None,
) -> list[record.Record]:
    """Runs each job once a round, so that a machine that drifts affects all alike.

    done: records of an earlier attempt, by round and name of the job, which is not run
      again.

    A job whose record is not "ok" is left out of later rounds.  Records also go to the
    run's records.jsonl, and each is printed in a line.
    """
    num_rounds = num_rounds or bench.num_rounds
    records = []
    stopped = set()
    for number in range(1, num_rounds + 1):
        for name, job in jobs.items():
            if name in stopped:
                continue
            one = (done or {}).get((number, name))
            if one is None:
                one = job(number)
                record.append(bench.run_dir / "records.jsonl", one)
                print(f"round {number}/{num_rounds}  {outcome(one, name)}", flush=True)
            records.append(one)
            if one.status != "ok":
                stopped.add(name)
    return records


def resumed(
    bench: Benchmark, name_of: Callable[[record.Record], str]
) -> tuple[Benchmark, dict[tuple[int, str], record.Record]]:
    """The benchmark as it goes on in its run's folder, and the records made there.

    name_of: the name of the job that made a record.

    The records are by round and name, the last one where there are several.  The
    benchmark has their id.
    """
    path = bench.run_dir / "records.jsonl"
    earlier = record.read(path) if path.exists() else []
    if not earlier:
        return bench, {}
    bench_id = earlier[0].provenance["bench_id"]
    bench = bench._replace(provenance=bench.provenance | {"bench_id": bench_id})
    return bench, {(one.round, name_of(one)): one for one in earlier}


def outcome(one: record.Record, name: str = "") -> str:
    """A record in a line: its milliseconds per unit of work, or why it has none.

    name: of the job; empty: the system's.
    """
    name = name or one.system
    if one.status != "ok":
        return f"{name:32} {one.status}: {one.reason}"
    result, calls = "done", one.seconds.get("calls")
    for unit in UNITS:
        if calls and unit in one.work:
            milliseconds = 1000 * sum(calls) / sum(one.work[unit])
            result = f"{milliseconds:10.3f} ms per {unit.removesuffix('s')}"
    wrong = "" if one.check["passed"] else f"  WRONG: {one.check['reason']}"
    return f"{name:32} {result}{wrong}"


def is_wrong(one: record.Record) -> bool:
    """Whether a system failed, or ran and did not pass its check."""
    return one.status == "failed" or (
        one.status == "ok" and not one.check.get("passed")
    )


def finish(
    bench: Benchmark,
    records: Sequence[record.Record],
    render: Callable[..., None],
    *,
    fails: Callable[[record.Record], bool] = is_wrong,
) -> Path:
    """Appends a benchmark's records to those of `out` and renders its page.

    fails: which records fail the benchmark.

    All records are appended at the end: a benchmark that is interrupted leaves the page
    of the last one.

    Returns the folder of tables.  Raises CheckFailed when a record fails the benchmark.
    """
    out_dir = REPO / bench.out
    records_path = out_dir / "records" / f"{bench.experiment}.jsonl"
    for one in records:
        record.append(records_path, one)
    render(records_path=records_path, out_dir=out_dir)
    print(f"wrote {bench.out}/tables", flush=True)
    wrong = {
        f"{one.system}, round {one.round}": one.reason or one.check.get("reason")
        for one in records
        if fails(one)
    }
    if wrong:
        raise CheckFailed(str(wrong))
    return out_dir / "tables"


def check_fields(
    name: str,
    config: Any,
    checks: Mapping[str, Callable[[str, Any], None]],
    optional: Collection[str] = (),
) -> None:
    """Raises ValueError for what is no dict, wrong keys, and wrong values.

    checks: by key, a check of a name and a value.
    optional: the keys that may be missing.
    """
    check_keys(name, config, [key for key in checks if key not in optional], optional)
    for key, value in config.items():
        checks[key](f"{name}: {key}", value)


def check_keys(
    name: str, config: Any, required: Collection[str], optional: Collection[str] = ()
) -> None:
    """Raises ValueError for what is no dict, unknown keys and missing ones."""
    check_dict(name, config)
    unknown = [key for key in config if key not in {*required, *optional}]
    missing = [key for key in required if key not in config]
    if unknown or missing:
        given = [f"unknown {unknown}"] * bool(unknown)
        given += [f"no {missing}"] * bool(missing)
        also = f", optionally {list(optional)}" if optional else ""
        raise ValueError(
            f"{name}: given {' and '.join(given)}, wanted {list(required)}{also}"
        )


def check_dict(name: str, value: Any) -> None:
    """Raises ValueError for what is no dict."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: given {value!r}, wanted a dict")


def check_counts(name: str, values: Any) -> None:
    """Raises ValueError for what is no list of one or more counts."""
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{name}: given {values!r}, wanted a list of some")
    for value in values:
        check_count(name, value)


def check_seconds(name: str, value: Any) -> None:
    """Raises ValueError for what is no finite number of seconds, 0 or more."""
    check_number(name, value, at_least=0)


def check_some_of(name: str, values: Any, known: Collection[str]) -> None:
    """Raises ValueError unless `values` has one or more of `known`, none twice."""
    listed = isinstance(values, (list, tuple)) and all(
        isinstance(value, str) and value in known for value in values
    )
    if not listed or not values or len(set(values)) < len(values):
        given = list(values) if isinstance(values, (list, tuple)) else values
        raise ValueError(f"{name}: given {given!r}, wanted some of {list(known)}")


@contextlib.contextmanager
def errors_with(name: str) -> Iterator[None]:
    """Puts the name before the message of what a model's own check raises."""
    try:
        yield
    except (TypeError, ValueError) as error:  # TypeError: a number for a list, say
        raise ValueError(f"{name}: {error}") from error
