"""The style that every plot shares, legible at a width of 800 pixels."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 8.0  # inches
DPI = 140
OURS, OTHER, LOOP, PUBLISHED = "#c8553d", "#4a6fa5", "#8fa3bf", "#2c7a4b"
IDEAL = "#999999"
STYLE: dict[Any, Any] = {  # for matplotlib.rc_context
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "font.size": 9,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "text.parse_math": False,  # a reason may hold a dollar sign
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


def new_figure(height: float, title: str, caption: str) -> Figure:
    """A figure with its title above and its caption below.  height: in inches."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    size = min(13.0, 910 / len(title))
    top_left, bottom_left = (0.015, 1 - 0.12 / height), (0.015, 0.1 / height)
    figure.text(*top_left, title, fontsize=size, fontweight="bold", va="top")
    lines = "\n".join(_caption_lines(caption))
    figure.text(*bottom_left, lines, fontsize=8, va="bottom", linespacing=1.3)
    return figure


def _caption_lines(caption: str) -> list[str]:
    return textwrap.wrap(caption, 118)


def caption_height(caption: str) -> float:
    """The inches that the caption takes."""
    return 0.1 + 0.155 * len(_caption_lines(caption))


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Names the rows of a plot of dots, the first at the top."""
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), list(labels))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def dot(
    axes: Axes, place: float, values: tuple[float, float, float], **style: Any
) -> None:
    """A median with its range, in the row `place`.  values: low, median, high."""
    low, middle, high = values
    # A geometric mean of one value is off by a rounding error.
    error = [[max(middle - low, 0.0)], [max(high - middle, 0.0)]]
    axes.errorbar([middle], [place], xerr=error, markersize=7, elinewidth=1.6, **style)
