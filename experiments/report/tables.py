"""Numbers, Markdown tables and CSV files, as every page writes them."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd  # type: ignore[import-untyped]

from experiments.records.record import Record
from experiments.report.ratios import Outcome, Spread, spread
from experiments.report.selection import DISTURBED, disturbed

NONE = "-"  # a cell that has nothing to say
_ESCAPES = {ord("|"): "\\|", ord("<"): "&lt;"}  # would break or hide a cell


def number(value: float) -> str:
    """Three significant digits, or all of those before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:#.3g}"


def with_range(
    values: Spread | None, suffix: str = "", digits: Callable[[float], str] = number
) -> str:
    """Median and range; the median alone where the digits shown agree."""
    if values is None:
        return NONE
    low, middle, high = map(digits, values)
    return f"{middle}{suffix}" + (f" ({low}-{high})" if low != high else "")


def median(values: Spread | None) -> str:
    """The median alone."""
    return NONE if values is None else number(values.median)


def times(values: Spread | None) -> str:
    """Median and range of ratios."""
    return with_range(values, "x", lambda v: f"{v:.3f}" if v < 10 else number(v))


def percent(values: Spread | None) -> str:
    """Median and range of shares."""
    return with_range(values, " %", lambda v: f"{100 * v:.1f}")


def cell(text: str, width: int = 160) -> str:
    """A text as one short line that a Markdown cell can hold."""
    return textwrap.shorten(text, width, placeholder=" ...").translate(_ESCAPES)


def markdown_table(lines: Iterable[Mapping[str, str | None]], *, left: int = 1) -> str:
    """A Markdown table of lines by column, all but its first aligned right.

    left: how many of them are aligned left.
    """
    table = pd.DataFrame(list(lines)).fillna(NONE)
    rule = ["---"] * left + ["---:"] * (len(table.columns) - left)
    rows = (table.columns, rule, *table.to_numpy())
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def markdown_page(*parts: str) -> str:
    """The parts that are not empty, a blank line between them."""
    return "\n\n".join(part for part in parts if part) + "\n"


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def how_measured(
    settings: Iterable[str], definitions: Iterable[str], notes: Iterable[str]
) -> Sequence[str]:
    """The parts with which every benchmark's page ends."""
    head = "## How it was measured"
    return head, bullets(settings), bullets(definitions), "## Notes", bullets(notes)


def target_table(outcomes: Iterable[Outcome], measured: str = "median (range)") -> str:
    """A line for each target and how it came out.

    measured: the head of the column of what was measured.
    """
    lines = []
    for outcome in outcomes:
        result = "reached" if outcome.reached else "**not reached**"
        if outcome.reason:
            result = f"not measured ({cell(outcome.reason)})"
        line = {"what": outcome.claim, "target": outcome.target}
        lines.append(line | {measured: _measured(outcome), "result": result})
    return markdown_table(lines)


def target_finding(outcomes: Sequence[Outcome]) -> str:
    """How many targets were reached, and which were not, in one sentence each."""
    measured = [outcome for outcome in outcomes if not outcome.reason]
    missed = [
        f"{outcome.claim}: {_measured(outcome)}, target {outcome.target}"
        for outcome in measured
        if not outcome.reached
    ]
    parts = [f"Targets reached: {len(measured) - len(missed)} of {len(outcomes)}."]
    if missed:
        parts.append(f"Not reached: {'; '.join(missed)}.")
    if len(measured) < len(outcomes):
        parts.append(f"Not measured: {len(outcomes) - len(measured)}.")
    return " ".join(parts)


def _measured(outcome: Outcome) -> str:
    return (percent if outcome.target.endswith("%") else times)(outcome.measured)


def columns(**values: Spread | None) -> dict[str, float | None]:
    """Each name's median, low and high as CSV columns; None where there is none."""
    named: dict[str, float | None] = {}
    for name, spread_ in values.items():
        low, middle, high = spread_ or (None, None, None)
        named |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    return named


def csv_text(lines: Iterable[Mapping[str, Any]]) -> str:
    """One line each; ten digits of a float, and an empty field for what is None."""
    table = pd.DataFrame([{k: _digits(v) for k, v in line.items()} for line in lines])
    return str(table.astype(object).to_csv(index=False, lineterminator="\n"))


def _digits(value: Any) -> Any:
    """A number as text: pandas would make floats of counts in a column with gaps."""
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value) if isinstance(value, int) else value


def machine(records: Sequence[Record]) -> str:
    """Processor, cores, threads per system, and the day of the first record."""
    hardware = records[0].hardware
    parts = [
        str(hardware.get("cpu", "processor not recorded")),
        f"{hardware.get('cores', '?')} cores",
    ]
    threads = [n for r in records if (n := num_threads(r)) is not None]
    if threads:
        span = dict.fromkeys((min(threads), max(threads)))
        parts.append(f"{'-'.join(map(str, span))} threads per system")
    starts = [str(s)[:10] for r in records if (s := r.provenance.get("started_at"))]
    return f"{', '.join(parts)}; {min(starts, default='day not recorded')}"


def num_threads(record: Record) -> int | None:
    """The threads that the system had, None where that is not recorded.

    Both hardware and provenance may hold them as the environment's variables.
    """
    threads = record.hardware.get("threads") or record.provenance.get("threads")
    if isinstance(threads, dict):
        threads = threads.get("OMP_NUM_THREADS")
    return None if threads is None else int(threads)


def rounds_line(records: Iterable[Record]) -> str:
    """How often every system ran."""
    num = len({record.round for record in records})
    return f"Rounds: {num}; in each, every system runs once, in a fresh process"


def origin_lines(records: Sequence[Record]) -> Iterable[str]:
    """The load, commit and versions with which the records were made."""
    load = spread(map(_load, records))
    if load:
        yield f"Load average over all runs: {with_range(load)}."
    origin = records[0].provenance
    if origin.get("commit"):
        yield f"Commit: {origin['commit']}{uncommitted(origin)}."
    if origin.get("versions"):
        versions = ", ".join(f"{k} {v}" for k, v in origin["versions"].items())
        yield f"Versions: {versions}."


def uncommitted(origin: Mapping[str, Any]) -> str:
    """Follows a commit whose files had been changed.  origin: a provenance."""
    return ", with uncommitted changes" if origin.get("dirty") else ""


def _load(record: Record) -> float | None:
    load = record.provenance.get("load_average", record.hardware.get("load_average"))
    if isinstance(load, list):  # over 1, 5 and 15 minutes
        load = load[0]
    return None if load is None else float(load)


def disturbance_lines(peaks: Mapping[int, float], of: str = "") -> Iterable[str]:
    """One line for each disturbed round.  of: " of training", say."""
    for i, share in disturbed(peaks).items():
        yield (
            f"Disturbed: round {i}{of}. Its peak of matrix products, "
            f"{number(peaks[i] / 1e9)} GFLOP/s, is {share:.0%} of the best round's "
            f"(below {DISTURBED:.0%}). The round counts like the others and widens the "
            "ranges."
        )
