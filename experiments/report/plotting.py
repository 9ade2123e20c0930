"""The style that every plot shares, legible at a width of 800 pixels."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 8.0  # inches
DPI = 140
OURS, OTHER, LOOP, PUBLISHED = "#c8553d", "#4a6fa5", "#8fa3bf", "#2c7a4b"
IDEAL, GRID, TEXT = "#999999", "#dddddd", "#222222"
TITLE_SIZE, LABEL_SIZE, TICK_SIZE = 13.0, 9.5, 9.0  # points


def new_figure(height: float, title: str, caption: str = "") -> Figure:
    """A figure with its title above and its caption below.  height: in inches."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    figure.text(
        0.12 / WIDTH,
        1 - 0.12 / height,
        title,
        fontsize=TITLE_SIZE,
        fontweight="bold",
        verticalalignment="top",
        parse_math=False,
    )
    if caption:
        figure.text(
            0.12 / WIDTH,
            0.1 / height,
            "\n".join(caption_lines(caption)),
            fontsize=8,
            verticalalignment="bottom",
            parse_math=False,  # a reason may hold a dollar sign
            linespacing=1.3,
        )
    return figure


def caption_lines(caption: str) -> list[str]:
    """The caption as lines that fit the figure's width."""
    return textwrap.wrap(caption, 118)


def caption_height(caption: str) -> float:
    """The inches that the caption takes."""
    return 0.1 + 0.155 * len(caption_lines(caption))


def finish(axes: Axes, title: str, x: str, y: str, grid: str = "both") -> None:
    """Title, units, ticks and grid.  grid: the axis whose values are read off."""
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.set_xlabel(x, fontsize=LABEL_SIZE)
    axes.set_ylabel(y, fontsize=LABEL_SIZE)
    axes.tick_params(labelsize=TICK_SIZE)
    axes.grid(axis=grid, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Names the rows of a plot of dots, the first at the top."""
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), list(labels))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def dot(
    axes: Axes,
    place: float,
    values: tuple[float, float, float],
    color: str,
    marker: str = "o",
    label: str | None = None,
) -> None:
    """A median with its range, in the row `place`.  values: low, median, high."""
    low, middle, high = values
    axes.errorbar(
        [middle],
        [place],
        xerr=[[middle - low], [high - middle]],
        fmt=marker,
        color=color,
        markersize=7,
        elinewidth=1.6,
        label=label,
    )


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG."""
    figure.savefig(path, dpi=DPI)
