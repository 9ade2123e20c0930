"""What pages of training steps share: rows of systems, ratios and verdicts, as text."""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from experiments.records.record import Record
from experiments.report.speedup import Spread, spread, trouble
from experiments.report.tables import (
    NONE,
    cell_of_text,
    field,
    number,
    table_of_numbers,
    three,
    with_range,
)

OURS = "ours"
DISTURBED = 0.8  # of the best round's peak; below it something else took its time


class Trained(NamedTuple):
    """One system's steps of one problem over the rounds."""

    problem: str
    system: str
    records: tuple[Record, ...]
    trouble: str  # why there are no numbers; "" where there are
    seconds: dict[int, float]  # of a step, by round
    mfu: dict[int, float]


class Verdict(NamedTuple):
    """How a target came out."""

    claim: str
    wanted: str
    measured: Spread | None
    reached: bool  # by the median; False where it was not measured
    trouble: str  # why it was not measured, or in part alone; "" where it was


def disturbed(peaks: Mapping[int, float]) -> dict[int, float]:
    """Rounds whose peak was far below the best one's, and its share of that."""
    best = max(peaks.values(), default=0.0)
    return {i: peak / best for i, peak in peaks.items() if peak < DISTURBED * best}


def trained_row(records: Sequence[Record], peak: float | None) -> Trained:
    """The row of a system's records.  peak: flops a second, where measured."""
    problem, _, system = records[0].system.partition("/")
    why = trouble(records)
    seconds = (
        {} if why else {r.round: statistics.median(r.seconds["calls"]) for r in records}
    )
    mfu = {}
    if peak and seconds:
        mfu = {r.round: r.work["flops"] / seconds[r.round] / peak for r in records}
    return Trained(problem, system, tuple(records), why, seconds, mfu)


class Timed(Protocol):
    """A row that has times by round, or says why not."""

    @property
    def seconds(self) -> dict[int, float]:
        """By round."""

    @property
    def trouble(self) -> str:
        """Why there are none; "" where there are."""


def at_most(claim: str, over: Timed, under: Timed, bound: float) -> Verdict:
    """Whether the one's time over the other's is within the bound."""
    ratio = ratio_of(over.seconds, under.seconds)
    return verdict_of(
        claim,
        f"at most {bound:g}x",
        ratio,
        ratio is not None and ratio.median <= bound,
        over.trouble or under.trouble or "no common round",
    )


def verdict_of(
    claim: str, wanted: str, measured: Spread | None, reached: bool, trouble: str
) -> Verdict:
    """How it came out.  trouble: what there is to say where nothing was measured."""
    return Verdict(
        claim, wanted, measured, reached, trouble if measured is None else ""
    )


def ratio_of(over: Mapping[int, float], under: Mapping[int, float]) -> Spread | None:
    """Of times by round, within each round; None where no round has both."""
    common = over.keys() & under.keys()
    return spread(over[i] / under[i] for i in common) if common else None


# As Markdown.


def model_line(rows: Sequence[Trained], examples: str) -> str:
    """What all of a problem's systems train; examples: "images", say."""
    record = next((r for row in rows for r in row.records if r.status == "ok"), None)
    if record is None:
        return "No system ran."
    return (
        f"{record.problem['model']}, {record.work['parameters']:,} parameters, "
        f"{record.problem['batch']} {examples} a step, "
        f"{record.work['flops'] / 1e9:,.1f} GFLOP."
    )


def training_table(
    rows: Sequence[Trained], labels: Mapping[str, str], examples: str
) -> str:
    """A line a system of one problem, ours among them.

    labels: of systems; examples: "images", say.
    """
    ours = next(row for row in rows if row.system == OURS)
    head = (
        "system",
        "ms a step, median (range)",
        f"{examples}/s",
        "MFU",
        "ours over it (range)",
        "build s",
        "first step s",
        "most memory, GB",
        "bits/dim before any update",
        "and at the third step",
    )
    lines = []
    for row in rows:
        name = labels.get(row.system, row.system)
        name = f"**{name}**" if row is ours else name
        if row.trouble:
            lines.append((name, cell_of_text(row.trouble), *(NONE,) * 8))
            continue
        batch = row.records[0].problem["batch"]
        ratio = None if row is ours else ratio_of(ours.seconds, row.seconds)
        bits = row.records[0].check["bits_per_dim"]
        most = _most_bytes(row.records)
        lines.append(
            (
                name,
                with_range(scaled(row.seconds, 1000)),
                with_range(spread(batch / s for s in row.seconds.values())),
                percent(spread(row.mfu.values()) if row.mfu else None),
                times(ratio),
                with_range(spread(r.seconds["build"] for r in row.records)),
                with_range(spread(r.seconds["first"] for r in row.records)),
                NONE if most is None else number(most / 1e9),
                f"{bits[0]:.5f}",
                f"{bits[-1]:.5f}",
            )
        )
    return table_of_numbers(head, lines)


def _most_bytes(records: Sequence[Record]) -> int | None:
    """The most memory that a turn's process had, over the rounds; None: not known."""
    known = (r.work["max_rss_bytes"] for r in records if "max_rss_bytes" in r.work)
    return max(known, default=None)


def targets(verdicts: Iterable[Verdict]) -> str:
    """The table of how the targets came out."""
    lines = []
    for verdict in verdicts:
        shown = (percent if verdict.wanted.endswith("%") else times)(verdict.measured)
        said = "reached" if verdict.reached else "**not reached**"
        if verdict.trouble:
            said = f"not measured ({cell_of_text(verdict.trouble)})"
        lines.append((verdict.claim, verdict.wanted, shown, said))
    head = ("what", "wanted", "measured, median (range)", "by the median")
    return table_of_numbers(head, lines)


def scaled(values: Mapping[int, float], factor: float) -> Spread:
    """Median and range over rounds, in another unit."""
    return spread(factor * value for value in values.values())


def percent(values: Spread | None) -> str:
    """Median and range of shares."""
    if values is None:
        return NONE
    low, median, high = (f"{100 * value:.1f}" for value in values)
    return f"{median} % ({low}-{high})" if low != high else f"{median} %"


def times(values: Spread | None) -> str:
    """Median and range of ratios."""
    if values is None:
        return NONE
    low, median, high = (
        f"{value:.3f}" if value < 10 else number(value) for value in values
    )
    return f"{median}x ({low}-{high})" if low != high else f"{median}x"


def origin_lines(records: Sequence[Record]) -> Iterable[str]:
    """Load, commit and versions that the records were made with."""
    loads = [r.provenance.get("load_average") for r in records]
    known = [float(load) for load in loads if load is not None]
    if known:
        yield f"Load average, of all turns: {with_range(spread(known))}."
    origin = records[0].provenance
    if origin.get("commit"):
        changed = ", with uncommitted changes" if origin.get("dirty") else ""
        yield f"Commit: {origin['commit']}{changed}."
    shown = ("python", "tensorflow", "keras", "jax", "flax", "optax", "numpy")
    versions = origin.get("versions") or {}
    if versions:
        told = ", ".join(f"{k} {versions[k]}" for k in shown if k in versions)
        yield f"Versions: {told}."


def disturbance(peaks: Mapping[int, float], of: str = "") -> Iterable[str]:
    """What there is to say of rounds that were disturbed.  of: " of training", say."""
    for i, share in disturbed(peaks).items():
        yield (
            f"Disturbed: round {i}{of}, whose peak of matrix products, "
            f"{number(peaks[i] / 1e9)} GFLOP/s, was {share:.0%} of the best round's "
            f"(below {DISTURBED:.0%}). It is counted with the others, and widens the "
            "ranges."
        )


def csv_row(row: Trained) -> dict[str, Any]:
    """The line of a CSV file."""
    record = row.records[0]
    bits: list[float | None] = record.check.get("bits_per_dim") or [None]
    return {
        "what": "training",
        "problem": row.problem,
        "system": row.system,
        "status": record.status if row.trouble else "ok",
        "reason": " ".join(row.trouble.split()),
        "batch": record.problem["batch"],
        "rounds": len(row.seconds),
        **three("seconds", spread(row.seconds.values()) if row.seconds else None),
        **three("mfu", spread(row.mfu.values()) if row.mfu else None),
        "flops": record.work.get("flops"),
        "max_rss_bytes": _most_bytes(row.records),
        "bits_per_dim_first": bits[0],
        "bits_per_dim_last": bits[-1],
    }


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """One line each; empty fields where there is nothing."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({n: field(line.get(n)) for n in names} for line in lines)
    return text.getvalue()
