"""The NUTS plot: measured times as sorted dots, and the published ones apart."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from experiments.report import nuts_rows, plotting, tables
from experiments.report.nuts_rows import ALL_CORES, BARE_LOOP, ONE_CHAIN, Paper, Row
from experiments.report.plotting import LOOP, OTHER, OURS, PUBLISHED, WIDTH
from experiments.report.ratios import Spread

LEFT, RIGHT = 3.15, 1.9  # inches, for the labels and for the columns of numbers
HEAD, FOOT, ROW = 0.55, 0.5, 0.24  # inches above and below a panel, and of a row
# Logical devices have no place beside the paper's GPUs, and are not drawn.
DRAWN = (ONE_CHAIN, BARE_LOOP, ALL_CORES)


class Dot(NamedTuple):
    """A row of a panel."""

    label: str
    ms: Spread | None
    color: str
    shown: str  # the time, or why there is none
    ratio: str


class Panel(NamedTuple):
    """Rows on one axis, the slowest first."""

    title: str
    unit: str
    ratio_of: str  # the head of the column of ratios
    dots: list[Dot]


def draw(rows: Sequence[Row], paper: Paper, path: Path) -> None:
    """Writes the plot of `rows` to `path`, a PNG.

    Dots are medians and whiskers ranges over the rounds.  A row without a time keeps
    its place, and the caption says why.  The published times have a panel of their
    own, and none when the problem's size is not the paper's.
    """
    one_chain = _measured(rows, (ONE_CHAIN, BARE_LOOP))
    panels = [
        Panel("Measured: one chain", "ms per leapfrog", "x ours", one_chain),
        Panel(
            "Measured: many chains on all cores",
            "ms per gradient",
            "x ours",
            _measured(rows, (ALL_CORES,)),
        ),
    ]
    if nuts_rows.is_papers_size(rows, paper):
        published = [
            Dot(
                f"{row.label}, {row.hardware.split(':')[0]}",
                Spread(row.ms, row.ms, row.ms),
                PUBLISHED,
                f"{row.ms:.1f}",
                f"{tables.number(nuts_rows.paper_ratios(paper, row)[0])}x",
            )
            for row in sorted(paper.table, key=lambda row: -row.ms)
        ]
        panels.append(
            Panel(
                "Published in the paper, on its hardware",
                "ms per leapfrog",
                "x Edward2, CPU",
                published,
            )
        )
    panels = [panel for panel in panels if any(dot.ms for dot in panel.dots)]
    caption = _caption(rows, paper)
    inches = [ROW * len(panel.dots) for panel in panels]
    below = plotting.caption_height(caption) + 0.15
    height = 0.4 + sum(inches) + (HEAD + FOOT) * len(panels) + below
    title = f"{nuts_rows.title(rows)}: time per gradient"
    figure = plotting.new_figure(height, title, caption)
    top = height - 0.4
    for panel, size in zip(panels, inches, strict=True):
        bottom = top - HEAD - size
        axes = figure.add_axes(
            (
                LEFT / WIDTH,
                bottom / height,
                (WIDTH - LEFT - RIGHT) / WIDTH,
                size / height,
            )
        )
        _draw(axes, panel)
        top = bottom - FOOT
    plotting.save(figure, path)


def _measured(rows: Sequence[Row], groups: Sequence[str]) -> list[Dot]:
    chosen = [row for row in rows if row.records and row.system.group in groups]
    chosen.sort(key=lambda row: -row.ms.median if row.ms else 0.0)
    return [
        Dot(
            row.system.label,
            row.ms,
            _color(row),
            nuts_rows.status(row) or tables.median(row.ms),
            f"{tables.number(row.speedup.median)}x" if row.speedup else "",
        )
        for row in chosen
    ]


def _draw(axes: Axes, panel: Panel) -> None:
    # Stan's own clock counts milliseconds: a run too short for it has a time of 0.
    positive = [v for dot in panel.dots if dot.ms for v in dot.ms if v > 0] or [1.0]
    low, high = min(positive) / 1.3, max(positive) * 1.3
    for place, dot in enumerate(panel.dots):
        if dot.ms:
            plotting.dot(axes, place, dot.ms, dot.color)
        _column(axes, 1.04, place, dot.shown)
        _column(axes, 1.29, place, dot.ratio)
    _column(axes, 1.04, -0.95, "ms")
    _column(axes, 1.29, -0.95, panel.ratio_of)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    plotting.finish(axes, "", f"{panel.unit} (log scale)", "")
    plotting.name_rows(axes, [dot.label for dot in panel.dots])
    axes.set_title(panel.title, fontsize=10.5, loc="right", pad=8)


def _column(axes: Axes, x: float, place: float, text: str) -> None:
    axes.text(
        x,
        place,
        text,
        transform=axes.get_yaxis_transform(),
        fontsize=plotting.TICK_SIZE,
        verticalalignment="center",
    )


def _color(row: Row) -> str:
    if row.system.id.startswith("ppl_core"):
        return OURS
    return LOOP if row.system.group == BARE_LOOP else OTHER


def _caption(rows: Sequence[Row], paper: Paper) -> str:
    problem = nuts_rows.any_record(rows).problem
    records = nuts_rows.all_records(rows)
    parts = [
        "Red: ours. Blue: other systems; pale: loops without a sampler. Dots: medians; "
        "whiskers: range over the rounds.",
        f"Measured on {tables.machine(records)}.",
        f"Data: {problem.get('source', 'source not recorded')}.",
    ]
    if nuts_rows.is_papers_size(rows, paper):
        hardware = "; ".join(dict.fromkeys(row.hardware for row in paper.table))
        parts.append(f"Green, published: {paper.source} ({hardware}).")
    else:
        parts.append(f"The paper's times are for N = {paper.rows:,} and are not drawn.")
    drawn = [row for row in rows if row.system.group in DRAWN]
    failures = [
        f"{row.system.label}: {textwrap.shorten(row.failure, 120, placeholder=' ...')}"
        for row in drawn
        if row.records and row.failure
    ]
    if failures:
        parts.append(f"Without a time: {'; '.join(failures)}.")
    absent = [row.system.label for row in drawn if not row.records]
    if absent:
        parts.append(f"Not run: {'; '.join(absent)}.")
    return " ".join(parts)
