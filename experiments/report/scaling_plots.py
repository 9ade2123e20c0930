"""The scaling plots: efficiency alone, one figure for each of the paper's models.

Measured, published and projected values have panels of their own, on one scale of
efficiency, and each panel's title names its data.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from experiments.report import plotting, tables
from experiments.report.plotting import IDEAL, PUBLISHED
from experiments.report.scaling_rows import CASES as LABELS
from experiments.report.scaling_rows import (
    VARIANTS,
    Measured,
    Page,
    Projected,
    efficiencies,
)

PROJECTED, SUPPOSED = "#c8553d", "#d9a066"
CASES = {"one_process": "#4a6fa5", "processes": "#7d5ba6", "independent": "#b8860b"}
ON = (PROJECTED, "#8a5a44", "#4a6fa5")
MARKERS = {"weak": "o", "strong": "s"}
HEIGHT = 8.2  # inches
EFFICIENCY = "efficiency (1 = linear)"
LIMITS = 0.6, 1.08  # of the scale of efficiency, wider where values need it


def figure_names(page: Page) -> list[str]:
    """The files that `draw` writes: one for each of the paper's models."""
    return [f"scaling_{model['id']}.png" for model in page.paper["models"]]


def draw(page: Page, folder: Path) -> None:
    """Writes one PNG for each of the paper's models; an empty panel says why."""
    for model, name in zip(page.paper["models"], figure_names(page), strict=True):
        subject, chips = model["subject"], model["chips"]
        rows = [r for r in page.measured if r.subject == subject and r.efficiency]
        curves = [c for c in page.projected if c.subject == subject and not c.failure]
        of_paper = [c for c in page.paper_projected if c.subject == model["id"]]
        points = efficiencies(chips, model["examples_per_second"])
        every = [value for row in rows for value in row.efficiency or ()] + points
        every += [v for curve in (*curves, *of_paper) for v in curve.efficiency()]
        limits = min(LIMITS[0], min(every) - 0.02), max(LIMITS[1], max(every) + 0.02)
        caption = (
            f"Measured on {tables.machine(page.records)}, pinned, one thread per "
            "device. Dots: medians; whiskers: range over the rounds. Published "
            f"hardware: {page.paper['hardware']}. Dashed lines are computed, not "
            "measured: the published model's from its one-chip figure, the other from "
            "the measured step of one core."
        )
        title = f"Scaling efficiency: {model['label'].split(',')[0]}"
        figure = plotting.new_figure(HEIGHT, title, caption)
        measured = figure.add_axes((0.36, 0.69, 0.61, 0.2))
        _draw_measured(measured, rows, limits)
        published = figure.add_axes((0.08, 0.165, 0.41, 0.31))
        lines = [
            (c, {"links": PROJECTED, "hosts": SUPPOSED}[c.variant]) for c in of_paper
        ]
        published.plot(
            chips, points, "D", color=PUBLISHED, markersize=6.5, label="published"
        )
        title = f"Published, Figure {model['figure']}: {model['label']}"
        _draw_lines(published, title, "TPUv2 chips", chips, lines, limits)
        projected = figure.add_axes((0.57, 0.165, 0.41, 0.31))
        if curves:
            lines = list(zip(curves, ON, strict=False))
            source = f", on {curves[0].source}" if curves[0].source else ""
            title = f"Projected: {curves[0].label}{source}"
            ticks = curves[0].devices[::3]
            _draw_lines(projected, title, "devices", ticks, lines, limits)
        else:
            _empty(projected, "Projected", "not projected")
        plotting.save(figure, folder / name)


def _draw_measured(
    axes: Axes, rows: Sequence[Measured], limits: tuple[float, float]
) -> None:
    """Efficiency over one device, a row for each case."""
    if not rows:
        _empty(axes, "Measured", "not measured")
        return
    order = list(LABELS)
    places = sorted({(row.devices, order.index(row.case)) for row in rows})
    axes.axvline(1.0, color=IDEAL, linewidth=1.0)
    for row in rows:
        assert row.efficiency is not None
        place = places.index((row.devices, order.index(row.case)))
        shift = 0.13 if row.scaling == "strong" else -0.13
        color, marker = CASES[row.case], MARKERS[row.scaling]
        plotting.dot(axes, place + shift, row.efficiency, color, marker)
    title = f"Measured here: {rows[0].label}, on {rows[0].record.problem['source']}"
    plotting.finish(axes, textwrap.fill(title, 62), EFFICIENCY)
    axes.set_xlim(limits)
    names = [LABELS[order[case]].replace(" (the ceiling)", "") for _, case in places]
    plotting.name_rows(
        axes,
        [
            f"{textwrap.fill(name, 37)}\n({devices} cores)"
            for name, (devices, _) in zip(names, places, strict=True)
        ],
    )
    for scaling in dict.fromkeys(row.scaling for row in rows):
        label = f"{scaling} scaling"
        axes.plot([], [], MARKERS[scaling], color="#555555", label=label)
    plotting.legend(axes, "upper right", (1.0, -0.26), 2)


def _draw_lines(
    axes: Axes,
    title: str,
    x: str,
    ticks: Sequence[int],
    lines: Sequence[tuple[Projected, str]],
    limits: tuple[float, float],
) -> None:
    """Projected efficiency over the number of devices.  lines: with their colours."""
    axes.axhline(1.0, color=IDEAL, linewidth=1.0)
    for curve, color in lines:
        label = curve.on
        if curve.variant:
            label = f"projected: {VARIANTS[curve.variant]}"
        axes.plot(
            curve.devices,
            curve.efficiency(),
            "--",
            color=color,
            linewidth=1.8,
            label=textwrap.fill(label, 38),
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), [str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    plotting.finish(axes, textwrap.fill(title, 44), x, EFFICIENCY)
    axes.set_ylim(limits)
    plotting.legend(axes, "lower left", (0.0, 0.0))


def _empty(axes: Axes, title: str, reason: str) -> None:
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.text(0.5, 0.5, reason, ha="center", transform=axes.transAxes, fontsize=10)
    axes.set_axis_off()
