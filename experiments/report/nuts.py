"""The NUTS page: Markdown to read, and CSV to compute with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.records.record import Record
from experiments.report import nuts_device, nuts_rows, tables
from experiments.report.notes import note_lines
from experiments.report.nuts_rows import Paper, Row
from experiments.report.ratios import Spread, ratio, spread

HEADLINE = ("stan_glm", "pymc_float64", "handwritten_tf")  # of the first sentence
DEFINITIONS = (
    "One leapfrog is one gradient in every system. A time is the seconds of the timed "
    "calls over their leapfrogs. The build is timed separately. So is the first call "
    "of TensorFlow's rows and of the bare loops, which compiles; the first call of "
    "the others counts like the later ones.",
    "A ratio is taken within each round; median and range are over the rounds. So a "
    "ratio is the median of the ratios within a round, not the quotient of the medians "
    "shown.",
    "All cores: seconds of the whole machine over the gradients of all chains. Chains "
    "of a batch run in lock-step, but for ours, which do not wait for each other until "
    "the end. 'Per leapfrog used' excludes gradients computed for chains that had "
    "already finished. Stan and PyMC are charged only for the cores that their chains "
    "keep busy.",
    "Check: log density (up to a constant) and gradient are compared with a reference "
    "at random points before any ratio is taken. The CSV has the largest errors on the "
    "whole data, relative to the largest value; the gradient's error over that of "
    "rounding decides.",
)


def markdown(
    rows: Sequence[Row],
    paper: Paper,
    sizes: Sequence[tuple[int, Row, Row]] = (),
    devices: Sequence[nuts_device.Page] = (),
) -> str:
    """The whole page: the finding, tables, targets and notes.

    sizes: of `nuts_rows.by_size`.
    devices: accelerators, which stand apart beside the paper's: `nuts_device.beside`.

    Raises ValueError when none of the rows has a record.
    """
    ratios_of = (
        "Ratios of times per leapfrog; in the last three, of times per gradient."
    )
    if not nuts_rows.is_papers_size(rows, paper):
        ratios_of += f" They were set for N = {paper['rows']:,}."
    by_size = tables.markdown_table(_size_line(*size) for size in sizes)
    return tables.markdown_page(
        f"# {nuts_rows.title(rows)}",
        _finding(rows),
        "## One chain, the paper's start and step size",
        tables.markdown_table(
            _line(row) | {"the paper's ms": _published_ms(paper, row)}
            for row in nuts_rows.slowest_first(rows, *nuts_rows.OF_ONE_CHAIN)
        ),
        "## All cores, many chains",
        tables.markdown_table(
            {"system": row.label, "chains": _chains(row)}
            | _line(row)
            | {"per leapfrog used (range)": _ratio(row, row.speedup_per_leapfrog_used)}
            for row in rows
            if row.system.group == nuts_rows.ALL_CORES
        ),
        "## Blocks of rows, by the size of the data",
        "Of the newest benchmark of each size." if sizes else "Not measured.",
        by_size if sizes else "",
        "## Rows divided over logical devices",
        "One chain; each device sums over its own rows. Logical devices are parts of "
        "one CPU and say nothing about accelerators.",
        _devices_table(rows),
        "## Targets",
        ratios_of,
        tables.target_table(nuts_rows.outcomes(rows)),
        *(nuts_device.section(page) for page in devices),
        "The exported sampler, in one process with JAX's: [nuts_device.md]"
        "(nuts_device.md) says how."
        if devices
        else "",
        "## Published, not measured",
        _published_table(paper),
        *tables.how_measured(_settings(rows, paper), DEFINITIONS, _notes(rows, paper)),
    )


def csv(rows: Sequence[Row], paper: Paper) -> str:
    """One line for each system and for each published row without one of ours.

    Times are medians over the rounds with `_low` and `_high` beside them; counts and
    ratios alike.
    """
    lines = [_csv_measured(row, paper) for row in rows]
    apart = [row for row in paper["table"] if not row["systems"]]
    return tables.csv_text(lines + [_csv_published(row, paper) for row in apart])


def _finding(rows: Sequence[Row]) -> str:
    by_id = {row.system.id: row for row in rows}
    ours = by_id[nuts_rows.OURS[nuts_rows.ONE_CHAIN]]
    others = [by_id[name] for name in HEADLINE if by_id[name].speedup]
    parts = []
    if ours.ms is not None:
        parts.append(f"A leapfrog of ours takes {tables.median(ours.ms)} ms.")
        if others:
            ratios = (
                f"{row.system.label}: {_ratio(row, row.speedup)}" for row in others
            )
            parts.append(f"The others' time over ours: {'; '.join(ratios)}.")
    elif ours.records:
        parts.append(f"Ours has no time: {tables.cell(ours.failure)}.")
    return " ".join([*parts, tables.target_finding(nuts_rows.outcomes(rows))])


def _settings(rows: Sequence[Row], paper: Paper) -> Iterable[str]:
    problem, records = nuts_rows.any_record(rows).problem, nuts_rows.all_records(rows)
    size = nuts_rows.data_mb(problem)
    yield (
        f"Data: {problem.get('source', 'source not recorded')}; {problem['rows']:,} "
        "rows" + (f", {tables.number(size)} MB in float32" if size else "")
    )
    yield f"Machine: {tables.machine(records)}"
    yield tables.rounds_line(records)
    ran = [r for r in rows if r.system.group == nuts_rows.ONE_CHAIN and not r.failure]
    settings = nuts_rows.any_record(ran[:1] or rows).settings
    yield (
        f"Protocol: start: {settings.get('start', 'the same for every system')}; "
        f"step size {settings.get('step_size', 'not recorded')}; "
        f"metric: {settings.get('metric', 'identity')}; "
        f"tree depth at most {settings.get('max_depth', '?')}; "
        f"{settings.get('num_results', '?')} trajectories per call, repeated for "
        f"{settings.get('min_seconds', '?')} s"
    )
    yield f"Published: {paper['source']}"
    if not nuts_rows.is_papers_size(rows, paper):
        yield (
            f"The paper's times are for N = {paper['rows']:,} and do not compare with "
            "those of this smaller run"
        )


def _line(row: Row) -> dict[str, str | None]:
    return {
        "system": row.label,
        f"{nuts_rows.UNITS[row.system.group]} (range)": _time(row),
        "time over ours (range)": _ratio(row, row.speedup),
    }


def _time(row: Row, shown: Callable[[Spread | None], str] = tables.with_range) -> str:
    return tables.cell(row.failure) or shown(row.ms)


def _ratio(row: Row, values: Spread | None) -> str | None:
    if row.failure or row.is_ours:
        return None
    if values is None and row.failure_of_ours:
        return f"ours: {tables.cell(row.failure_of_ours)}"
    return tables.with_range(values, "x") if values else "no common round"


def _published_ms(paper: Paper, row: Row) -> str | None:
    ms = nuts_rows.paper_row(paper, row.system.id).get("ms_per_leapfrog")
    return None if ms is None else f"{ms:.1f}"


def _chains(row: Row) -> str | None:
    chains = row.records[0].settings.get("num_chains") if row.records else None
    return None if chains is None else str(chains)


def _size_line(num_rows: int, ours: Row, whole: Row) -> dict[str, str | None]:
    size = nuts_rows.data_mb(nuts_rows.any_record([ours, whole]).problem)
    return {
        "rows of the data": f"{num_rows:,}",
        "MB in float32": tables.number(size) if size else None,
        "ours, ms per leapfrog": _time(ours, tables.median),
        "ours, data whole": _time(whole, tables.median),
        "ours / data whole (range)": tables.times(ratio(ours.times, whole.times)),
    }


def _devices_table(rows: Sequence[Row]) -> str:
    of_devices = [row for row in rows if row.system.group == nuts_rows.DEVICES]
    one = next(row for row in of_devices if row.is_ours)
    return tables.markdown_table(
        {
            "system": row.system.label,
            "ms per leapfrog (range)": _time(row),
            "speed over one device (range)": tables.with_range(
                None if row is one else ratio(one.times, row.times), "x"
            ),
        }
        for row in of_devices
    )


def _published_table(paper: Paper) -> str:
    of = {row["id"]: row["hardware"].split(":")[0] for row in paper["table"]}
    heads = [f"time over Edward2's, {of[name]}" for name in paper["ours"]]
    lines = []
    for row in paper["table"]:
        ratios = (f"{tables.number(r)}x" for r in nuts_rows.paper_ratios(paper, row))
        lines.append(
            {
                "system and hardware": f"{row['label']}, {row['hardware']}",
                "ms per leapfrog": f"{row['ms_per_leapfrog']:.1f}",
                **dict(zip(heads, ratios, strict=True)),
            }
        )
    return tables.markdown_table(lines)


def _notes(rows: Sequence[Row], paper: Paper) -> Iterable[str]:
    records = nuts_rows.all_records(rows)
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
        where = "over 100 leapfrogs from the start"
        yield f"Largest energy error of ours {where}: {energy:.2g}."
    yield from tables.origin_lines(sorted(records, key=lambda r: r.status != "ok"))
    yield from paper["notes"]


def _largest(checks: Iterable[dict[str, float]], name: str) -> float | None:
    values = (abs(c[name]) for c in checks if c.get(name) is not None)
    return max(values, default=None)


def _csv_measured(row: Row, paper: Paper) -> dict[str, object]:
    first = row.records[0] if row.records else None
    problem, hardware = (first.problem, first.hardware) if first else ({}, {})
    timed, status = () if row.failure else row.records, nuts_rows.status(row)
    reason = " ".join(row.failure.removeprefix(status).lstrip(": ").split())
    leapfrogs, gradients = (
        spread(sum(r.work.get(unit) or r.work["leapfrogs"]) for r in timed)
        for unit in ("leapfrogs", "gradients")
    )
    return {
        "group": row.system.group,
        "system": row.system.id,
        "label": row.system.label,
        "status": status or "measured",
        "reason": reason or None,
        "rows": problem.get("rows"),
        "data_mb": nuts_rows.data_mb(problem),
        "rounds": len(row.records),
        "unit": nuts_rows.UNITS[row.system.group],
        **tables.columns(
            ms=row.ms,
            leapfrogs=leapfrogs,
            gradients=gradients,
            build_seconds=spread(r.seconds.get("build") for r in timed),
            first_seconds=spread(r.seconds.get("first") for r in timed),
        ),
        "base": nuts_rows.OURS[row.system.group],
        **tables.columns(
            speedup=row.speedup,
            speedup_per_leapfrog_used=row.speedup_per_leapfrog_used,
        ),
        **_csv_check(row.records),
        "cpu": hardware.get("cpu"),
        "cores": hardware.get("cores"),
        "threads": tables.num_threads(first) if first else None,
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


def _csv_published(row: Mapping[str, Any], paper: Paper) -> dict[str, object]:
    return {
        "group": nuts_rows.ONE_CHAIN,
        "system": row["id"],
        "label": row["label"],
        "status": "published, not measured",
        "rows": paper["rows"],
        "unit": nuts_rows.UNITS[nuts_rows.ONE_CHAIN],
        **_csv_paper(row, paper),
    }


def _csv_paper(row: Mapping[str, Any], paper: Paper) -> dict[str, object]:
    names = {"label": "label", "ms": "ms_per_leapfrog", "hardware": "hardware"}
    about = {f"paper_{name}": row.get(key) for name, key in names.items()}
    ratios = nuts_rows.paper_ratios(paper, row) if row else [None] * len(paper["ours"])
    of = [f"paper_ratio_to_{name}" for name in paper["ours"]]
    return about | dict(zip(of, ratios, strict=True))
