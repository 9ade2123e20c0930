"""The scaling plots: the paper's two figures again, beside what is measured here.

One figure a model, in panels that share no axis where they share no hardware: measured
points are filled circles with their ranges, published ones diamonds, projections
dashed lines, and what would be linear a thin grey one.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.report import scaling
from experiments.report.scaling import Measured, Page, Projected

PUBLISHED, PROJECTED, SUPPOSED = "#2c7a4b", "#c8553d", "#d9a066"
IDEAL, ALONE = "#999999", "#222222"
CASES = {"one_process": "#4a6fa5", "processes": "#7d5ba6", "independent": "#b8860b"}
ON = ("#c8553d", "#8a5a44", "#4a6fa5")
SIZE = (11.0, 8.6)  # inches
GRID = "#dddddd"


def figure_names(page: Page) -> list[str]:
    """The files that `draw` makes: one for each of the paper's models."""
    return [f"scaling_{model['id']}.png" for model in page.paper["models"]]


def draw(page: Page, folder: Path) -> None:
    """Writes one PNG for each of the paper's models, our model's curves beside it.

    A panel without anything to show says why.
    """
    for model in page.paper["models"]:
        figure = Figure(figsize=SIZE)
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 2)
        curves = [c for c in page.paper_projected if c.subject == model["id"]]
        subject = model["subject"]
        _draw_paper(axes[0, 0], model, curves)
        _draw_efficiency(axes[0, 1], model, curves)
        rows = [row for row in page.measured if row.subject == subject]
        _draw_measured(axes[1, 0], rows, page)
        _draw_projected(axes[1, 1], [c for c in page.projected if c.subject == subject])
        _write(
            figure,
            model["label"],
            _caption(page, model, rows),
            folder / (f"scaling_{model['id']}.png"),
        )


def _draw_paper(
    axes: Axes, model: dict[str, object], curves: Sequence[Projected]
) -> None:
    """Examples a second over TPUv2 chips, as the paper's figure has them."""
    chips, rates = _points(model)
    last = chips[-1]
    axes.plot(
        [0, last],
        [0, last * rates[0]],
        color=IDEAL,
        linewidth=0.9,
        label="linear from one chip",
    )
    _dashed(axes, curves, "examples_per_second", lambda rate, chips: rate)
    axes.plot(
        chips,
        rates,
        "D",
        color=PUBLISHED,
        markeredgecolor="white",
        markersize=7,
        label="published",
    )
    axes.set_xticks([1, 16, 64, 128, 256])
    axes.set_xlim(-6, 266)
    axes.set_ylim(bottom=0)
    _finish(
        axes,
        f"Figure {model['figure']} of the paper (its slope: {model['slope']:.2f})",
        "TPUv2 chips",
        "examples/s",
    )


def _draw_efficiency(
    axes: Axes, model: dict[str, object], curves: Sequence[Projected]
) -> None:
    """The same, over as many times one chip."""
    chips, rates = _points(model)
    axes.axhline(1.0, color=IDEAL, linewidth=0.9, label="linear from one chip")
    _dashed(
        axes,
        curves,
        "examples_per_second",
        lambda rate, chips: rate / chips / rates[0],
    )
    axes.plot(
        chips,
        [rate / n / rates[0] for n, rate in zip(chips, rates, strict=True)],
        "D",
        color=PUBLISHED,
        markeredgecolor="white",
        markersize=7,
        label="published",
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 4, 16, 64, 128, 256], ["1", "4", "16", "64", "128", "256"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0.7, 1.1)
    _finish(
        axes,
        "The same as efficiency, relative to one chip",
        "TPUv2 chips",
        "efficiency",
    )


def _draw_measured(axes: Axes, rows: Sequence[Measured], page: Page) -> None:
    """Examples a second over this machine's cores, weak scaling, with ranges."""
    weak = [row for row in rows if row.scaling == "weak" and row.rate]
    base = next((row for row in weak if row.case == "one_device"), None)
    title = "Measured here, weak scaling"
    if base is None or base.rate is None:
        _empty(axes, title, "not measured")
        return
    most = max(row.devices for row in weak)
    axes.plot(
        [1, most],
        [base.rate.median, most * base.rate.median],
        color=IDEAL,
        linewidth=0.9,
        label="linear from one core",
    )
    _whiskers(axes, [base], 0.0, ALONE, "one device")
    for place, (case, color) in enumerate(CASES.items()):
        held = [row for row in weak if row.case == case]
        shift = 0.035 * (place - 1)  # so that ranges do not hide each other
        if held:
            _whiskers(axes, held, shift, color, scaling.CASES[case])
    axes.set_xticks(sorted({row.devices for row in weak}))
    axes.set_xlim(0.8, most + 0.2)
    axes.set_ylim(bottom=0)
    _finish(axes, title, f"cores of {scaling.machine(page)}", "examples/s")


def _draw_projected(axes: Axes, curves: Sequence[Projected]) -> None:
    """Examples a second projected from the measured step, log axes."""
    title = "Projected from the measured step"
    usable = [curve for curve in curves if not curve.trouble]
    if not usable:
        _empty(axes, title, "not projected")
        return
    for curve, color in zip(usable, ON, strict=False):
        devices = curve.record.work["devices"]
        rates = curve.record.work["examples_per_second"]
        axes.plot(
            devices,
            [n * rates[0] for n in devices],
            color=IDEAL,
            linewidth=0.9,
            label="linear from one device" if curve is usable[-1] else None,
        )
        efficiency = rates[-1] / devices[-1] / rates[0]
        on = "TPUv2 cores" if curve.on == "TPUv2" else curve.on
        axes.plot(
            devices,
            rates,
            "--",
            color=color,
            linewidth=1.8,
            label=f"projected: {on} ({efficiency:.2f} at {devices[-1]})",
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    devices = usable[0].record.work["devices"]
    axes.set_xticks(devices, [str(n) for n in devices])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 60)  # above the lines, where the legend is
    _finish(axes, title, "devices, the same batch each", "examples/s")


def _points(model: dict[str, object]) -> tuple[list[int], list[float]]:
    return list(model["chips"]), list(model["examples_per_second"])  # type: ignore[call-overload]


def _dashed(axes: Axes, curves: Sequence[Projected], name: str, of: object) -> None:
    colors = {"links": PROJECTED, "hosts": SUPPOSED}
    for curve in curves:
        work = curve.record.work
        values = [
            of(value, chips)  # type: ignore[operator]
            for value, chips in zip(work[name], work["chips"], strict=True)
        ]
        axes.plot(
            work["chips"],
            values,
            "--",
            color=colors[curve.variant],
            linewidth=1.8,
            label=f"projected: {scaling.VARIANTS[curve.variant]}",
        )


def _whiskers(
    axes: Axes, rows: Sequence[Measured], shift: float, color: str, label: str
) -> None:
    rates = [row.rate for row in rows if row.rate]
    axes.errorbar(
        [row.devices + shift for row in rows if row.rate],
        [rate.median for rate in rates],
        yerr=[
            [rate.median - rate.low for rate in rates],
            [rate.high - rate.median for rate in rates],
        ],
        fmt="o",
        color=color,
        capsize=3,
        markersize=6,
        linewidth=1.2,
        label=f"measured: {label}",
    )


def _empty(axes: Axes, title: str, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10)


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _caption(page: Page, model: dict[str, object], rows: Sequence[Measured]) -> str:
    named = f"{rows[0].label}, on {rows[0].source}" if rows else "nothing yet"
    said = [
        f"Above: published points and the projection of that model, calibrated by its "
        f"one-chip figure. Below: {named}.",
        "Published hardware: " + str(page.paper["hardware"]) + ".",
        f"Measured: {scaling.machine(page)}, one thread a device, pinned; medians and "
        "ranges over the rounds.",
        "Dashed lines are arithmetic, not measurements.",
    ]
    return " ".join(said)


def _write(figure: Figure, title: str, caption: str, path: Path) -> None:
    figure.suptitle(f"Scaling: {title}", x=0.012, ha="left", fontsize=13, weight="bold")
    lines = textwrap.wrap(caption, 165)
    figure.text(0.012, 0.012, "\n".join(lines), fontsize=8, linespacing=1.35)
    figure.subplots_adjust(
        left=0.07,
        right=0.985,
        top=0.9,
        bottom=0.085 + 0.02 * len(lines),
        hspace=0.32,
        wspace=0.2,
    )
    figure.savefig(path, dpi=140)
