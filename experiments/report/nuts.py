"""The NUTS page: Markdown to read, and CSV to compute with."""

from collections.abc import Iterable, Sequence

from experiments.records.record import Record
from experiments.report import nuts_rows
from experiments.report.notes import note
from experiments.report.nuts_rows import (
    ALL_CORES,
    BARE_LOOP,
    DEVICES,
    ONE_CHAIN,
    OURS,
    UNITS,
    Paper,
    PaperRow,
    Row,
    all_records,
    any_record,
)
from experiments.report.ratios import Spread, ratio
from experiments.report.tables import (
    NONE,
    bullets,
    cell,
    columns,
    csv_text,
    machine,
    markdown_page,
    markdown_table,
    median,
    num_threads,
    number,
    origin_lines,
    rounds_line,
    target_finding,
    target_table,
    times,
    with_range,
)

HEADLINE = ("stan_glm", "pymc_float64", "handwritten_tf")  # of the first sentence
DEFINITIONS = (
    "One leapfrog is one gradient in every system. A time is the seconds of the timed "
    "calls over their leapfrogs. The build is timed apart, and so is the first call "
    "of TensorFlow's rows and of the bare loops, which compiles; the first call of the "
    "others is timed like the later ones.",
    "A ratio is taken within each round; median and range are over the rounds.",
    "All cores: seconds of the whole machine over the gradients of all chains. Chains "
    "of one batch run in lock-step. 'Per leapfrog used' excludes gradients computed "
    "for chains that had already finished. Stan and PyMC are charged for the cores "
    "that their chains keep busy, not for an idle one.",
    "Check: log density (up to a constant) and gradient are compared with a reference "
    "at random points before any ratio is taken. The CSV has the largest errors over "
    "all rows of the data, relative to the largest value; the gradient's error over "
    "that which rounding allows decides.",
)


def markdown(
    rows: Sequence[Row], paper: Paper, sizes: Sequence[tuple[int, Row, Row]] = ()
) -> str:
    """The whole page: the finding, tables, targets and notes.

    sizes: of `nuts_rows.by_size`.

    Raises ValueError when none of the rows has a record.
    """
    return markdown_page(
        f"# {nuts_rows.title(rows)}",
        _finding(rows),
        "## One chain, the paper's start and step size",
        _one_chain_table(rows, paper),
        "## All cores, many chains",
        _all_cores_table(rows),
        "## Blocks of rows, by the size of the data",
        _size_table(sizes),
        "## Rows divided over logical devices",
        _devices_table(rows),
        "## Targets",
        "Ratios of times per leapfrog; in the last two, of times per gradient."
        + (_set_for(paper) if not nuts_rows.is_papers_size(rows, paper) else ""),
        target_table(nuts_rows.outcomes(rows).values()),
        "## Published, not measured",
        _published_table(paper),
        "## How it was measured",
        bullets(_settings(rows, paper)),
        bullets(DEFINITIONS),
        "## Notes",
        bullets(_notes(rows, paper)),
    )


def csv(rows: Sequence[Row], paper: Paper) -> str:
    """One line for each system and for each published row without one of ours.

    Times are medians over the rounds with `_low` and `_high` beside them; counts and
    ratios alike.
    """
    lines = [_csv_measured(row, paper) for row in rows]
    lines += [_csv_published(row, paper) for row in paper.table if not row.systems]
    return csv_text(lines)


def _set_for(paper: Paper) -> str:
    return f" They were set for N = {paper.rows:,}."


def _finding(rows: Sequence[Row]) -> str:
    by_id = {row.system.id: row for row in rows}
    ours = by_id[OURS[ONE_CHAIN]]
    parts = []
    if ours.ms is not None:
        others = (by_id[name] for name in HEADLINE)
        ratios = "; ".join(
            f"{row.system.label}: {_over_ours(row.speedup)}"
            for row in others
            if row.speedup
        )
        parts.append(f"A leapfrog of ours takes {number(ours.ms.median)} ms.")
        if ratios:
            parts.append(f"The others' time over ours: {ratios}.")
    elif ours.records:
        parts.append(f"Ours has no time: {cell(ours.failure)}.")
    return " ".join([*parts, target_finding([*nuts_rows.outcomes(rows).values()])])


def _over_ours(values: Spread | None) -> str:
    return with_range(values, "x")


def _settings(rows: Sequence[Row], paper: Paper) -> Iterable[str]:
    records = all_records(rows)
    problem = any_record(rows).problem
    size = nuts_rows.data_mb(problem)
    yield (
        f"Data: {problem.get('source', 'source not recorded')}; {problem['rows']:,} "
        "rows" + (f", {number(size)} MB in float32" if size else "")
    )
    yield f"Machine: {machine(records)}"
    yield rounds_line(records)
    first = next(
        (r.records[0] for r in rows if r.system.group == ONE_CHAIN and not r.failure),
        any_record(rows),
    )
    settings = first.settings
    yield "; ".join(
        (
            f"Protocol: start: {settings.get('start', 'the same for every system')}",
            f"step size {settings.get('step_size', 'not recorded')}",
            f"metric: {settings.get('metric', 'identity')}",
            f"tree depth at most {settings.get('max_depth', '?')}",
            f"{settings.get('num_results', '?')} trajectories a call, repeated for "
            f"{settings.get('min_seconds', '?')} s",
        )
    )
    yield f"Published: {paper.source}"
    if not nuts_rows.is_papers_size(rows, paper):
        yield (
            f"The paper's times are for N = {paper.rows:,} and do not compare with "
            "those of this smaller run"
        )


def _slowest_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row.ms.median if row.ms else 0.0)


def _one_chain_table(rows: Sequence[Row], paper: Paper) -> str:
    head = (
        "system",
        "ms per leapfrog (range)",
        "time over ours (range)",
        "the paper's ms",
    )
    chosen = [row for row in rows if row.system.group in (ONE_CHAIN, BARE_LOOP)]
    lines = []
    for row in _slowest_first(chosen):
        published = nuts_rows.paper_row(paper, row.system.id)
        lines.append(
            (
                _label(row),
                with_range(row.ms) if row.ms else cell(row.failure),
                _ratio_cell(row, rows, row.speedup),
                f"{published.ms:.1f}" if published else NONE,
            )
        )
    return markdown_table(head, lines)


def _all_cores_table(rows: Sequence[Row]) -> str:
    head = (
        "system",
        "chains",
        "ms per gradient (range)",
        "time over ours (range)",
        "per leapfrog used (range)",
    )
    lines = []
    for row in rows:
        if row.system.group != ALL_CORES:
            continue
        chains = row.records[0].settings.get("num_chains", NONE) if row.records else "-"
        lines.append(
            (
                _label(row),
                str(chains),
                with_range(row.ms) if row.ms else cell(row.failure),
                _ratio_cell(row, rows, row.speedup),
                _ratio_cell(row, rows, row.speedup_per_leapfrog_used),
            )
        )
    return markdown_table(head, lines)


def _size_table(sizes: Sequence[tuple[int, Row, Row]]) -> str:
    if not sizes:
        return "Not measured."
    head = (
        "rows of the data",
        "MB in float32",
        "ours, ms per leapfrog",
        "ours, data whole",
        "ours / data whole (range)",
    )
    lines = []
    for num_rows, ours, whole in sizes:
        size = nuts_rows.data_mb(any_record([ours, whole]).problem)
        lines.append(
            (
                f"{num_rows:,}",
                number(size) if size else NONE,
                median(ours.ms) if ours.ms else cell(ours.failure),
                median(whole.ms) if whole.ms else cell(whole.failure),
                times(ratio(ours.times, whole.times)),
            )
        )
    return "Of the newest benchmark of each size.\n\n" + markdown_table(head, lines)


def _devices_table(rows: Sequence[Row]) -> str:
    head = ("system", "ms per leapfrog (range)", "speed over one device (range)")
    of_devices = [row for row in rows if row.system.group == DEVICES]
    one = next(row for row in of_devices if row.system.id == OURS[DEVICES])
    lines = []
    for row in of_devices:
        speed = None if row is one else ratio(one.times, row.times)
        lines.append(
            (
                row.system.label,
                with_range(row.ms) if row.ms else cell(row.failure),
                with_range(speed, "x"),
            )
        )
    return (
        "One chain; each device sums over its own rows. Logical devices are parts of "
        "one CPU and say nothing about accelerators.\n\n" + markdown_table(head, lines)
    )


def _published_table(paper: Paper) -> str:
    label = {row.id: row.hardware.split(":")[0] for row in paper.table}
    head = ("system and hardware", "ms per leapfrog") + tuple(
        f"time over Edward2's, {label[name]}" for name in paper.ours
    )
    lines = [
        (
            f"{row.label}, {row.hardware}",
            f"{row.ms:.1f}",
            *(f"{number(r)}x" for r in nuts_rows.paper_ratios(paper, row)),
        )
        for row in paper.table
    ]
    return markdown_table(head, lines)


def _notes(rows: Sequence[Row], paper: Paper) -> Iterable[str]:
    records = all_records(rows)
    every_round = {record.round for record in records}
    systems: dict[str, list[str]] = {}
    for row in rows:
        for text in dict.fromkeys(note(r, row.system.id) for r in row.records):
            if text:
                systems.setdefault(text, []).append(row.system.label)
    for text, labels in systems.items():
        yield f"{'; '.join(labels)}: {cell(text, 1000)}."
    for row in rows:
        rounds = [record.round for record in row.records]
        if rounds and set(rounds) != every_round and not row.failure:
            yield (
                f"{row.system.label}: of {len(every_round)} rounds only "
                f"{', '.join(map(str, rounds))}."
            )
    energy = [
        abs(r.check["energy_error_100_steps"])
        for r in records
        if r.check.get("energy_error_100_steps") is not None
    ]
    if energy:
        yield (
            "Energy error of ours over 100 leapfrogs from the start, the largest of "
            f"our rows: {max(energy):.2g}."
        )
    yield from origin_lines(sorted(records, key=lambda r: r.status != "ok"))
    yield from paper.notes


def _is_ours(row: Row) -> bool:
    return row.system.id == OURS[row.system.group]


def _label(row: Row) -> str:
    return f"**{row.system.label}**" if _is_ours(row) else row.system.label


def _ratio_cell(row: Row, rows: Sequence[Row], values: Spread | None) -> str:
    if row.failure or _is_ours(row):
        return NONE
    if values is not None:
        return with_range(values, "x")
    name = OURS[row.system.group]
    ours = next(other for other in rows if other.system.id == name)
    return f"ours: {cell(ours.failure)}" if ours.failure else "no common round"


def _csv_measured(row: Row, paper: Paper) -> dict[str, object]:
    first = row.records[0] if row.records else None
    reason = row.failure.removeprefix(nuts_rows.status(row)).lstrip(": ")
    return {
        "group": row.system.group,
        "system": row.system.id,
        "label": row.system.label,
        "status": nuts_rows.status(row) or "measured",
        "reason": " ".join(reason.split()) or None,
        "rows": first.problem["rows"] if first else None,
        "data_mb": nuts_rows.data_mb(first.problem) if first else None,
        "rounds": len(row.records),
        "unit": UNITS[row.system.group],
        **columns("ms", row.ms),
        **columns("leapfrogs", row.work("leapfrogs")),
        **columns("gradients", row.work("gradients")),
        **columns("build_seconds", row.seconds("build")),
        **columns("first_seconds", row.seconds("first")),
        "base": OURS[row.system.group],
        **columns("speedup", row.speedup),
        **columns("speedup_per_leapfrog_used", row.speedup_per_leapfrog_used),
        **_csv_check(row.records),
        "cpu": first.hardware.get("cpu") if first else None,
        "cores": first.hardware.get("cores") if first else None,
        "threads": num_threads(first) if first else None,
        **_csv_paper(nuts_rows.paper_row(paper, row.system.id), paper),
    }


def _csv_check(records: Sequence[Record]) -> dict[str, object]:
    """Whether the check passed in every round, and the largest errors."""
    checks = [r.check for r in records if r.status == "ok" and "passed" in r.check]
    errors = {
        name: max((c[name] for c in checks if c.get(name) is not None), default=None)
        for name in ("log_prob_error", "grad_error", "grad_error_over_rounding")
    }
    compared = any(error is not None for error in errors.values())
    result = None
    if any(not check["passed"] for check in checks):
        result = "failed"
    elif compared:  # nothing is compared for a bare pass over the features
        result = "passed"
    return {"check": result, **errors}


def _csv_published(row: PaperRow, paper: Paper) -> dict[str, object]:
    return {
        "group": ONE_CHAIN,
        "system": row.id,
        "label": row.label,
        "status": "published, not measured",
        "rows": paper.rows,
        "unit": UNITS[ONE_CHAIN],
        **_csv_paper(row, paper),
    }


def _csv_paper(row: PaperRow | None, paper: Paper) -> dict[str, object]:
    ratios = nuts_rows.paper_ratios(paper, row) if row else [None] * len(paper.ours)
    return {
        "paper_label": row.label if row else None,
        "paper_ms": row.ms if row else None,
        "paper_hardware": row.hardware if row else None,
        **{f"paper_ratio_to_{n}": r for n, r in zip(paper.ours, ratios, strict=True)},
    }
