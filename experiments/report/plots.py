"""The NUTS plot: what was measured, beside what was published."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.report import speedup, tables
from experiments.report.speedup import Paper, PaperRow, Row

WIDTH = 11.0  # inches, as are the next ones
LEFT, RIGHT = 2.9, 2.5  # for the labels and for the columns of numbers
HEAD, BAR, FOOT, TEXT = 0.98, 0.29, 0.7, 0.17
OURS, OTHER, LOOP, PUBLISHED = "#c8553d", "#4a6fa5", "#a9bcd4", "#2c7a4b"
# Not the logical devices, which have no place on an axis with the paper's GPUs.
ONE_CHAIN = (speedup.ONE_CHAIN, speedup.BARE_LOOP)


class Line(NamedTuple):
    """A line of a panel; at least one of `row` and `published` is there."""

    label: str
    row: Row | None
    published: PaperRow | None


def nuts_speedup(rows: Sequence[Row], paper: Paper, path: Path) -> None:
    """Writes the plot of `rows` to `path`, a PNG.

    Bars are medians and whiskers ranges over the rounds, on a log axis.  A row that ran
    without giving a number keeps its place, and the caption says why.  Published times
    are left out when the problem's size is not the paper's.
    """
    panels = [
        (
            "ms per leapfrog, one chain, the paper's start and step size",
            _one_chain(rows, paper),
        ),
        ("ms per gradient, many chains on all cores", _all_cores(rows)),
    ]
    panels = [(unit, lines) for unit, lines in panels if any(map(_times, lines))]
    caption = textwrap.wrap(_caption(rows, paper), 150)

    inches = [BAR * len(lines) for _, lines in panels]
    height = HEAD + sum(inches) + FOOT * len(panels) + TEXT * len(caption) + 0.15
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    figure.text(
        0.15 / WIDTH,
        1 - 0.14 / height,
        tables.title(rows),
        fontsize=13,
        fontweight="bold",
        verticalalignment="top",
    )
    top = height - HEAD
    for index, ((unit, lines), panel) in enumerate(zip(panels, inches, strict=True)):
        width = WIDTH - LEFT - RIGHT
        bottom = top - panel
        axes = figure.add_axes(
            (LEFT / WIDTH, bottom / height, width / WIDTH, panel / height)
        )
        _draw(axes, unit, lines, has_head=index == 0)
        top = bottom - FOOT
    _legend(figure, height, [line for _, lines in panels for line in lines])
    figure.text(
        0.15 / WIDTH,
        0.12 / height,
        "\n".join(caption),
        fontsize=8,
        verticalalignment="bottom",
        parse_math=False,  # a reason may hold a dollar sign
        linespacing=1.35,
    )
    figure.savefig(path, dpi=140)


def _one_chain(rows: Sequence[Row], paper: Paper) -> list[Line]:
    if not tables.is_papers_size(rows, paper):
        return [Line(row.system.label, row, None) for row in _told(rows, ONE_CHAIN)]
    lines = [
        Line(row.system.label, row, speedup.paper_row(paper, row.system.id))
        for row in _told(rows, ONE_CHAIN)
    ]
    for published in paper.table:
        if not published.systems:
            label = f"{published.label}, {published.hardware}"
            lines.append(Line(label, None, published))
    return lines


def _all_cores(rows: Sequence[Row]) -> list[Line]:
    return [
        Line(row.system.label, row, None) for row in _told(rows, (speedup.ALL_CORES,))
    ]


def _told(rows: Sequence[Row], groups: Sequence[str]) -> list[Row]:
    return [row for row in rows if row.records and row.system.group in groups]


def _times(line: Line) -> list[float]:
    measured = list(line.row.ms) if line.row and line.row.ms else []
    return measured + ([line.published.ms] if line.published else [])


def _draw(axes: Axes, unit: str, lines: Sequence[Line], *, has_head: bool) -> None:
    # Stan's own clock counts milliseconds: a run too short for it took none.
    times = [time for line in lines for time in _times(line) if time > 0] or [1.0]
    low, high = min(times) / 1.6, max(times) * 1.25
    for place, line in enumerate(lines):
        if line.row and line.row.ms:
            ms = line.row.ms
            axes.barh(place, ms.median - low, 0.62, left=low, color=_color(line.row))
            if ms.low < ms.high:
                axes.errorbar(
                    ms.median,
                    place,
                    xerr=[[ms.median - ms.low], [ms.high - ms.median]],
                    color="black",
                    capsize=2.5,
                    linewidth=1.0,
                )
        if line.published:
            axes.plot(
                line.published.ms,
                place,
                marker="D",
                color=PUBLISHED,
                markeredgecolor="white",
                markersize=6.5,
            )
        _numbers(axes, place, line)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelsize=9)
    axes.set_xlabel(unit, fontsize=9)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if has_head:
        _column(axes, 1.03, -0.85, "measured")
        if any(line.published for line in lines):
            _column(axes, 1.32, -0.85, "published")


def _numbers(axes: Axes, place: int, line: Line) -> None:
    if line.row:
        _column(
            axes, 1.03, place, tables.status(line.row) or tables.with_range(line.row.ms)
        )
    if line.published:
        _column(axes, 1.32, place, f"{line.published.ms:.1f}")


def _column(axes: Axes, x: float, place: float, text: str) -> None:
    axes.text(
        x,
        place,
        text,
        transform=axes.get_yaxis_transform(),
        fontsize=9,
        verticalalignment="center",
    )


def _color(row: Row) -> str:
    if row.system.id.startswith("ppl_core"):  # others of ours beside the main one
        return OURS
    return LOOP if row.system.group == speedup.BARE_LOOP else OTHER


def _legend(figure: Figure, height: float, lines: Sequence[Line]) -> None:
    drawn = {_color(line.row) for line in lines if line.row and line.row.ms}
    labels = {OURS: "ours", OTHER: "other systems", LOOP: "no sampler around it"}
    handles: list[Patch | Line2D] = [
        Patch(color=color, label=label)
        for color, label in labels.items()
        if color in drawn
    ]
    if any(line.published for line in lines):
        handles.append(
            Line2D(
                [],
                [],
                marker="D",
                linestyle="none",
                color=PUBLISHED,
                label="published, not measured",
            )
        )
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(LEFT / WIDTH, 1 - 0.45 / height),
        borderaxespad=0.0,
        borderpad=0.0,
        frameon=False,
        fontsize=9,
        ncols=4,
    )


def _caption(rows: Sequence[Row], paper: Paper) -> str:
    problem = tables.any_record(rows).problem
    said = [
        f"Measured on {tables.machine(rows)}, {tables.date(rows)}; median and range "
        "over the rounds.",
        f"Data: {problem.get('source', 'source not recorded')}.",
    ]
    if tables.is_papers_size(rows, paper):
        hardware = "; ".join(dict.fromkeys(row.hardware for row in paper.table))
        said.append(f"Published: {paper.source} ({hardware}).")
    else:
        said.append(f"The paper's times are for N = {paper.rows:,} and are not drawn.")
    missing = [
        f"{row.system.label}: {textwrap.shorten(row.trouble, 120, placeholder=' ...')}"
        for row in _told(rows, (*ONE_CHAIN, speedup.ALL_CORES))
        if row.trouble
    ]
    if missing:
        said.append(f"Without a number: {'; '.join(missing)}.")
    drawn = (*ONE_CHAIN, speedup.ALL_CORES)
    absent = [
        row.system.label
        for row in rows
        if row.system.group in drawn and not row.records
    ]
    if absent:
        said.append(f"Not run: {'; '.join(absent)}.")
    return " ".join(said)
