"""What two models learned in as many steps: held-out bits/dim by step."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.records.record import Record

COLORS = ("#c8553d", "#4a6fa5", "#2c7a4b")


def newest(records: Sequence[Record]) -> list[Record]:
    """The curves that were made together last; ValueError for no records."""
    if not records:
        raise ValueError("records: given none, wanted a learning curve's")
    last = records[-1].provenance["bench_id"]
    return [r for r in records if r.provenance["bench_id"] == last]


def markdown(curves: Sequence[Record]) -> str:
    """The table: a line for each step at which all were judged, and the provenance."""
    problem = curves[0].problem
    names = [f"{r.system}, {r.work['parameters']:,} weights" for r in curves]
    by_step = [
        dict(
            zip(r.work["held_out_steps"], r.work["held_out_bits_per_dim"], strict=True)
        )
        for r in curves
    ]
    steps = sorted(set.intersection(*(set(held) for held in by_step)))
    head = ("step", *names)
    rule = ["---:"] * len(head)
    lines = [
        (f"{step:,}", *(f"{held[step]:.4f}" for held in by_step)) for step in steps
    ]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
    parts = [
        "# What is learned in as many steps",
        f"Bits/dim of {problem['num_held_out_images']} images held out, exact, of "
        f"whole images. Images: {problem['source']}. Both saw the same "
        f"{problem['batch_size']} images at each step.",
        table,
        "\n".join(_notes(curves)),
    ]
    return "\n\n".join(parts) + "\n"


def _notes(curves: Sequence[Record]) -> list[str]:
    said = []
    for r in curves:
        hardware = r.hardware
        commit = r.provenance.get("commit")
        dirty = ", with uncommitted changes" if r.provenance.get("dirty") else ""
        said.append(
            f"- {r.system}: {r.problem['model']}; {r.work['step_seconds']:.2f} s a "
            f"step, median; {hardware.get('cpu')}, {hardware.get('cores')} cores, "
            f"{str(r.provenance.get('started_at'))[:10]}; commit {commit}{dirty}; "
            f"`{' '.join(r.provenance['argv'])}`."
        )
    return said


def draw(curves: Sequence[Record], path: Path) -> None:
    """Writes the plot to `path`, a PNG: held-out points on lines, training thin."""
    figure = Figure(figsize=(9.0, 5.4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, 0.2, 0.89, 0.7))
    lows = []
    for record, color in zip(curves, COLORS, strict=False):
        work = record.work
        axes.plot(
            work["train_steps"],
            work["train_bits_per_dim"],
            color=color,
            linewidth=0.7,
            alpha=0.45,
            label=f"{record.system}: trained on",
        )
        axes.plot(
            work["held_out_steps"],
            work["held_out_bits_per_dim"],
            "o-",
            color=color,
            linewidth=1.8,
            markersize=4.5,
            label=f"{record.system}: held out, weights averaged",
        )
        lows += [min(work["held_out_bits_per_dim"]), min(work["train_bits_per_dim"])]
    axes.set_ylim(min(lows) - 0.1, 8.0)
    axes.set_xlim(left=0)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("bits/dim", fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8.5, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.text(
        0.015,
        0.96,
        "Image Transformer and a PixelCNN of its size, as many steps",
        fontsize=12.5,
        fontweight="bold",
        verticalalignment="center",
    )
    problem = curves[0].problem
    caption = (
        f"{problem['source']}. {problem['num_held_out_images']} images held out; "
        f"{problem['batch_size']} trained on a step. Machine: "
        f"{curves[0].hardware.get('cpu')}, {curves[0].hardware.get('cores')} cores."
    )
    figure.text(0.015, 0.02, "\n".join(textwrap.wrap(caption, 140)), fontsize=8)
    figure.savefig(path, dpi=130)
