"""The NUTS page: Markdown to read, and CSV to compute with."""

from collections.abc import Iterable, Sequence

from experiments.records.record import Record
from experiments.report import nuts_rows
from experiments.report.notes import note_lines
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
from experiments.report.ratios import Spread, ratio, spread
from experiments.report.tables import (
    NONE,
    cell,
    columns,
    csv_text,
    how_measured,
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
    ratios_of = "Ratios of times per leapfrog; in the last two, of times per gradient."
    if not nuts_rows.is_papers_size(rows, paper):
        ratios_of += f" They were set for N = {paper.rows:,}."
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
        "One chain; each device sums over its own rows. Logical devices are parts of "
        "one CPU and say nothing about accelerators.",
        _devices_table(rows),
        "## Targets",
        ratios_of,
        target_table(nuts_rows.outcomes(rows)),
        "## Published, not measured",
        _published_table(paper),
        *how_measured(_settings(rows, paper), DEFINITIONS, _notes(rows, paper)),
    )


def csv(rows: Sequence[Row], paper: Paper) -> str:
    """One line for each system and for each published row without one of ours.

    Times are medians over the rounds with `_low` and `_high` beside them; counts and
    ratios alike.
    """
    lines = [_csv_measured(row, paper) for row in rows]
    lines += [_csv_published(row, paper) for row in paper.table if not row.systems]
    return csv_text(lines)


def _finding(rows: Sequence[Row]) -> str:
    by_id = {row.system.id: row for row in rows}
    ours = by_id[OURS[ONE_CHAIN]]
    parts = []
    if ours.ms is not None:
        parts.append(f"A leapfrog of ours takes {number(ours.ms.median)} ms.")
        others = [by_id[name] for name in HEADLINE if by_id[name].speedup]
        ratios = (f"{r.system.label}: {with_range(r.speedup, 'x')}" for r in others)
        if others:
            parts.append(f"The others' time over ours: {'; '.join(ratios)}.")
    elif ours.records:
        parts.append(f"Ours has no time: {cell(ours.failure)}.")
    return " ".join([*parts, target_finding(nuts_rows.outcomes(rows))])


def _settings(rows: Sequence[Row], paper: Paper) -> Iterable[str]:
    problem = any_record(rows).problem
    size = nuts_rows.data_mb(problem)
    yield (
        f"Data: {problem.get('source', 'source not recorded')}; {problem['rows']:,} "
        "rows" + (f", {number(size)} MB in float32" if size else "")
    )
    yield f"Machine: {machine(all_records(rows))}"
    yield rounds_line(all_records(rows))
    ran = (r for r in rows if r.system.group == ONE_CHAIN and not r.failure)
    settings = any_record(list(ran)[:1] or rows).settings
    yield (
        f"Protocol: start: {settings.get('start', 'the same for every system')}; "
        f"step size {settings.get('step_size', 'not recorded')}; "
        f"metric: {settings.get('metric', 'identity')}; "
        f"tree depth at most {settings.get('max_depth', '?')}; "
        f"{settings.get('num_results', '?')} trajectories a call, repeated for "
        f"{settings.get('min_seconds', '?')} s"
    )
    yield f"Published: {paper.source}"
    if not nuts_rows.is_papers_size(rows, paper):
        yield (
            f"The paper's times are for N = {paper.rows:,} and do not compare with "
            "those of this smaller run"
        )


def _one_chain_table(rows: Sequence[Row], paper: Paper) -> str:
    lines = []
    for row in nuts_rows.slowest_first(rows, ONE_CHAIN, BARE_LOOP):
        published = nuts_rows.paper_row(paper, row.system.id)
        lines.append(
            {
                "system": row.label,
                "ms per leapfrog (range)": cell(row.failure) or with_range(row.ms),
                "time over ours (range)": _ratio_cell(row, rows, row.speedup),
                "the paper's ms": f"{published.ms:.1f}" if published else NONE,
            }
        )
    return markdown_table(lines)


def _all_cores_table(rows: Sequence[Row]) -> str:
    return markdown_table(
        {
            "system": row.label,
            "chains": str(
                row.records[0].settings.get("num_chains", NONE) if row.records else NONE
            ),
            "ms per gradient (range)": cell(row.failure) or with_range(row.ms),
            "time over ours (range)": _ratio_cell(row, rows, row.speedup),
            "per leapfrog used (range)": _ratio_cell(
                row, rows, row.speedup_per_leapfrog_used
            ),
        }
        for row in rows
        if row.system.group == ALL_CORES
    )


def _size_table(sizes: Sequence[tuple[int, Row, Row]]) -> str:
    if not sizes:
        return "Not measured."
    lines = []
    for num_rows, ours, whole in sizes:
        size = nuts_rows.data_mb(any_record([ours, whole]).problem)
        lines.append(
            {
                "rows of the data": f"{num_rows:,}",
                "MB in float32": number(size) if size else NONE,
                "ours, ms per leapfrog": cell(ours.failure) or median(ours.ms),
                "ours, data whole": cell(whole.failure) or median(whole.ms),
                "ours / data whole (range)": times(ratio(ours.times, whole.times)),
            }
        )
    return "Of the newest benchmark of each size.\n\n" + markdown_table(lines)


def _devices_table(rows: Sequence[Row]) -> str:
    of_devices = [row for row in rows if row.system.group == DEVICES]
    one = next(row for row in of_devices if row.is_ours)
    return markdown_table(
        {
            "system": row.system.label,
            "ms per leapfrog (range)": cell(row.failure) or with_range(row.ms),
            "speed over one device (range)": NONE
            if row is one
            else with_range(ratio(one.times, row.times), "x"),
        }
        for row in of_devices
    )


def _published_table(paper: Paper) -> str:
    of = {row.id: row.hardware.split(":")[0] for row in paper.table}
    heads = [f"time over Edward2's, {of[name]}" for name in paper.ours]
    return markdown_table(
        {
            "system and hardware": f"{row.label}, {row.hardware}",
            "ms per leapfrog": f"{row.ms:.1f}",
        }
        | {
            head: f"{number(value)}x"
            for head, value in zip(
                heads, nuts_rows.paper_ratios(paper, row), strict=True
            )
        }
        for row in paper.table
    )


def _notes(rows: Sequence[Row], paper: Paper) -> Iterable[str]:
    records = all_records(rows)
    every_round = {record.round for record in records}
    yield from note_lines((r.system.id, r.system.label, r.records) for r in rows)
    for row in rows:
        rounds = [record.round for record in row.records]
        if rounds and set(rounds) != every_round and not row.failure:
            yield (
                f"{row.system.label}: of {len(every_round)} rounds only "
                f"{', '.join(map(str, rounds))}."
            )
    energy = _largest([r.check for r in records], "energy_error_100_steps")
    if energy is not None:
        yield (
            "Energy error of ours over 100 leapfrogs from the start, the largest of "
            f"our rows: {energy:.2g}."
        )
    yield from origin_lines(sorted(records, key=lambda r: r.status != "ok"))
    yield from paper.notes


def _largest(checks: Iterable[dict[str, float]], name: str) -> float | None:
    values = (abs(c[name]) for c in checks if c.get(name) is not None)
    return max(values, default=None)


def _ratio_cell(row: Row, rows: Sequence[Row], values: Spread | None) -> str:
    if row.failure or row.is_ours:
        return NONE
    if values is not None:
        return with_range(values, "x")
    ours = next(r for r in rows if r.system.id == OURS[row.system.group])
    return f"ours: {cell(ours.failure)}" if ours.failure else "no common round"


def _csv_measured(row: Row, paper: Paper) -> dict[str, object]:
    first = row.records[0] if row.records else None
    timed = () if row.failure else row.records
    counts = {
        unit: spread(sum(r.work.get(unit) or r.work["leapfrogs"]) for r in timed)
        for unit in ("leapfrogs", "gradients")
    }
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
        **columns("leapfrogs", counts["leapfrogs"]),
        **columns("gradients", counts["gradients"]),
        **columns("build_seconds", spread(r.seconds.get("build") for r in timed)),
        **columns("first_seconds", spread(r.seconds.get("first") for r in timed)),
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
    names = ("log_prob_error", "grad_error", "grad_error_over_rounding")
    errors = {name: _largest(checks, name) for name in names}
    result = None
    if any(not check["passed"] for check in checks):
        result = "failed"
    elif any(error is not None for error in errors.values()):
        result = "passed"  # nothing is compared for a bare pass over the features
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
