"""The page of NUTS with warm-up on every posterior: Markdown, CSV and a plot."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from experiments.records.record import Record
from experiments.report import plotting, tables
from experiments.report import posteriors_rows as rows
from experiments.report.notes import note_lines
from experiments.report.posteriors_rows import LABELS, OURS, Cell

FAILED = "FAILED"
WIDEST = 300.0  # factor of the best that is drawn
TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
COLORS = ("#c8553d", "#4a6fa5", "#2c7a4b", "#8a5a9e", "#c9972c", "#5b9aa0", "#777777")
DEFINITIONS = (
    "Every system is told the same chains, draws, target acceptance and depth; its "
    "warm-up, starts and metric are its own. Each run is a fresh process.",
    "min-ESS/s: the smallest rank-normalised bulk ESS of all that is compared, over "
    "seconds. Sampling: of the draws after warm-up. Cold: from the start of the "
    "process to the last draw, compilation included (of Stan's program too, whenever "
    "that was).",
    "A gradient is one leapfrog of one chain that was used; gradients of chains that "
    "wait for others are not counted, but their seconds are.",
    f"{FAILED}: |z| of a mean or of a mean of squares against the reference posterior "
    "is 5 or more, R-hat is 1.05 or more, or an ESS is below 100. Such a run has no "
    "speed, and counts as infinitely slow in the performance profile.",
    "A geometric mean is over the posteriors that both systems got right.",
)

Table = Mapping[str, Mapping[str, Cell]]


def markdown(made: Sequence[Cell]) -> str:
    """The whole page.  made: of `posteriors_rows.cells`."""
    records = [record for cell in made for record in cell.records]
    by_chains = rows.by_chains(made)
    parts = []
    for chains, table in by_chains.items():
        parts += [
            f"## {chains} chains",
            "Ours over each system, geometric means (and over how many posteriors). "
            "More is better for ESS/s, less for gradients per ESS.",
            tables.markdown_table(_means(table)),
            "min-ESS per second of sampling:",
            tables.markdown_table(_lines(table, rows.ess_per_second)),
            "Seconds from a cold start to the last draw:",
            tables.markdown_table(_lines(table, rows.phase("cold"))),
            "Gradients per effective draw:",
            tables.markdown_table(_lines(table, rows.gradients_per_ess)),
        ]
    notes = note_lines(
        (cell.system, LABELS.get(cell.system, cell.system), cell.records)
        for cell in made
    )
    return tables.markdown_page(
        "# NUTS with warm-up: effective draws per second",
        _finding(by_chains),
        *parts,
        "## What failed",
        tables.bullets(_failures(made)) or "Nothing.",
        *tables.how_measured(_settings(records), DEFINITIONS, list(notes)),
    )


def _finding(by_chains: Mapping[int, Table]) -> str:
    sentences = []
    for chains, table in by_chains.items():
        ratios = []
        for system in rows.systems_of(table):
            mean, num = rows.geometric_mean(table, system, rows.ess_per_second)
            if system != OURS and mean is not None:
                ratios.append(f"{mean:.2g}x {LABELS.get(system, system)} ({num})")
        if ratios:
            sentences.append(
                f"With {chains} chains, min-ESS per second of sampling, ours is, as a "
                f"geometric mean over the posteriors that both got right: "
                f"{', '.join(ratios)}."
            )
    return " ".join(sentences)


def _means(table: Table) -> list[dict[str, str | None]]:
    quantities = {
        "min-ESS/s, sampling": rows.ess_per_second,
        "with warm-up": rows.ess_per_second_warm,
        "cold start": rows.ess_per_second_cold,
        "gradients per ESS": rows.gradients_per_ess,
    }
    lines = []
    for system in rows.systems_of(table):
        line: dict[str, str | None] = {"system": LABELS.get(system, system)}
        for name, quantity in quantities.items():
            mean, num = rows.geometric_mean(table, system, quantity)
            line[name] = None if mean is None else f"{tables.number(mean)}x ({num})"
        right = sum(not row[system].failure for row in table.values() if system in row)
        line["right"] = f"{right} of {sum(system in row for row in table.values())}"
        if system != OURS:
            lines.append(line)
    return lines


def _lines(table: Table, quantity: rows.Quantity) -> list[dict[str, str | None]]:
    """A line for each posterior, a column for each system."""
    systems = rows.systems_of(table)
    lines = []
    for name, row in table.items():
        line: dict[str, str | None] = {"posterior": name}
        line |= {LABELS.get(s, s): _shown(row.get(s), quantity) for s in systems}
        lines.append(line)
    return lines


def _shown(cell: Cell | None, quantity: rows.Quantity) -> str | None:
    if cell is None:
        return None
    if all(record.status == "skipped" for record in cell.records):
        return "skipped"
    return FAILED if cell.failure else tables.with_range(cell.spread(quantity))


def _failures(made: Sequence[Cell]) -> list[str]:
    return [
        f"{LABELS.get(cell.system, cell.system)}, {cell.posterior}, {cell.num_chains} "
        f"chains: {tables.cell(cell.failure)}"
        for cell in made
        if cell.failure
    ]


def _settings(records: Sequence[Record]) -> list[str]:
    first = records[0].settings
    return [
        f"{tables.machine(records)}.",
        f"{first['num_warmup']:,} draws of warm-up and {first['num_draws']:,} draws of "
        f"each chain, target acceptance {first['target_accept']}, depth at most "
        f"{first['max_depth']}.",
        f"{tables.rounds_line(records)}.",
        *tables.origin_lines(records),
    ]


def csv(made: Sequence[Cell]) -> str:
    """One line a cell: medians with ranges, work and checks."""
    return tables.csv_text(_csv_line(cell) for cell in made)


def _csv_line(cell: Cell) -> dict[str, Any]:
    ran = [record for record in cell.records if record.status == "ok"]
    last = ran[-1] if ran else None
    check = last.check if last else {}
    quantities = {
        "min_ess_per_second": rows.ess_per_second,
        "min_ess_per_second_warm": rows.ess_per_second_warm,
        "min_ess_per_second_cold": rows.ess_per_second_cold,
        "gradients_per_second": rows.gradients_per_second,
        "gradients_per_ess": rows.gradients_per_ess,
        "build_seconds": rows.phase("build"),
        "warmup_seconds": rows.phase("warmup"),
        "sampling_seconds": rows.phase("sampling"),
        "cold_seconds": rows.phase("cold"),
        "min_ess": rows.min_ess,
    }
    line: dict[str, Any] = {
        "posterior": cell.posterior,
        "num_chains": cell.num_chains,
        "system": cell.system,
        "passed": not cell.failure,
        "reason": cell.failure,
        "divergences": last.work["divergences"] if last else None,
    }
    for key in ("z_max", "z_max_of", "r_hat_max", "min_ess_bulk", "min_ess_of"):
        line[key] = check.get(key)
    for name, quantity in quantities.items():
        line |= tables.columns(**{name: cell.spread(quantity)})
    return line


@matplotlib.rc_context(plotting.STYLE)
def draw(made: Sequence[Cell], path: Path) -> None:
    """Writes performance profiles to `path`, a PNG: a panel for each number of chains.

    A curve is the share of posteriors on which a system's min-ESS per second is within
    a factor of the best system's.
    """
    by_chains = rows.by_chains(made)
    records = [record for cell in made for record in cell.records]
    caption = (
        "Share of posteriors on which a system's min-ESS per second of sampling is "
        "within a factor of the best system's. Up and to the left is better; a curve "
        "ends at the share of posteriors that the system got right. "
        f"{tables.machine(records)}."
    )
    below = plotting.caption_height(caption)
    height = 3.9 + below
    title = "Performance profiles of NUTS with warm-up"
    figure = plotting.new_figure(height, title, caption)
    for place, (chains, table) in enumerate(by_chains.items()):
        width = 0.92 / len(by_chains)
        box = (
            0.075 + place * width,
            (below + 0.5) / height,
            width - 0.07,
            2.6 / height,
        )
        axes = figure.add_axes(box)
        for system, color in zip(rows.systems_of(table), COLORS, strict=False):
            factors = rows.profile(table, rows.ess_per_second)[system]
            reached = sorted(factor for factor in factors if math.isfinite(factor))
            shares = [(i + 1) / len(factors) for i in range(len(reached))]
            axes.step(
                [1.0, *reached, WIDEST],
                [0.0, *shares, shares[-1] if shares else 0.0],
                where="post",
                color=color,
                label=LABELS.get(system, system),
                linewidth=2.4 if system == OURS else 1.4,
            )
        axes.set_xscale("log")
        axes.set_xlim(1, WIDEST)
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.set_xticks([], minor=True)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("factor of the best")
        axes.set_title(f"{chains} chains")
        if place == 0:
            axes.set_ylabel("share of posteriors")
    axes.legend(loc="lower right")
    figure.savefig(path)
