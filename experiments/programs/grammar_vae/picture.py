"""The picture: bits per production beside the baselines, and an interpolation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OURS, OTHER = "#c8553d", "#8fa3bf"
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
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.size": 9,
    "text.parse_math": False,
}


def draw(
    path: Path, shown: Mapping[str, tuple[Mapping[str, float], Sequence[str]]]
) -> None:
    """Writes the picture.

    shown: of each grammar, the bits per production by model, and decoded strings.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.4 + 2.5 * len(shown)), layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(1, 1.1))
        for (left, right), (name, (bits, strings)) in zip(
            rows, shown.items(), strict=True
        ):
            _bars(left, name, bits)
            _strings(right, strings)
        figure.savefig(path, dpi=100)


def _bars(axes: Axes, name: str, bits: Mapping[str, float]) -> None:
    values = [bits[kind] for kind in SHOWN]
    colours = [OURS if "VAE" in label else OTHER for label in SHOWN.values()]
    bars = axes.barh(list(SHOWN.values()), values, color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("bits per production, held-out strings")
    axes.set_xlim(0, 1.15 * max(values))
    axes.set_title(name)


def _strings(axes: Axes, strings: Sequence[str]) -> None:
    axes.set_axis_off()
    axes.set_title("decoded on a line between two latents")
    for place, string in enumerate(strings):
        text = string if len(string) <= LONGEST else string[: LONGEST - 3] + "..."
        height = 0.95 - 0.9 * place / max(1, len(strings) - 1)
        axes.text(0, height, text, family="monospace", transform=axes.transAxes)
