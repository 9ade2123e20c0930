"""The figures of the programs, in one style."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}


@contextlib.contextmanager
def figure(path: Path, *, width: float = 9.0, height: float = 4.2) -> Iterator[Figure]:
    """A figure of so many inches to draw on, which is then written to `path`."""
    with matplotlib.rc_context(STYLE):
        made = Figure(figsize=(width, height), dpi=100, layout="constrained")
        yield made
        made.savefig(path)
