"""What the pages of training steps share: rows of systems, targets, tables and CSV."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.notes import note_lines
from experiments.report.ratios import Outcome, at_least, at_most, ratio, spread
from experiments.report.tables import (
    NONE,
    cell,
    columns,
    disturbance_lines,
    how_measured,
    machine,
    markdown_page,
    markdown_table,
    number,
    origin_lines,
    percent,
    rounds_line,
    target_finding,
    target_table,
    times,
    with_range,
)

OURS, BY_HAND = "ours", "handwritten_tf"
EXAMPLES = {"audio": "clips"}  # by the record's mode; otherwise images
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

    def work(self, name: str) -> Any:
        """A figure of the first record that has it; None where none has."""
        return next((r.work[name] for r in self.records if name in r.work), None)


class Sampled(NamedTuple):
    """One sampler on images of one size over the rounds."""

    problem: str
    sampler: str
    batch: int
    records: tuple[Record, ...]
    failure: str
    seconds: dict[int, float]  # of a position, by round


class Page(NamedTuple):
    """The newest benchmark's records, as rows; only images' page has samplers."""

    trained: tuple[Trained, ...]
    peaks: dict[int, float]  # flops a second of the training's rounds
    records: tuple[Record, ...]
    sampled: tuple[Sampled, ...] = ()
    sampling_peaks: Mapping[int, float] = {}  # and of the sampling's, often the same


def examples(record: Record) -> str:
    """ "images" or "clips"."""
    return EXAMPLES.get(record.settings["mode"], "images")


def trained_rows(
    records: Sequence[Record], peaks: Mapping[int, float]
) -> tuple[Trained, ...]:
    """A row for each system.  peaks: flops a second by round, where measured."""
    peak = max(peaks.values(), default=None)
    rows = []
    for system, group in selection.by_system(records).items():
        problem, _, name = system.partition("/")
        failure = selection.failure(group)
        timed = [] if failure else group
        seconds = {r.round: statistics.median(r.seconds["calls"]) for r in timed}
        mfu = {
            r.round: r.work["flops"] / seconds[r.round] / peak for r in timed if peak
        }
        rows.append(Trained(problem, name, tuple(group), failure, seconds, mfu))
    return tuple(rows)


def by_problem(rows: Iterable[Trained]) -> dict[str, dict[str, Trained]]:
    """The row of each system, by problem."""
    problems: dict[str, dict[str, Trained]] = {}
    for row in rows:
        problems.setdefault(row.problem, {})[row.system] = row
    return problems


def step_target(claim: str, over: Trained, under: Trained, bound: float) -> Outcome:
    """Whether the one's step takes at most `bound` times the other's."""
    measured = ratio(over.seconds, under.seconds)
    return at_most(claim, bound, measured, over.failure or under.failure)


def mfu_target(row: Trained, bound: float) -> Outcome:
    """Whether a system's MFU is no less than `bound`."""
    reason = row.failure or "no peak was measured"
    claim = f"MFU, {row.problem}, {row.system}"
    return at_least(claim, bound, spread(row.mfu.values()), reason, f"{bound:.0%}")


# As Markdown.


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
    notes: Iterable[str] | None = None,
) -> str:
    """The whole page.

    systems, problems: labels by id.  heading: before a problem in its heading.  more:
    parts before the targets.  notes: the last ones, where they are not those of
    `page.records` alone.
    """
    if notes is None:
        notes = (*disturbance_lines(page.peaks), *origin_lines(page.records))
    labelled = (
        (row.system, systems.get(row.system, row.system), row.records)
        for row in page.trained
    )
    return markdown_page(
        f"# {title}",
        target_finding(outcomes),
        *(
            part
            for problem, rows in by_problem(page.trained).items()
            for part in (
                f"## {heading}{problem}: {problems.get(problem, problem)}",
                *_training_parts(rows, systems),
            )
        ),
        *more,
        "## Targets",
        target_table(outcomes),
        *how_measured(
            _settings_lines(page),
            (*DEFINITIONS, *definitions),
            (*note_lines(labelled), *notes),
        ),
    )


def _settings_lines(page: Page) -> Iterable[str]:
    """Machine, rounds, data, peak and check."""
    yield f"Machine: {machine(page.records)}"
    yield rounds_line(page.records)
    sources = {
        examples(r).capitalize(): r.problem["source"]
        for r in page.records
        if r.problem.get("source")
    }
    yield from (f"{what}: {source}" for what, source in sources.items())
    if page.peaks:
        peak = with_range(spread(value / 1e9 for value in page.peaks.values()))
        yield f"Measured peak of matrix products: {peak} GFLOP/s"
    first, later = (
        max((r.check.get(name) or 0 for r in page.records), default=0)
        for name in ("bits_error", "later_error")
    )
    yield (
        "Check: a system whose losses are not those of ours has no ratio. The largest "
        f"errors: {first:.1e} bits/dim before any update, {later:.1e} relative after it"
    )


def _training_parts(
    rows: Mapping[str, Trained], systems: Mapping[str, str]
) -> Iterable[str]:
    """What all of a problem's systems train, their table, and what devices pass."""
    ran = (r for row in rows.values() for r in row.records if r.status == "ok")
    record = next(ran, None)
    if record is None:
        yield "No system ran."
    else:
        yield (
            f"{record.problem['model']}, {record.work['parameters']:,} parameters, "
            f"{record.problem['batch']} {examples(record)} a step, "
            f"{record.work['flops'] / 1e9:,.1f} GFLOP."
        )
    yield markdown_table(
        _training_line(row, rows[OURS], systems.get(name, name))
        for name, row in rows.items()
    )
    for row in rows.values():
        if row.work("passed_bytes"):
            yield (
                f"Between its {row.work('devices')} devices "
                f"{row.work('passed_bytes'):,} bytes pass in a step, forward, backward "
                "and update. A device has at most "
                f"{row.work('most_held_bytes') / 1e6:,.2f} MB of the "
                f"{row.work('all_held_bytes') / 1e6:,.2f} MB of weights and optimizer "
                "state."
            )


def _training_line(row: Trained, ours: Trained, label: str) -> dict[str, str]:
    memory = None if row.failure else row.max_rss_bytes
    return {
        "system": f"**{label}**" if row is ours else label,
        "ms a step (range)": cell(row.failure) or milliseconds(row.seconds),
        "ours / it (range)": NONE
        if row is ours
        else times(ratio(ours.seconds, row.seconds)),
        "MFU": percent(spread(row.mfu.values())).split(" (")[0],
        "most memory, GB": NONE if memory is None else number(memory / 1e9),
    }


def milliseconds(seconds: Mapping[int, float]) -> str:
    """Median and range over the rounds."""
    return with_range(spread(1000 * value for value in seconds.values()))


# As CSV.


def csv_rows(page: Page) -> Iterable[dict[str, Any]]:
    """The line of a CSV file of each of `page.trained`."""
    problems = by_problem(page.trained)
    for row in page.trained:
        record, timed = row.records[0], () if row.failure else row.records
        ours = problems[row.problem][OURS]
        bits: list[float | None] = record.check.get("bits_per_dim") or [None]
        rates = spread(record.problem["batch"] / s for s in row.seconds.values())
        yield {
            "what": "training",
            "problem": row.problem,
            "system": row.system,
            **csv_status(record, row.failure),
            "batch": record.problem["batch"],
            "rounds": len(row.seconds),
            **columns("seconds", spread(row.seconds.values())),
            **columns("examples_per_second", rates),
            **columns("ours_over_it", ratio(ours.seconds, row.seconds)),
            **columns("mfu", spread(row.mfu.values())),
            **columns("build_seconds", spread(r.seconds.get("build") for r in timed)),
            **columns("first_seconds", spread(r.seconds.get("first") for r in timed)),
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
