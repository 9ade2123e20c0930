"""The NUTS plot: what was measured, beside what was published."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from experiments.report import speedup, tables
from experiments.report.speedup import Paper, PaperRow, Row

WIDTH = 11.0  # inches, as are the next ones
LEFT, RIGHT = 3.1, 2.3  # for the labels and for the columns of numbers
BAR, GAP, LINE = 0.3, 1.05, 0.17
COLORS = {"ours": "#c8553d", "other": "#4a6fa5", "loop": "#a9bcd4", "paper": "#222222"}
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
TICKS += (100, 200, 500, 1000, 2000, 5000)


class Line(tuple[str, Row | None, PaperRow | None]):
    """A line of the plot: its label, what was measured, what was published."""


def nuts_speedup(rows: Sequence[Row], paper: Paper, path: Path) -> None:
    """Writes the plot of `rows` to `path`, a PNG.

    Bars are medians and whiskers ranges over the rounds, on a log axis; rows without a
    number keep their place, and the caption says why.  Published times are left out when
    the problem's size is not the paper's.
    """
