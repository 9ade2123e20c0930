"""The scaling plots: efficiency alone, one figure for each of the paper's models.

Measured, published and projected values have panels of their own, on one scale of
efficiency, and each panel's title names its data.
"""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
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
    efficiency,
    points,
)

PROJECTED, SUPPOSED = "#c8553d", "#d9a066"
COMPUTED = {"links": PROJECTED, "hosts": SUPPOSED}
CASES = {"one_process": "#4a6fa5", "processes": "#7d5ba6", "independent": "#b8860b"}
ON = (PROJECTED, "#8a5a44", "#4a6fa5")
MARKERS = {"weak": "o", "strong": "s"}
HEIGHT = 8.2  # inches
EFFICIENCY = "efficiency (1 = linear)"
LIMITS = 0.6, 1.08  # of the scale of efficiency, wider where values need it


def figure_names(page: Page) -> list[str]:
    """The files that `draw` writes: one for each of the paper's models."""
    return [f"scaling_{model['id']}.png" for model in page.paper["models"]]


@matplotlib.rc_context(plotting.STYLE)
def draw(page: Page, folder: Path) -> None:
    """Writes one PNG for each of the paper's models; an empty panel says why."""
    for model, name in zip(page.paper["models"], figure_names(page), strict=True):
        subject, published = model["subject"], efficiency(points(model))
        rows = [r for r in page.measured if r.subject == subject and r.efficiency]
        curves = [c for c in page.projected if c.subject == subject and not c.failure]
        of_paper = [c for c in page.paper_projected if c.subject == model["id"]]
        every = [value for row in rows for value in row.efficiency or ()]
        for by_devices in (published, *(c.efficiency() for c in curves + of_paper)):
            every += by_devices.values()
        limits = min(LIMITS[0], min(every) - 0.02), max(LIMITS[1], max(every) + 0.02)
        scale: dict[str, Any] = {"ylabel": EFFICIENCY, "ylim": limits}
        caption = (
            f"Measured on {tables.machine(page.records)}, pinned, one thread per "
            "device. Dots: medians; whiskers: range over the rounds. Published "
            f"hardware: {page.paper['hardware']}; the paper shows no "
            "spread. Dashed lines are computed, not measured: the published model's "
            "from its one-chip figure, the other from the measured step of one core. "
            "TPUv2's line zigzags: its chips form tori, square at every second size, "
            "whose rings close at 16 a side."
        )
        title = f"Scaling efficiency: {model['label'].split(',')[0]}"
        figure = plotting.new_figure(HEIGHT, title, caption)
        _draw_measured(figure.add_axes((0.36, 0.69, 0.61, 0.2)), rows, limits)
        axes = figure.add_axes((0.08, 0.165, 0.41, 0.31))
        chips, values = list(published), list(published.values())
        axes.plot(chips, values, "D", c=PUBLISHED, ms=6.5, label="published")
        _draw_lines(axes, ((c, COMPUTED[c.variant]) for c in of_paper), chips)
        title = f"Published, Figure {model['figure']}: {model['label']}"
        axes.set(title=textwrap.fill(title, 44), xlabel="TPUv2 chips", **scale)
        axes = figure.add_axes((0.57, 0.165, 0.41, 0.31))
        if curves:
            _draw_lines(axes, zip(curves, ON, strict=False), curves[0].devices[::3])
            data = curves[0].record.problem.get("source", "data not recorded")
            title = f"Projected: {curves[0].label}, on {data}"
            axes.set(title=textwrap.fill(title, 44), xlabel="devices", **scale)
        else:
            _empty(axes, "Projected", "not projected")
        figure.savefig(folder / name)


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
        style = {"color": CASES[row.case], "fmt": MARKERS[row.scaling]}
        plotting.dot(axes, place + shift, row.efficiency, **style)
    title = f"Measured here: {rows[0].label}, on {rows[0].record.problem['source']}"
    axes.set(title=textwrap.fill(title, 62), xlabel=EFFICIENCY, xlim=limits)
    labels = [f"{LABELS[order[case]]}\n({devices} cores)" for devices, case in places]
    plotting.name_rows(axes, labels)
    for scaling in dict.fromkeys(row.scaling for row in rows):
        label = f"{scaling} scaling"
        axes.plot([], [], MARKERS[scaling], color="#555555", label=label)
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, -0.26), ncols=2)


def _draw_lines(
    axes: Axes, lines: Iterable[tuple[Projected, str]], ticks: Sequence[int]
) -> None:
    """Projected efficiency over the number of devices.  lines: with their colours."""
    axes.axhline(1.0, color=IDEAL, linewidth=1.0)
    for curve, color in lines:
        label = f"projected: {VARIANTS[curve.variant]}" if curve.variant else curve.on
        values, label = list(curve.efficiency().values()), textwrap.fill(label, 38)
        axes.plot(curve.devices, values, "--", c=color, lw=1.8, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), [str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(loc="lower left")


def _empty(axes: Axes, title: str, reason: str) -> None:
    axes.set_title(title)
    axes.text(0.5, 0.5, reason, ha="center", transform=axes.transAxes)
    axes.set_axis_off()
