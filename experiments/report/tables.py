"""The NUTS table as Markdown, to read, and as CSV, to compute with."""

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence

from experiments.records.record import Record
from experiments.report import speedup
from experiments.report.speedup import Paper, PaperRow, Row, Spread

NONE = "-"  # a cell that has nothing to say
ESCAPES = {ord("|"): "\\|", ord("<"): "&lt;"}  # what would break or hide a cell
HOW_COUNTED = (
    "How counted: one leapfrog is one gradient, in every system alike. A time is that "
    "of the calls that count over the leapfrogs in them; the build is apart, and so is "
    "the first call of TensorFlow's rows, ours among them, and of the bare loops; that "
    "of the others is as their later ones, and counts. A ratio is taken round by "
    "round; median and range are those of its rounds.",
    "How counted on all cores: seconds over all gradients of all chains, by the whole "
    "machine. Chains in lock-step compute chains x evaluations; what a chain computes "
    "while it waits for the longest is not among its leapfrogs used. Stan and PyMC are "
    "charged for the cores that their chains keep busy, not for one that waits.",
    "One pass over the features: a matrix-vector product; its leapfrogs are passes.",
    "Check: before any ratio is given, log density (up to a constant) and gradient are "
    "compared with a reference at random points, over all rows and over the first "
    "thousand; the column has the largest errors over all rows, relative to the "
    "largest value, and the gradient's over what rounding allows, which decides.",
)


def markdown(rows: Sequence[Row], paper: Paper) -> str:
    """The whole page: tables, targets and notes.

    Raises ValueError when none of the rows has a record.
    """
    parts = [
        f"# {title(rows)}",
        *_header(rows, paper),
        "## One chain, the paper's start and step size",
        _one_chain_table(rows, paper),
        "## All cores, many chains",
        _all_cores_table(rows),
        "## The rows over several devices",
        _devices_table(rows, paper),
        "## Targets",
        _targets(rows, paper),
        "## Notes",
        "\n".join(f"- {line}" for line in _notes(rows, paper)),
    ]
    return "\n\n".join(parts) + "\n"


def csv_text(rows: Sequence[Row], paper: Paper) -> str:
    """One line a system and one a published row, empty fields where there is nothing.

    Times are medians over the rounds with `_low` and `_high` beside them; counts and
    ratios alike.  Lines end in a line feed alone.
    """
    lines = [_csv_measured(row, paper) for row in rows]
    lines += [_csv_published(row, paper) for row in paper.table if not row.systems]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: field(line.get(name)) for name in lines[0]} for line in lines
    )
    return text.getvalue()


def title(rows: Sequence[Row]) -> str:
    """What the table is of: the sampler, the problem and its size."""
    problem = any_record(rows).problem
    dim = f" x {problem['dim']}" if "dim" in problem else ""
    return f"NUTS on {problem['name']}, N = {problem['rows']:,}{dim}"


def machine(rows: Sequence[Row]) -> str:
    """The measured rows' hardware: processor, cores and threads."""
    hardware = any_record(rows).hardware
    counts = {n for r in all_records(rows) if (n := threads(r)) is not None}
    spans = (
        "-".join(str(n) for n in sorted({min(counts), max(counts)})) if counts else ""
    )
    return (
        f"{hardware.get('cpu', 'processor not recorded')}, "
        f"{hardware.get('cores', '?')} cores"
        + (f", {spans} threads a system" if spans else "")
    )


def threads(record: Record) -> int | None:
    """The threads that the system was given, None where that is not recorded.

    Both hardware and provenance may hold them as the environment's variables.
    """
    given = record.hardware.get("threads") or record.provenance.get("threads")
    if isinstance(given, dict):
        given = given.get("OMP_NUM_THREADS")
    return None if given is None else int(given)


def date(rows: Sequence[Row]) -> str:
    """The day on which the benchmark began."""
    starts = [r.provenance.get("started_at") for r in all_records(rows)]
    return min((str(s)[:10] for s in starts if s), default="day not recorded")


def is_papers_size(rows: Sequence[Row], paper: Paper) -> bool:
    """Whether the paper's times may stand beside these, row for row."""
    return bool(any_record(rows).problem["rows"] == paper.rows)


def all_records(rows: Sequence[Row]) -> list[Record]:
    """The records of all rows."""
    return [record for row in rows for record in row.records]


def any_record(rows: Sequence[Row]) -> Record:
    """A record to read from what all have in common; one that ran, where there is one.

    Raises ValueError when there is none.
    """
    records = all_records(rows)
    if not records:
        raise ValueError("rows: none has a record, wanted at least one that has")
    return next((r for r in records if r.status == "ok"), records[0])


def status(row: Row) -> str:
    """The first words of the row's trouble, without the reason; empty without one."""
    return row.trouble.split(":")[0].split(" (in round")[0]


def number(value: float) -> str:
    """Three significant digits, or all of those before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:#.3g}"


def with_range(values: Spread | None, suffix: str = "") -> str:
    """Median and range; the median alone where the digits shown agree."""
    if values is None:
        return NONE
    low, median, high = (number(v) for v in values)
    return f"{median}{suffix}" + (f" ({low}-{high})" if low != high else "")


def _header(rows: Sequence[Row], paper: Paper) -> list[str]:
    problem = any_record(rows).problem
    settings = _paper_protocol_settings(rows)
    rounds = {record.round for record in all_records(rows)}
    lines = [
        f"- Data: {problem.get('source', 'source not recorded')}",
        f"- Machine: {machine(rows)}; {date(rows)}",
        "- Protocol: "
        + "; ".join(
            (
                f"start: {settings.get('start', 'the same for every system')}",
                f"step size {settings.get('step_size', 'not recorded')}",
                f"metric: {settings.get('metric', 'identity')}",
                f"{settings.get('num_results', '?')} trajectories a call, "
                f"repeated for {settings.get('min_seconds', '?')} s by the wall clock",
                f"depth at most {settings.get('max_depth', '?')}",
                f"rounds: {len(rounds)}, in which the systems take turns, each in a "
                "fresh process",
            )
        ),
        f"- Published: {paper.source}",
    ]
    if not is_papers_size(rows, paper):
        lines.append(
            f"- The paper's times are for N = {paper.rows:,} and do not compare with "
            "those of this smaller run"
        )
    return ["\n".join(lines)]


def _paper_protocol_settings(rows: Sequence[Row]) -> dict[str, object]:
    for row in rows:
        if row.system.group == speedup.ONE_CHAIN and not row.trouble:
            return row.records[0].settings
    return any_record(rows).settings


def _one_chain_table(rows: Sequence[Row], paper: Paper) -> str:
    ours = {row.id: row for row in paper.table}
    devices = " / ".join(ours[name].hardware.split(":")[0] for name in paper.ours)
    head = (
        "system",
        "ms per leapfrog, median (range)",
        "leapfrogs a round",
        "build s",
        "first call s",
        "ours is x times faster (range)",
        "paper's ms (hardware)",
        f"paper's ratio to Edward2 on {devices}",
        "check",
    )
    lines = []
    for row in rows:
        if row.system.group not in (speedup.ONE_CHAIN, speedup.BARE_LOOP):
            continue
        lines.append(
            (
                _bold_if_ours(row),
                with_range(row.ms) if row.ms else _shown(row.trouble),
                with_range(_work(row, "leapfrogs")),
                with_range(_seconds(row, "build")),
                with_range(_seconds(row, "first")),
                _speedup_cell(row, rows, row.speedup),
                *_paper_cells(paper, speedup.paper_row(paper, row.system.id)),
                _check_cell(row),
            )
        )
    for published in paper.table:
        if not published.systems:
            lines.append(
                (
                    f"{published.label}, {published.hardware.split(':')[0]}",
                    "published, not measured",
                    *(NONE,) * 4,
                    *_paper_cells(paper, published),
                    NONE,
                )
            )
    return _table(head, lines)


def _all_cores_table(rows: Sequence[Row]) -> str:
    head = (
        "system",
        "chains",
        "ms per gradient, median (range)",
        "gradients a round",
        "leapfrogs used",
        "build s",
        "first call s",
        "ours is x times faster (range)",
        "per leapfrog used",
        "check",
    )
    lines = [
        (
            _bold_if_ours(row),
            str(row.records[0].settings.get("num_chains", NONE))
            if row.records
            else NONE,
            with_range(row.ms) if row.ms else _shown(row.trouble),
            with_range(_work(row, "gradients")),
            with_range(_work(row, "leapfrogs")),
            with_range(_seconds(row, "build")),
            with_range(_seconds(row, "first")),
            _speedup_cell(row, rows, row.speedup),
            _speedup_cell(row, rows, row.useful_speedup),
            _check_cell(row),
        )
        for row in rows
        if row.system.group == speedup.ALL_CORES
    ]
    return _table(head, lines)


def _devices_table(rows: Sequence[Row], paper: Paper) -> str:
    head = (
        "system",
        "ms per leapfrog, median (range)",
        "leapfrogs a round",
        "build s",
        "first call s",
        "times as fast as one device (range)",
        "check",
    )
    here = [row for row in rows if row.system.group == speedup.DEVICES]
    name = speedup.OURS[speedup.DEVICES]
    one = next(row for row in here if row.system.id == name)
    lines = []
    for row in here:
        common = row.times.keys() & one.times.keys()
        ratio = speedup.speedup(one.times, row.times) if common else None
        lines.append(
            (
                row.system.label,
                with_range(row.ms) if row.ms else _shown(row.trouble),
                with_range(_work(row, "leapfrogs")),
                with_range(_seconds(row, "build")),
                with_range(_seconds(row, "first")),
                with_range(None if row is one else ratio, "x"),
                _check_cell(row),
            )
        )
    published = {row.id: row for row in paper.table}
    theirs = ", ".join(
        f"{published[name].ms:g} ({published[name].hardware})" for name in paper.ours
    )
    return (
        "One chain; each device adds up its own rows. Logical devices are parts of one "
        "CPU and say nothing of accelerators, which were not measured; the paper's ms "
        f"were {theirs}.\n\n{_table(head, lines)}"
    )


def _targets(rows: Sequence[Row], paper: Paper) -> str:
    lines = []
    for verdict in speedup.judge(rows):
        target = verdict.target
        wanted = f"{'at most' if target.at_most else 'at least'} {target.bound:g}x"
        if verdict.ratio is None:
            measured, outcome = NONE, f"not measured ({_shown(verdict.trouble)})"
        else:
            low, median, high = (f"{v:.4g}" for v in verdict.ratio)
            measured = f"{median}x ({low}-{high})"
            outcome = "reached" if verdict.reached else "**not reached**"
        lines.append((target.claim, wanted, measured, outcome))
    head = ("time over time", "wanted", "measured, median (range)", "by the median")
    said = "Ratios of times per leapfrog; in the last two, of times per gradient."
    if not is_papers_size(rows, paper):
        said += f" They were set for N = {paper.rows:,}."
    return f"{said}\n\n{_table(head, lines)}"


def _notes(rows: Sequence[Row], paper: Paper) -> Iterable[str]:
    yield from HOW_COUNTED
    everyone = {record.round for record in all_records(rows)}
    for row in rows:
        for note in dict.fromkeys(r.note for r in row.records if r.note):
            yield f"{row.system.label}: {_shown(note, width=1000)}"
        held = [record.round for record in row.records]
        if held and set(held) != everyone and not row.trouble:
            rounds = ", ".join(map(str, held))
            yield f"{row.system.label}: of {len(everyone)} rounds only {rounds}."
    energy = [
        abs(r.check["energy_error_100_steps"])
        for r in all_records(rows)
        if r.check.get("energy_error_100_steps") is not None
    ]
    if energy:
        yield (
            "Energy error of a trajectory of 100 leapfrogs from the start, ours, the "
            f"largest of our rows: {max(energy):.2g}."
        )
    loads = [load for r in all_records(rows) if (load := _load(r)) is not None]
    if loads:
        yield f"Load average, of all turns: {with_range(speedup.spread(loads))}."
    yield from _origin(any_record(rows))
    yield from paper.notes


def _origin(record: Record) -> Iterable[str]:
    commit = record.provenance.get("commit")
    if commit:
        changed = ", with uncommitted changes" if record.provenance.get("dirty") else ""
        yield f"Commit: {commit}{changed}."
    versions = record.provenance.get("versions")
    if versions:
        yield "Versions: " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."


def _load(record: Record) -> float | None:
    given = record.provenance.get("load_average", record.hardware.get("load_average"))
    if isinstance(given, list):  # over 1, 5 and 15 minutes
        given = given[0]
    return None if given is None else float(given)


def _work(row: Row, unit: str) -> Spread | None:
    if row.trouble:
        return None
    return speedup.spread(
        sum(r.work.get(unit) or r.work["leapfrogs"]) for r in row.records
    )


def _seconds(row: Row, clock: str) -> Spread | None:
    values = [s for r in row.records if (s := r.seconds.get(clock)) is not None]
    return speedup.spread(values) if values and not row.trouble else None


def _is_ours(row: Row) -> bool:
    return row.system.id == speedup.OURS[row.system.group]


def _bold_if_ours(row: Row) -> str:
    return f"**{row.system.label}**" if _is_ours(row) else row.system.label


def _speedup_cell(row: Row, rows: Sequence[Row], ratio: Spread | None) -> str:
    if row.trouble or _is_ours(row):
        return NONE
    if ratio is not None:
        return with_range(ratio, "x")
    name = speedup.OURS[row.system.group]
    ours = next(other for other in rows if other.system.id == name)
    return f"ours: {_shown(ours.trouble)}" if ours.trouble else "no common round"


def _paper_cells(paper: Paper, row: PaperRow | None) -> tuple[str, str]:
    if row is None:
        return NONE, NONE
    ratios = (f"{number(r)}x" for r in speedup.paper_ratios(paper, row))
    return f"{row.ms:.1f} ({row.hardware})", " / ".join(ratios)


def _check_cell(row: Row) -> str:
    checks = [r.check for r in row.records if r.status == "ok" and "passed" in r.check]
    if not checks:
        return NONE
    errors = [
        f"{label}{max(values):.1e}{after}"
        for name, label, after in (
            ("log_prob_error", "log prob ", ""),
            ("grad_error", "gradient ", ""),
            ("grad_error_over_rounding", "", " of rounding"),
        )
        if (values := [c[name] for c in checks if c.get(name) is not None])
    ]
    passed = all(c["passed"] for c in checks)
    if not errors:  # nothing was compared, as of a bare pass over the features
        return NONE if passed else "failed"
    return f"{'passed' if passed else 'failed'}: {', '.join(errors)}"


def _shown(text: str, width: int = 160) -> str:
    return textwrap.shorten(text, width, placeholder=" ...").translate(ESCAPES)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 2) + ["---"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def _csv_measured(row: Row, paper: Paper) -> dict[str, object]:
    published = speedup.paper_row(paper, row.system.id)
    first = row.records[0] if row.records else None
    return {
        "group": row.system.group,
        "system": row.system.id,
        "label": row.system.label,
        "status": status(row) or "measured",
        "reason": " ".join(row.trouble.removeprefix(status(row)).lstrip(": ").split()),
        "rows": first.problem["rows"] if first else None,
        "rounds": len(row.records),
        "unit": speedup.UNITS[row.system.group],
        **three("ms", row.ms),
        **three("leapfrogs", _work(row, "leapfrogs")),
        **three("gradients", _work(row, "gradients")),
        **three("build_seconds", _seconds(row, "build")),
        **three("first_seconds", _seconds(row, "first")),
        "base": speedup.OURS[row.system.group],
        **three("speedup", row.speedup),
        **three("speedup_per_leapfrog_used", row.useful_speedup),
        "check": _check_cell(row),
        "cpu": first.hardware.get("cpu") if first else None,
        "cores": first.hardware.get("cores") if first else None,
        "threads": threads(first) if first else None,
        **_csv_paper(published, paper),
    }


def _csv_published(row: PaperRow, paper: Paper) -> dict[str, object]:
    return {
        "group": speedup.ONE_CHAIN,
        "system": row.id,
        "label": row.label,
        "status": "published, not measured",
        "rows": paper.rows,
        "unit": speedup.UNITS[speedup.ONE_CHAIN],
        **_csv_paper(row, paper),
    }


def _csv_paper(row: PaperRow | None, paper: Paper) -> dict[str, object]:
    ratios = speedup.paper_ratios(paper, row) if row else [None] * len(paper.ours)
    return {
        "paper_label": row.label if row else None,
        "paper_ms": row.ms if row else None,
        "paper_hardware": row.hardware if row else None,
        **{f"paper_ratio_to_{n}": r for n, r in zip(paper.ours, ratios, strict=True)},
    }


def three(name: str, values: Spread | None) -> dict[str, float | None]:
    """Median and range as three columns of a CSV file; None where there is none."""
    low, median, high = values or (None, None, None)
    return {name: median, f"{name}_low": low, f"{name}_high": high}


def field(value: object) -> object:
    """A value as a CSV file has it: nothing for None, ten digits of a float."""
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else value


def table_of_numbers(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, all but its first column set to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def cell_of_text(text: str) -> str:
    """What was said, as one short line that a Markdown cell can hold."""
    return " ".join(text.split())[:160].replace("|", "\\|").replace("<", "&lt;")
