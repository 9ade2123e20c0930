"""What models learned in as many steps: held-out bits/dim by step."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.records.record import Record

# Of curves, one after another: colours first, then another line.
STYLES = [
    (color, line)
    for line in ("o-", "s--", "^:")
    for color in ("#c8553d", "#4a6fa5", "#2c7a4b")
]
TITLE = "What is learned in as many steps"
# The experiments that have curves: the names of their records, tables and plots.
IMAGE_TRANSFORMER = "image_transformer_learning"
VECTOR_QUANTIZED = "vector_quantized_learning"
AUDIO = "audio_learning"
EXPERIMENTS = (IMAGE_TRANSFORMER, VECTOR_QUANTIZED, AUDIO)


def newest(records: Sequence[Record]) -> list[Record]:
    """The curves that were made together last.

    Raises ValueError for no records, for more curves than can be told apart, and for
    curves that were not trained on and judged by the same, or never at the same step.
    """
    if not records:
        raise ValueError("records: given none, wanted a learning curve's")
    last = records[-1].provenance["bench_id"]
    curves = [r for r in records if r.provenance["bench_id"] == last]
    if len(curves) > len(STYLES):
        raise ValueError(
            f"records: given {len(curves)} curves, wanted at most the {len(STYLES)} "
            "that a plot tells apart"
        )
    for r in curves[1:]:
        if _seen(r) != _seen(curves[0]):
            raise ValueError(
                f"records: {r.system} saw {_seen(r)}, wanted what {curves[0].system} "
                f"saw, {_seen(curves[0])}"
            )
    if not _common_steps(curves):
        raise ValueError(
            f"records: no step at which all of {[r.system for r in curves]} were "
            "judged, wanted one at least"
        )
    return curves


def _seen(record: Record) -> dict[str, Any]:
    """What a model was trained on and judged by."""
    names = ("source", f"num_held_out_{_things(record)}", "batch_size")
    return {name: record.problem[name] for name in names} | {
        "seed": record.settings.get("seed")
    }


def _things(record: Record) -> str:
    """What is judged: "images" or "clips"."""
    return "images" if "num_held_out_images" in record.problem else "clips"


def _unit(record: Record) -> str:
    return "bits/dim" if _things(record) == "images" else "bits/sample"


def _yardsticks(record: Record) -> dict[str, float]:
    """What the same data cost without learning, by name."""
    return dict(record.problem.get("yardsticks", {}))


def _common_steps(curves: Sequence[Record]) -> list[int]:
    """At which all were judged."""
    return sorted(set.intersection(*(set(r.work["held_out_steps"]) for r in curves)))


def _who(curves: Sequence[Record]) -> str:
    return {1: "It saw", 2: "Both saw the same"}.get(len(curves), "All saw the same")


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
    steps = _common_steps(curves)
    head = ("step", *names)
    rule = ["---:"] * len(head)
    lines = [
        (f"{step:,}", *(f"{held[step]:.4f}" for held in by_step)) for step in steps
    ]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
    things, unit = _things(curves[0]), _unit(curves[0])
    kind = "a bound from above" if curves[0].settings.get("bound") else "exact"
    held_against = "".join(
        f" {name} takes {bits:.4f} of the same {things} held out."
        for name, bits in _yardsticks(curves[0]).items()
    )
    parts = [
        f"# {TITLE}",
        f"{unit.capitalize()} of {problem[f'num_held_out_{things}']} {things} held "
        f"out, {kind}, of whole {things}. {things.capitalize()}: {problem['source']}. "
        f"{_who(curves)} {problem['batch_size']} {things} at each step.{held_against}",
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
        averaged = {
            True: "weights averaged when judged; ",
            None: "whether weights were averaged when judged was not recorded; ",
        }.get(r.settings.get("averaged"), "")
        said.append(
            f"- {r.system}: {r.problem['model']}; {averaged}"
            f"{r.work['step_seconds']:.2f} s a step, median{_waited(r)}; "
            f"{hardware.get('cpu')}, {hardware.get('cores')} cores, "
            f"{str(r.provenance.get('started_at'))[:10]}; commit {commit}{dirty}; "
            f"`{' '.join(r.provenance['argv'])}`."
        )
    return said


def _waited(record: Record) -> str:
    """How long a step waited for its batch, where that is known."""
    seconds = record.work.get("data_seconds")
    return "" if seconds is None else f", {1000 * seconds:.1f} ms of it for its batch"


def _is_averaged(record: Record) -> bool:
    """Whether what was judged is known to be a moving average of weights."""
    return bool(record.settings.get("averaged"))


def draw(curves: Sequence[Record], path: Path) -> None:
    """Writes the plot to `path`, a PNG: held-out points on lines, training thin."""
    figure = Figure(figsize=(9.0, 5.4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, 0.2, 0.89, 0.7))
    lows = []
    for record, (color, line) in zip(curves, STYLES, strict=False):
        work = record.work
        averaged = ", weights averaged" if _is_averaged(record) else ""
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
            line,
            color=color,
            linewidth=1.8,
            markersize=4.5,
            label=f"{record.system}: held out{averaged}",
        )
        lows += [min(work["held_out_bits_per_dim"]), min(work["train_bits_per_dim"])]
    yardsticks = _yardsticks(curves[0])
    for name, bits in yardsticks.items():
        # Those close to each other are named above the highest of them, in their order.
        above = [other for other in yardsticks.values() if 0 <= other - bits < 0.2]
        below = [other for other in yardsticks.values() if 0 < bits - other < 0.2]
        axes.axhline(bits, color="#777777", linewidth=0.9, linestyle=(0, (6, 3)))
        axes.annotate(
            f"{name}, {bits:.2f}",
            (1.0, max(above)),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3 + 10 * len(below)),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="bottom",
            fontsize=8,
        )
        lows.append(bits)
    axes.set_ylim(min(lows) - 0.1, 8.0 if max(lows) < 8.0 else max(lows) + 0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel(_unit(curves[0]), fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8.5, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.text(
        0.015,
        0.96,
        TITLE,
        fontsize=12.5,
        fontweight="bold",
        verticalalignment="center",
    )
    problem, things = curves[0].problem, _things(curves[0])
    machines = dict.fromkeys(
        f"{r.hardware.get('cpu')}, {r.hardware.get('cores')} cores" for r in curves
    )
    caption = (
        f"{problem['source']}. {problem[f'num_held_out_{things}']} {things} held out; "
        f"{problem['batch_size']} trained on a step. Machine: {'; '.join(machines)}."
    )
    figure.text(0.015, 0.02, "\n".join(textwrap.wrap(caption, 140)), fontsize=8)
    figure.savefig(path, dpi=130)
