"""The picture: bits per production beside the baselines, and an interpolation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes

from experiments.programs import pictures

OURS, OTHER, FAINT = "#c8553d", "#8fa3bf", "#777777"
SHOWN = {  # by model: its label
    "unigram": "unigram",
    "grammar": "grammar's probabilities",
    "parent": "given the parent too",
    "bound": "VAE, bound",
    "tighter bound": "VAE, tighter bound",
    "source": "the strings' source",
}
LONGEST = 46  # characters of a string that fit
STYLE: dict[Any, Any] = {
    "axes.grid.axis": "x",
    "axes.titlelocation": "left",
    "text.parse_math": False,
}


class Shown(NamedTuple):
    """What is drawn of one grammar."""

    bits: Mapping[str, float]  # per production, by model
    ends: Sequence[str]  # two strings
    between: Sequence[str]  # decoded on the line between their latents


def draw(path: Path, shown: Mapping[str, Shown]) -> None:
    """Writes the picture, with a row for each grammar."""
    height = 0.4 + 2.5 * len(shown)
    with (
        matplotlib.rc_context(STYLE),
        pictures.figure(path, height=height) as figure,
    ):
        rows = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(1, 1.1))
        for axes, (name, one) in zip(rows, shown.items(), strict=True):
            _bars(axes[0], name, one.bits)
            _strings(axes[1], one)


def _bars(axes: Axes, name: str, bits: Mapping[str, float]) -> None:
    values = [bits[kind] for kind in SHOWN]
    colours = [OURS if "VAE" in label else OTHER for label in SHOWN.values()]
    bars = axes.barh(list(SHOWN.values()), values, color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("bits per production, held-out strings")
    axes.set_xlim(0, 1.15 * max(values))
    axes.set_title(name)


def _strings(axes: Axes, shown: Shown) -> None:
    axes.set_axis_off()
    axes.set_title("decoded on the line between two strings' latents")
    first, last = (f"given: {string}" for string in shown.ends)
    lines = [first, *shown.between, last]
    for place, line in enumerate(lines):
        given = place in (0, len(lines) - 1)
        axes.text(
            0,
            0.95 - 0.95 * place / (len(lines) - 1),
            line if len(line) <= LONGEST else line[: LONGEST - 3] + "...",
            color=FAINT if given else "black",
            family="monospace",
            transform=axes.transAxes,
        )
