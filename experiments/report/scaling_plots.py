"""The scaling plots: efficiency alone, one figure for each of the paper's models.

Measured, published and projected values have panels of their own, and each panel's
title names its data.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from experiments.report import plotting, tables
from experiments.report.plotting import IDEAL, PUBLISHED
from experiments.report.scaling_rows import CASES as LABELS
from experiments.report.scaling_rows import VARIANTS, Measured, Page, Projected

PROJECTED, SUPPOSED = "#c8553d", "#d9a066"
CASES = {"one_process": "#4a6fa5", "processes": "#7d5ba6", "independent": "#b8860b"}
ON = (PROJECTED, "#8a5a44", "#4a6fa5")
MARKERS = {"weak": "o", "strong": "s"}
HEIGHT = 8.2  # inches


def figure_names(page: Page) -> list[str]:
    """The files that `draw` writes: one for each of the paper's models."""
    return [f"scaling_{model['id']}.png" for model in page.paper["models"]]


def draw(page: Page, folder: Path) -> None:
    """Writes one PNG for each of the paper's models; an empty panel says why."""
    for model, name in zip(page.paper["models"], figure_names(page), strict=True):
        subject = model["subject"]
        rows = [row for row in page.measured if row.subject == subject]
        curves = [curve for curve in page.projected if curve.subject == subject]
        caption = (
            f"Measured on {tables.machine(page.records)}, one thread a device, pinned; "
            "medians and ranges over the rounds. Published hardware: "
            f"{page.paper['hardware']}. Dashed lines are computed, not measured: the "
            "published model's from its one-chip figure, the other from the measured "
            "step of one core."
        )
        title = f"Scaling efficiency: {model['label'].split(',')[0]}"
        figure = plotting.new_figure(HEIGHT, title, caption)
        measured = figure.add_axes((0.36, 0.69, 0.61, 0.2))
        _draw_measured(measured, rows)
        published = figure.add_axes((0.08, 0.165, 0.41, 0.31))
        _draw_published(
            published,
            model,
            [c for c in page.paper_projected if c.subject == model["id"]],
        )
        _draw_projected(figure.add_axes((0.57, 0.165, 0.41, 0.31)), curves)
        plotting.save(figure, folder / name)


def _draw_measured(axes: Axes, rows: Sequence[Measured]) -> None:
    """Efficiency over one device, a row for each case."""
    rows = [row for row in rows if row.efficiency]
    if not rows:
        _empty(axes, "Measured", "not measured")
        return
    places = sorted(
        {(row.devices, list(LABELS).index(row.case), row.case) for row in rows}
    )
    axes.axvline(1.0, color=IDEAL, linewidth=1.0)
    for row in rows:
        assert row.efficiency is not None
        place = places.index((row.devices, list(LABELS).index(row.case), row.case))
        shift = 0.13 if row.scaling == "strong" else -0.13
        plotting.dot(
            axes, place + shift, row.efficiency, CASES[row.case], MARKERS[row.scaling]
        )
    title = textwrap.fill(f"Measured: {rows[0].label}, on {rows[0].source}", 62)
    plotting.finish(axes, title, "efficiency over one device", "")
    labels = [
        f"{textwrap.fill(LABELS[case].replace(' (the ceiling)', ''), 37)}\n"
        f"({devices} cores)"
        for devices, _, case in places
    ]
    plotting.name_rows(axes, labels)
    for scaling, marker in MARKERS.items():
        if any(row.scaling == scaling for row in rows):
            axes.plot([], [], marker, color="#555555", label=f"{scaling} scaling")
    axes.plot([], [], color=IDEAL, linewidth=1.0, label="linear")
    axes.legend(
        fontsize=8.5,
        frameon=False,
        ncols=3,
        loc="upper right",
        bbox_to_anchor=(1.0, -0.26),
    )


def _draw_published(
    axes: Axes, model: Mapping[str, Any], curves: Sequence[Projected]
) -> None:
    """Published points and the projection of that model, over TPUv2 chips."""
    chips, rates = model["chips"], model["examples_per_second"]
    axes.axhline(1.0, color=IDEAL, linewidth=1.0)
    for curve in curves:
        work = curve.record.work
        values = [
            rate / n / rates[0]
            for rate, n in zip(work["examples_per_second"], work["chips"], strict=True)
        ]
        color = {"links": PROJECTED, "hosts": SUPPOSED}[curve.variant]
        label = f"projected: {VARIANTS[curve.variant]}"
        axes.plot(work["chips"], values, "--", color=color, linewidth=1.8, label=label)
    values = [rate / n / rates[0] for n, rate in zip(chips, rates, strict=True)]
    axes.plot(chips, values, "D", color=PUBLISHED, markersize=6.5, label="published")
    _devices_axis(axes, chips)
    title = f"Published, Figure {model['figure']}: {model['label']}"
    plotting.finish(axes, textwrap.fill(title, 44), "TPUv2 chips", "efficiency")
    axes.set_ylim(0.6, 1.08)
    axes.legend(fontsize=8.5, frameon=False, loc="lower left")


def _draw_projected(axes: Axes, curves: Sequence[Projected]) -> None:
    """Projected from the measured step of one core, the same batch on every device."""
    usable = [curve for curve in curves if not curve.failure]
    if not usable:
        _empty(axes, "Projected", "not projected")
        return
    axes.axhline(1.0, color=IDEAL, linewidth=1.0)
    for curve, color in zip(usable, ON, strict=False):
        devices = curve.record.work["devices"]
        rates = curve.record.work["examples_per_second"]
        values = [rate / n / rates[0] for n, rate in zip(devices, rates, strict=True)]
        label = textwrap.fill(curve.on, 34)
        axes.plot(devices, values, "--", color=color, linewidth=1.8, label=label)
    _devices_axis(axes, usable[0].record.work["devices"][::3])
    source = f", on {usable[0].source}" if usable[0].source else ""
    title = textwrap.fill(f"Projected: {usable[0].label}{source}", 44)
    plotting.finish(axes, title, "devices", "efficiency")
    axes.set_ylim(0.6, 1.08)
    axes.legend(fontsize=8.5, frameon=False, loc="lower left")


def _devices_axis(axes: Axes, ticks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), [str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _empty(axes: Axes, title: str, reason: str) -> None:
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.text(0.5, 0.5, reason, ha="center", transform=axes.transAxes, fontsize=10)
    axes.set_axis_off()
