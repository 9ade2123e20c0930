"""The plots of NUTS with warm-up: ours over each system, and performance profiles."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from experiments.report import plotting, tables
from experiments.report import posteriors_rows as rows
from experiments.report.posteriors_rows import LABELS, OURS, Cell

WIDEST = 300.0  # factor of the best that is drawn
TICKS = (1, 3, 10, 30, 100, 300)
COLORS = ("#c8553d", "#4a6fa5", "#2c7a4b", "#8a5a9e", "#c9972c", "#5b9aa0", "#777777")
PANEL, GAP = 0.92, 0.07  # of the width: all panels, and between two

Table = Mapping[str, Mapping[str, Cell]]


@matplotlib.rc_context(plotting.STYLE)
def draw_ratios(made: Sequence[Cell], path: Path) -> None:
    """Writes to `path`, a PNG, ours over each system: a panel a number of chains.

    A dot is the geometric mean of min-ESS per second over the posteriors that both got
    right, the line from the lowest to the highest.  Nothing is written where no
    posterior was finished.
    """
    by_chains = rows.by_chains(made)
    if not by_chains:
        return
    machine = tables.machine([record for cell in made for record in cell.records])
    caption = (
        "Effective draws (of the quantity that has fewest) per second of sampling, "
        "ours over each system's: geometric mean over the posteriors that both got "
        "right (their number in brackets), line from the lowest to the highest. Right "
        f"of 1 ours is faster. {machine}."
    )
    others = [
        system
        for system in LABELS
        if system != OURS and any(c.system == system for c in made)
    ]
    below = plotting.caption_height(caption)
    size = 0.34 * max(len(others), 1)
    height = size + below + 1.35
    title = "Effective draws per second: how many times more ours gives"
    figure = plotting.new_figure(height, title, caption)
    left = 0.15
    width = (0.985 - left) / len(by_chains)
    means = {
        (chains, system): rows.ratios(table, system, rows.ess_per_second)
        for chains, table in by_chains.items()
        for system in others
    }
    drawn = [value for found in means.values() for value in found.values()]
    limits = min([0.5, *drawn]) / 1.5, max([2.0, *drawn]) * 1.5
    ticks = [10.0**k for k in range(-3, 5) if limits[0] <= 10.0**k <= limits[1]]
    for place, (chains, table) in enumerate(by_chains.items()):
        box = (
            left + place * width,
            (below + 0.6) / height,
            width - 0.03,
            size / height,
        )
        axes = figure.add_axes(box)
        if others:
            plotting.name_rows(axes, [LABELS[s] if place == 0 else "" for s in others])
        axes.axvline(1.0, color=plotting.IDEAL, linewidth=1.2)
        for row, system in enumerate(others):
            found = means[chains, system]
            mean = rows.geometric_mean(found.values())
            if mean is None:
                run = any(system in line for line in table.values())
                shown = "none right" if run else "not run"
                axes.annotate(shown, (1.0, row), (4, 0), **_ANNOTATION)
                continue
            color = plotting.OURS if mean.median >= 1 else plotting.OTHER
            plotting.dot(axes, row, mean, color=color, fmt="o")
            shown = f"{tables.number(mean.median)}x ({len(found)})"
            axes.annotate(shown, (mean.median, row), (0, 7), **_ANNOTATION)
        axes.set_xscale("log")
        axes.set_xlim(limits)
        axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("ours over the system (log scale)")
        axes.set_title(f"{chains} chains")
    figure.savefig(path)


_ANNOTATION: dict[str, Any] = {
    "textcoords": "offset points",
    "fontsize": 8,
    "ha": "center",
}


@matplotlib.rc_context(plotting.STYLE)
def draw_profiles(made: Sequence[Cell], path: Path) -> None:
    """Writes performance profiles to `path`, a PNG: a panel for each number of chains.

    A curve is the share of posteriors on which a system's min-ESS per second is within
    a factor of the best system's.
    """
    by_chains = rows.by_chains(made)
    if not by_chains:
        return
    records = [record for cell in made for record in cell.records]
    caption = (
        "Share of posteriors on which a system's min-ESS per second of sampling is "
        "within a factor of the best system's. Up and to the left is better; a curve "
        "ends at the share of posteriors that the system got right. "
        f"{tables.machine(records)}."
    )
    below = plotting.caption_height(caption)
    height = 3.9 + below
    title = "How often a system is within a factor of the fastest"
    figure = plotting.new_figure(height, title, caption)
    for place, (chains, table) in enumerate(by_chains.items()):
        width = PANEL / len(by_chains)
        box = (
            0.075 + place * width,
            (below + 0.5) / height,
            width - GAP,
            2.6 / height,
        )
        axes = figure.add_axes(box)
        for system in rows.systems_of(table):
            factors = rows.profile(table, rows.ess_per_second)[system]
            reached = sorted(factor for factor in factors if math.isfinite(factor))
            shares = [(i + 1) / len(factors) for i in range(len(reached))]
            axes.step(
                [1.0, *reached, WIDEST],
                [0.0, *shares, shares[-1] if shares else 0.0],
                where="post",
                color=_color(system),
                label=LABELS.get(system, system),
                linewidth=2.4 if system == OURS else 1.4,
            )
        axes.set_xscale("log")
        axes.set_xlim(1, WIDEST)
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.set_xticks([], minor=True)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("factor of the best (log scale)")
        axes.set_title(f"{chains} chains")
        if place == 0:
            axes.set_ylabel("share of posteriors")
            axes.legend(loc="lower right")
    figure.savefig(path)


def _color(system: str) -> str:
    """The same in every panel."""
    places = list(LABELS)
    return COLORS[places.index(system) % len(COLORS) if system in places else -1]
