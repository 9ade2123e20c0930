"""The style that every plot shares, legible at a width of 800 pixels."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 8.0  # inches
DPI = 140
OURS, OTHER, LOOP, PUBLISHED = "#c8553d", "#4a6fa5", "#8fa3bf", "#2c7a4b"
IDEAL, GRID = "#999999", "#dddddd"
LABEL_SIZE, TICK_SIZE = 9.5, 9.0  # points


def new_figure(height: float, title: str, caption: str) -> Figure:
    """A figure with its title above and its caption below.  height: in inches."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    figure.text(
        0.12 / WIDTH,
        1 - 0.12 / height,
        title,
        fontsize=min(13.0, 910 / len(title)),
        fontweight="bold",
        verticalalignment="top",
        parse_math=False,
    )
    figure.text(
        0.12 / WIDTH,
        0.1 / height,
        "\n".join(_caption_lines(caption)),
        fontsize=8,
        verticalalignment="bottom",
        parse_math=False,  # a reason may hold a dollar sign
        linespacing=1.3,
    )
    return figure


def _caption_lines(caption: str) -> list[str]:
    return textwrap.wrap(caption, 118)


def caption_height(caption: str) -> float:
    """The inches that the caption takes."""
    return 0.1 + 0.155 * len(_caption_lines(caption))


def finish(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Title, units, ticks and grid."""
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.set_xlabel(x, fontsize=LABEL_SIZE)
    axes.set_ylabel(y, fontsize=LABEL_SIZE)
    axes.tick_params(labelsize=TICK_SIZE)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


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
    )


def legend(
    owner: Axes | Figure,
    place: Any,
    at: tuple[float, float],
    columns: int = 1,
    handles: Sequence[Any] = (),
) -> None:
    """Of `handles`, or of an axes' own.  place: the corner that is at `at`."""
    if isinstance(owner, Axes):
        handles = handles or owner.get_legend_handles_labels()[0]
    owner.legend(
        handles=handles,
        loc=place,
        bbox_to_anchor=at,
        ncols=columns,
        fontsize=8.5,
        frameon=False,
    )


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG."""
    figure.savefig(path, dpi=DPI)
