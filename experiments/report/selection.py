"""Which records a page reads, and whether they give a number."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.records.record import Record

DISTURBED = 0.8  # share of the best round's matmul peak that a round must have


def newest(
    records: Sequence[Record], part: Callable[[Record], Any] = lambda record: None
) -> list[Record]:
    """The records of the newest benchmark, or of the newest one of each part.

    part: the part of the table that a record belongs to.  No ratio is taken between
      parts, so each may have been measured by itself.

    Raises ValueError for no records, and for one without provenance["bench_id"].
    """
    if not records:
        raise ValueError("records: given none, wanted those of a benchmark")
    for record in records:
        if "bench_id" not in record.provenance:
            raise ValueError(
                f"{record.system}, round {record.round}: no bench_id in its provenance"
            )
    last = {part(r): r.provenance["bench_id"] for r in records}
    return [r for r in records if r.provenance["bench_id"] == last[part(r)]]


def by_system(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each system, both in the order in which they came."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.system, []).append(record)
    return groups


def failure(records: Sequence[Record]) -> str:
    """Why these rounds of one system give no number; "" where they do."""
    if not records:
        return "not run"
    failures = {r.round: text for r in records if (text := _failure(r))}
    if not failures:
        return ""
    first = min(failures)
    every_round = len(failures) == len(records)
    return failures[first] if every_round else f"{failures[first]} (in round {first})"


def _failure(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    if "passed" not in record.check:
        return "not checked"
    if record.check["passed"]:
        return ""
    reason = record.check.get("reason")
    of_sampler = record.experiment in ("nuts", "posteriors")
    wrong = "wrong posterior" if of_sampler else "wrong losses"
    return f"{wrong}: {reason}" if reason else wrong


def matmul_peaks(records: Iterable[Record], runs: Sequence[Record]) -> dict[int, float]:
    """The peak of matrix products that `runs`' benchmark measured, by round.

    In flops a second; empty where there are no runs.
    """
    benches = {run.provenance["bench_id"] for run in runs}
    return {
        r.round: r.work["matmul_flops_per_second"]
        for r in records
        if r.settings["mode"] == "probe"
        and r.status == "ok"
        and r.provenance.get("bench_id") in benches
    }


def disturbed(peaks: Mapping[int, float]) -> dict[int, float]:
    """Rounds whose peak was far below the best one's, and its part of that."""
    best = max(peaks.values(), default=0.0)
    return {i: peak / best for i, peak in peaks.items() if peak < DISTURBED * best}
