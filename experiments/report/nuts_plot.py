"""The NUTS plot: measured times as sorted dots, and the published ones apart."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from experiments.report import nuts_device, nuts_rows, plotting, tables
from experiments.report.nuts_rows import ALL_CORES, BARE_LOOP, OF_ONE_CHAIN, Paper, Row
from experiments.report.plotting import LOOP, OTHER, OURS, PUBLISHED
from experiments.report.ratios import Spread

LEFT, RIGHT = 0.394, 0.238  # shares of the width, for labels and numbers
TOP, HEAD, FOOT, ROW = 0.55, 0.5, 0.5, 0.24  # inches: title, a panel's ends, a row
COLORS = {
    "ours": OURS,
    "other systems": OTHER,
    "loops without a sampler": LOOP,
    "published": PUBLISHED,
}


class Dot(NamedTuple):
    """A row of a panel."""

    label: str
    ms: Spread | None
    kind: str  # of COLORS
    shown: str  # the time, or why there is none
    ratio: str


@matplotlib.rc_context(plotting.STYLE)
def draw(
    rows: Sequence[Row],
    paper: Paper,
    path: Path,
    devices: Sequence[nuts_device.Page] = (),
) -> None:
    """Writes the plot of `rows` to `path`, a PNG.

    Dots are medians and whiskers ranges over the rounds.  A row without a time keeps
    its place, and the caption says why.  The published times have a panel of their
    own, and none when the problem's size is not the paper's.  Logical devices have no
    place beside the paper's GPUs, and are not drawn.

    devices: accelerators, each a panel of its own: `nuts_device.beside`.
    """
    one, many = _measured(rows, *OF_ONE_CHAIN), _measured(rows, ALL_CORES)
    published = _published(paper) if nuts_rows.is_papers_size(rows, paper) else []
    panels = [  # title, unit, what the ratios are of, rows
        ("Measured here: one chain", "leapfrog", "times ours", one),
        ("Measured here: many chains on all cores", "gradient", "times ours", many),
        *(
            (f"Measured on {page.device}: one chain", "leapfrog", "times ours", dots)
            for page in devices
            if (dots := _on_device(page))
        ),
        ("Published, on the paper's hardware", "leapfrog", "times Edward2", published),
    ]
    panels = [panel for panel in panels if any(dot.ms for dot in panel[-1])]
    every = [dot for *_, dots in panels for dot in dots]
    # Stan's own clock counts milliseconds: a run too short for it has a time of 0.
    drawn = [v for dot in every for v in dot.ms or () if v > 0]
    limits = min(drawn, default=1.0) / 1.3, max(drawn, default=1.0) * 1.3
    caption = _caption(rows, paper)
    below = plotting.caption_height(caption) + 0.15
    height = TOP + ROW * len(every) + (HEAD + FOOT) * len(panels) + below
    title = f"{nuts_rows.title(rows)}: time per leapfrog (less is better)"
    figure = plotting.new_figure(height, title, caption)
    kinds = {dot.kind for dot in every if dot.ms}
    handles = [
        Line2D([], [], color=color, marker="o", linestyle="", label=kind)
        for kind, color in COLORS.items()
        if kind in kinds
    ]
    corner = (0.0, 1 - 0.33 / height)
    figure.legend(handles=handles, ncols=4, loc="upper left", bbox_to_anchor=corner)
    top = height - TOP
    for title, unit, ratio_of, dots in panels:
        size = ROW * len(dots)
        bottom = top - HEAD - size
        box = (LEFT, bottom / height, 1 - LEFT - RIGHT, size / height)
        axes = figure.add_axes(box)
        _draw_panel(axes, dots, limits, ratio_of)
        axes.set_xlabel(f"ms per {unit} (log scale)")
        head = (bottom + size + 0.12) / height
        figure.text(0.025, head, title, fontsize=10.5, fontweight="bold")
        top = bottom - FOOT
    figure.savefig(path)


def _measured(rows: Sequence[Row], *groups: str) -> list[Dot]:
    return [
        Dot(
            row.system.label,
            row.ms,
            _kind(row),
            nuts_rows.status(row) or tables.median(row.ms),
            tables.median(row.speedup) if row.speedup else "",
        )
        for row in nuts_rows.slowest_first(rows, *groups)
        if row.records
    ]


def _on_device(page: nuts_device.Page) -> list[Dot]:
    """What one chain took there, the slowest first; what failed is last."""
    rows = [row for row in page.rows if row.chains == 1]
    ours = next((row.ms for row in rows if row.record.system == "ours_dense"), None)
    kinds = {"jax_leapfrog": "loops without a sampler"}
    return [
        Dot(
            row.label,
            Spread(row.ms, row.ms, row.ms) if row.ms else None,
            "ours"
            if row.record.system.startswith("ours")
            else kinds.get(row.record.system, "other systems"),
            tables.number(row.ms) if row.ms else row.failure.split(":")[0],
            tables.number(row.ms / ours) if row.ms and ours else "",
        )
        for row in sorted(rows, key=lambda row: -(row.ms or 0.0))
    ]


def _published(paper: Paper) -> list[Dot]:
    dots = []
    for row in sorted(paper["table"], key=lambda row: -row["ms_per_leapfrog"]):
        ms = row["ms_per_leapfrog"]
        label = f"{row['label']}, {row['hardware'].split(':')[0]}"
        ratio = tables.number(nuts_rows.paper_ratios(paper, row)[0])
        dots.append(Dot(label, Spread(ms, ms, ms), "published", f"{ms:.1f}", ratio))
    return dots


def _kind(row: Row) -> str:
    if row.system.id.startswith("ppl_core"):
        return "ours"
    bare = row.system.group == BARE_LOOP
    return "loops without a sampler" if bare else "other systems"


def _draw_panel(
    axes: Axes, dots: Sequence[Dot], limits: tuple[float, float], ratio_of: str
) -> None:
    for place, dot in enumerate(dots):
        if dot.ms:
            plotting.dot(axes, place, dot.ms, fmt="o", color=COLORS[dot.kind])
        _columns(axes, place, dot.shown, dot.ratio)
    _columns(axes, -0.95, "ms", ratio_of)
    axes.set_xscale("log")
    axes.set_xlim(limits)
    ticks = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
    ticks = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    plotting.name_rows(axes, [dot.label for dot in dots])


def _columns(axes: Axes, place: float, *texts: str) -> None:
    """Two numbers, or their heads, to the right of a row."""
    for x, text in zip((1.04, 1.29), texts, strict=True):
        axes.text(x, place, text, transform=axes.get_yaxis_transform(), va="center")


def _caption(rows: Sequence[Row], paper: Paper) -> str:
    problem = nuts_rows.any_record(rows).problem
    parts = [
        "Dots: medians; whiskers: range over the rounds. A ratio is the median of the "
        "ratios within a round, not the quotient of the medians shown.",
        "Ours reads the rows in blocks that fit a core's cache; data whole: in one "
        "block. [rows, dim], [dim, rows]: how the features lie in memory. One pass: "
        "one product of the features with a vector.",
        f"Measured on {tables.machine(nuts_rows.all_records(rows))}.",
        f"Data: {problem.get('source', 'source not recorded')}.",
    ]
    if nuts_rows.is_papers_size(rows, paper):
        hardware = "; ".join(dict.fromkeys(row["hardware"] for row in paper["table"]))
        parts.append(f"Published: {paper['source']} ({hardware}).")
    else:
        parts.append(
            f"The paper's times are for N = {paper['rows']:,} and are not drawn."
        )
    drawn = nuts_rows.slowest_first(rows, *OF_ONE_CHAIN, ALL_CORES)
    failures = [
        f"{row.system.label}: {textwrap.shorten(row.failure, 120, placeholder=' ...')}"
        for row in drawn
        if row.records and row.failure
    ]
    if failures:
        parts.append(f"Without a time: {'; '.join(failures)}.")
    return " ".join(parts)
