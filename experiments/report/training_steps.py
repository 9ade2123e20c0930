"""What the pages of training steps share: rows of systems, targets, tables and CSV."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report import selection, tables
from experiments.report.notes import note_lines
from experiments.report.ratios import Outcome, Spread, at_least, at_most, ratio, spread

OURS, BY_HAND = "ours", "handwritten_tf"
DEFINITIONS = (
    "A step's time runs from NumPy arrays to a known loss. The first call traces and "
    "compiles, and is timed separately. A round's time is the median of its steps.",
    "A ratio is taken within each round; median and range are over the rounds.",
    "All systems train the same weights on the same examples, with Adam at a constant "
    "learning rate. The CSV has the bits per dimension before any update and at the "
    "last step compared.",
    "MFU (model flops utilisation): the model's flops over the step's time, as a share "
    "of the peak. The flops are those of matrix products and convolutions, forward and "
    "backward; recomputed operations do not count, masked scores do. The peak is the "
    "highest that a round measured with square float32 matrix products.",
)


class Row(NamedTuple):
    """One system's steps, or sampler's positions, of one problem over the rounds."""

    problem: str
    system: str
    records: tuple[Record, ...]
    failure: str  # why there are no numbers; "" where there are
    seconds: dict[int, float]  # of a step or of a position, by round
    peak: float | None  # flops a second, where measured

    @property
    def time(self) -> str:
        """Milliseconds, or why there are none, as a table's cell."""
        ms = spread(1000 * value for value in self.seconds.values())
        return tables.cell(self.failure) or tables.with_range(ms)

    @property
    def mfu(self) -> Spread | None:
        """A step's model flops utilisation."""
        return spread(
            r.work["flops"] / self.seconds[r.round] / self.peak
            for r in self.records
            if self.peak and self.seconds
        )

    @property
    def max_rss_bytes(self) -> int | None:
        """The most memory that a process had over the rounds; None: not recorded."""
        return max(r.work.get("max_rss_bytes", 0) for r in self.records) or None

    def work(self, name: str) -> Any:
        """A figure of the first record that has it; None where none has."""
        return next((r.work[name] for r in self.records if name in r.work), None)


class Page(NamedTuple):
    """The newest benchmark's records, as rows; only images' page has samplers."""

    trained: tuple[Row, ...]
    peaks: dict[int, float]  # flops a second of the training's rounds
    records: tuple[Record, ...]
    sampled: tuple[Row, ...] = ()
    sampling_peaks: Mapping[int, float] = {}  # and of the sampling's, often the same


def examples(record: Record) -> str:
    """ "images" or "clips"."""
    return "clips" if record.settings["mode"] == "audio" else "images"


def make_rows(
    records: Sequence[Record], peaks: Mapping[int, float] | None = None
) -> tuple[Row, ...]:
    """A row for each system.  peaks: flops a second by round, where measured."""
    peak = max((peaks or {}).values(), default=None)
    rows = []
    for system, group in selection.by_system(records).items():
        problem, _, name = system.partition("/")
        failure = selection.failure(group)
        seconds = {r.round: _seconds(r) for r in ([] if failure else group)}
        rows.append(Row(problem, name, tuple(group), failure, seconds, peak))
    return tuple(rows)


def _seconds(record: Record) -> float:
    """A step's median seconds, or a position's mean seconds."""
    calls: list[float] = record.seconds["calls"]
    if "positions" in record.work:
        return float(sum(calls) / sum(record.work["positions"]))
    return statistics.median(calls)


def by_problem(page: Page) -> dict[str, dict[str, Row]]:
    """The row of each system, by problem."""
    problems: dict[str, dict[str, Row]] = {}
    for row in page.trained:
        problems.setdefault(row.problem, {})[row.system] = row
    return problems


def step_target(claim: str, over: Row, under: Row, bound: float) -> Outcome:
    """Whether the one's step takes at most `bound` times the other's."""
    measured = ratio(over.seconds, under.seconds)
    return at_most(claim, bound, measured, over.failure or under.failure)


def mfu_target(row: Row, bound: float) -> Outcome:
    """Whether a system's MFU is no less than `bound`."""
    reason = row.failure or "no peak was measured"
    claim = f"MFU, {row.problem}, {row.system}"
    return at_least(claim, bound, row.mfu, reason, f"{bound:.0%}")


def markdown(
    title: str,
    page: Page,
    outcomes: Sequence[Outcome],
    *,
    systems: Mapping[str, str],
    problems: Mapping[str, str],
    heading: str = "",
    more: Sequence[str] = (),
    definitions: Sequence[str] = (),
) -> str:
    """The whole page.

    systems, problems: labels by id.  heading: before a problem in its heading.  more:
    parts before the targets.
    """
    parts = []
    for problem, rows in by_problem(page).items():
        parts.append(f"## {heading}{problem}: {problems.get(problem, problem)}")
        parts += _training_parts(rows, systems)
    return tables.markdown_page(
        f"# {title}",
        tables.target_finding(outcomes),
        *parts,
        *more,
        "## Targets",
        tables.target_table(outcomes),
        *tables.how_measured(
            _settings(page), (*DEFINITIONS, *definitions), _notes(page, systems)
        ),
    )


def _settings(page: Page) -> Iterable[str]:
    """Machine, rounds, data, peak and check."""
    yield f"Machine: {tables.machine(page.records)}"
    yield tables.rounds_line(page.records)
    sources = {
        examples(r).capitalize(): r.problem["source"]
        for r in page.records
        if r.problem.get("source")
    }
    yield from (f"{what}: {source}" for what, source in sources.items())
    if page.peaks:
        peak = tables.with_range(spread(value / 1e9 for value in page.peaks.values()))
        yield f"Measured peak of matrix products: {peak} GFLOP/s"
    checks = [record.check for record in page.records]
    first = max(check.get("bits_error") or 0 for check in checks)
    later = max(check.get("later_error") or 0 for check in checks)
    yield (
        "Check: a system whose losses differ from ours has no ratio. The largest "
        f"differences: {first:.1e} bits/dim before any update, {later:.1e} relative "
        "after it"
    )


def _notes(page: Page, systems: Mapping[str, str]) -> Iterable[str]:
    yield from note_lines(
        (row.system, systems.get(row.system, row.system), row.records)
        for row in page.trained
    )
    if not page.sampled or page.peaks == page.sampling_peaks:
        yield from tables.disturbance_lines(page.peaks)
    else:
        yield from tables.disturbance_lines(page.peaks, " of training")
        yield from tables.disturbance_lines(page.sampling_peaks, " of sampling")
    yield from tables.origin_lines(page.records)
    if len({r.provenance["bench_id"] for r in page.records}) > 1:
        yield "Sampling is from another benchmark than training:"
        yield from tables.origin_lines([r for s in page.sampled for r in s.records])


def _training_parts(
    rows: Mapping[str, Row], systems: Mapping[str, str]
) -> Iterable[str]:
    """What all of a problem's systems train, their table, and what devices pass."""
    ran = (r for row in rows.values() for r in row.records if r.status == "ok")
    record = next(ran, None)
    if record is None:
        yield "No system ran."
    else:
        yield (
            f"{record.problem['model']}, {record.work['parameters']:,} parameters, "
            f"{record.problem['batch']} {examples(record)} per step, "
            f"{record.work['flops'] / 1e9:,.1f} GFLOP."
        )
    yield tables.markdown_table(
        _training_line(row, rows[OURS], systems.get(name, name))
        for name, row in rows.items()
    )
    for row in rows.values():
        if row.work("passed_bytes"):
            most, every = row.work("most_held_bytes"), row.work("all_held_bytes")
            yield (
                f"Between its {row.work('devices')} devices "
                f"{row.work('passed_bytes'):,} bytes pass in a step, forward, backward "
                f"and update. A device has at most {most / 1e6:,.2f} MB of the "
                f"{every / 1e6:,.2f} MB of weights and optimizer state."
            )


def _training_line(row: Row, ours: Row, label: str) -> dict[str, str | None]:
    memory = None if row.failure else row.max_rss_bytes
    over = None if row is ours else ratio(ours.seconds, row.seconds)
    return {
        "system": f"**{label}**" if row is ours else label,
        "ms per step (range)": row.time,
        "ours / this system (range)": tables.times(over),
        "MFU": tables.percent(row.mfu).split(" (")[0],
        "peak memory, GB": None if memory is None else tables.number(memory / 1e9),
    }


def csv_rows(page: Page) -> Iterable[dict[str, Any]]:
    """The line of a CSV file of each of `page.trained`."""
    problems = by_problem(page)
    for row in page.trained:
        record, timed = row.records[0], () if row.failure else row.records
        batch = record.problem["batch"]
        bits: list[float | None] = record.check.get("bits_per_dim") or [None]
        yield csv_head(row, "training", row.system, batch) | {
            **tables.columns(
                examples_per_second=spread(batch / s for s in row.seconds.values()),
                ours_over_it=ratio(problems[row.problem][OURS].seconds, row.seconds),
                mfu=row.mfu,
                build_seconds=spread(r.seconds.get("build") for r in timed),
                first_seconds=spread(r.seconds.get("first") for r in timed),
            ),
            "parameters": record.work.get("parameters"),
            "flops": record.work.get("flops"),
            "max_rss_bytes": row.max_rss_bytes,
            "bits_per_dim_first": bits[0],
            "bits_per_dim_last": bits[-1],
        }


def csv_head(row: Row, what: str, system: str, batch: int) -> dict[str, Any]:
    """What the line of any row begins with."""
    return {
        "what": what,
        "problem": row.problem,
        "system": system,
        "status": row.records[0].status if row.failure else "ok",
        "reason": " ".join(row.failure.split()) or None,
        "batch": batch,
        "rounds": len(row.seconds),
        **tables.columns(seconds=spread(row.seconds.values())),
    }
