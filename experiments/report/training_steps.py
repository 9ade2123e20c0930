"""What the pages of training steps share: rows of systems, targets, tables and CSV."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.ratios import (
    Outcome,
    Spread,
    at_least,
    at_most,
    ratio,
    spread,
    spread_or_none,
)
from experiments.report.tables import (
    NONE,
    cell,
    columns,
    machine,
    markdown_table,
    number,
    peak_line,
    percent,
    rounds_line,
    times,
    with_range,
)

OURS, BY_HAND = "ours", "handwritten_tf"
DEFINITIONS = (
    "A step is timed from NumPy arrays until its loss is known. The first call, which "
    "traces and compiles, is timed apart. A round's time is the median of its steps.",
    "A ratio is taken within each round; median and range are over the rounds.",
    "All systems train the same weights on the same examples with Adam at a constant "
    "rate. The CSV has the bits per dimension before any update and at the last step "
    "compared.",
    "MFU: the operations of the model's matrix products and convolutions, forward and "
    "backward, over the step's time and the highest peak of square float32 matrix "
    "products that a round measured. Recomputed operations do not count; masked "
    "scores do.",
)


class Trained(NamedTuple):
    """One system's steps of one problem over the rounds."""

    problem: str
    system: str
    records: tuple[Record, ...]
    failure: str  # why there are no numbers; "" where there are
    seconds: dict[int, float]  # of a step, by round
    mfu: dict[int, float]

    @property
    def max_rss_bytes(self) -> int | None:
        """The most memory that a process had over the rounds; None: not recorded."""
        known = (
            r.work["max_rss_bytes"] for r in self.records if "max_rss_bytes" in r.work
        )
        return max(known, default=None)

    def clock(self, name: str) -> Spread | None:
        """Seconds of "build" or of the "first" call."""
        if self.failure:
            return None
        return spread_or_none(r.seconds.get(name) for r in self.records)


def trained_row(records: Sequence[Record], peak: float | None) -> Trained:
    """The row of a system's records.  peak: flops a second, where measured."""
    problem, _, system = records[0].system.partition("/")
    failure = selection.failure(records)
    seconds = {}
    if not failure:
        seconds = {r.round: statistics.median(r.seconds["calls"]) for r in records}
    mfu = {}
    if peak and seconds:
        mfu = {r.round: r.work["flops"] / seconds[r.round] / peak for r in records}
    return Trained(problem, system, tuple(records), failure, seconds, mfu)


def step_target(claim: str, over: Trained, under: Trained, bound: float) -> Outcome:
    """Whether the one's step takes at most `bound` times the other's."""
    measured = ratio(over.seconds, under.seconds)
    return at_most(claim, bound, measured, over.failure or under.failure)


def mfu_target(row: Trained, bound: float) -> Outcome:
    """Whether a system's MFU is no less than `bound`."""
    return at_least(
        f"MFU, {row.problem}, {row.system}",
        bound,
        spread_or_none(row.mfu.values()),
        row.failure or "no peak was measured",
        percent=True,
    )


# As Markdown.


def settings_lines(
    records: Sequence[Record], sources: Mapping[str, str], peaks: Mapping[int, float]
) -> list[str]:
    """Machine, rounds, data and peak.  sources: of the data, by what they are."""
    lines = [f"Machine: {machine(records)}", rounds_line(records)]
    lines += [f"{what}: {source}" for what, source in sources.items()]
    lines += [peak_line(peaks)] if peaks else []
    first, later = (
        max(
            (r.check[name] for r in records if r.check.get(name) is not None), default=0
        )
        for name in ("bits_error", "later_error")
    )
    lines.append(
        "Check: a system whose losses are not those of ours has no ratio. The largest "
        f"errors: {first:.1e} bits/dim before any update, {later:.1e} relative after it"
    )
    return lines


def model_line(rows: Sequence[Trained], examples: str) -> str:
    """What all of a problem's systems train.  examples: "images", say."""
    record = next((r for row in rows for r in row.records if r.status == "ok"), None)
    if record is None:
        return "No system ran."
    return (
        f"{record.problem['model']}, {record.work['parameters']:,} parameters, "
        f"{record.problem['batch']} {examples} a step, "
        f"{record.work['flops'] / 1e9:,.1f} GFLOP."
    )


def training_table(rows: Sequence[Trained], labels: Mapping[str, str]) -> str:
    """A line for each system of one problem.  labels: of systems."""
    ours = next(row for row in rows if row.system == OURS)
    head = (
        "system",
        "ms a step (range)",
        "ours / it (range)",
        "MFU",
        "most memory, GB",
    )
    lines = []
    for row in rows:
        label = labels.get(row.system, row.system)
        label = f"**{label}**" if row is ours else label
        if row.failure:
            lines.append((label, cell(row.failure), NONE, NONE, NONE))
            continue
        memory = row.max_rss_bytes
        lines.append(
            (
                label,
                milliseconds(row.seconds),
                NONE if row is ours else times(ratio(ours.seconds, row.seconds)),
                percent(spread(row.mfu.values())).split(" (")[0] if row.mfu else NONE,
                NONE if memory is None else number(memory / 1e9),
            )
        )
    return markdown_table(head, lines)


def milliseconds(seconds: Mapping[int, float]) -> str:
    """Median and range over the rounds."""
    return with_range(spread(1000 * value for value in seconds.values()))


# As CSV.


def csv_row(row: Trained, ours: Trained | None) -> dict[str, Any]:
    """The line of a CSV file.  ours: the row of the same problem that is ours."""
    record = row.records[0]
    bits: list[float | None] = record.check.get("bits_per_dim") or [None]
    over = ratio(ours.seconds, row.seconds) if ours else None
    batch = record.problem["batch"]
    return {
        "what": "training",
        "problem": row.problem,
        "system": row.system,
        **csv_status(record, row.failure),
        "batch": batch,
        "rounds": len(row.seconds),
        **columns("seconds", spread_or_none(row.seconds.values())),
        **columns(
            "examples_per_second",
            spread_or_none(batch / s for s in row.seconds.values()),
        ),
        **columns("ours_over_it", over),
        **columns("mfu", spread_or_none(row.mfu.values())),
        **columns("build_seconds", row.clock("build")),
        **columns("first_seconds", row.clock("first")),
        "parameters": record.work.get("parameters"),
        "flops": record.work.get("flops"),
        "max_rss_bytes": row.max_rss_bytes,
        "bits_per_dim_first": bits[0],
        "bits_per_dim_last": bits[-1],
    }


def csv_status(record: Record, failure: str) -> dict[str, Any]:
    """Whether a row has numbers, and the reason where it has none."""
    return {
        "status": record.status if failure else "ok",
        "reason": " ".join(failure.split()) or None,
    }
