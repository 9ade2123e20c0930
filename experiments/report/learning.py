"""Learning curves: held-out bits per dimension by step, as a table and a plot."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from experiments.records.record import Record
from experiments.report import plotting, selection
from experiments.report.tables import bullets, markdown_page, markdown_table

# Of curves, one after another: colours first, then another line.
STYLES = [
    (color, line)
    for line in ("o-", "s--", "^:")
    for color in (plotting.OURS, plotting.OTHER, plotting.PUBLISHED)
]
CURVES_IN_A_TABLE = 4
FAR = 2.5  # bits above the lowest point, beyond which a baseline is not drawn
# The experiments that have curves: the names of their records, tables and plots.
IMAGE_TRANSFORMER = "image_transformer_learning"
VECTOR_QUANTIZED = "vector_quantized_learning"
AUDIO = "audio_learning"
EXPERIMENTS = (IMAGE_TRANSFORMER, VECTOR_QUANTIZED, AUDIO)
HELD_OUT = "held_out_bits_per_dim"  # of the EMA where settings["averaged"]
HELD_OUT_RAW = "held_out_bits_per_dim_raw"  # without the EMA, where it was evaluated


def newest_curves(records: Sequence[Record]) -> list[Record]:
    """The curves that were recorded together last.

    Raises ValueError for no records, for more curves than a plot can show, for curves
    of other data, batches or seeds than the first, and for curves without a common
    step.
    """
    curves = selection.newest(records)
    if len(curves) > len(STYLES):
        raise ValueError(
            f"records: given {len(curves)} curves, wanted at most the {len(STYLES)} "
            "that a plot can show"
        )
    wanted = _trained_on(curves[0])
    for curve in curves[1:]:
        if _trained_on(curve) != wanted:
            raise ValueError(
                f"records: {curve.system}: given {_trained_on(curve)}, wanted that of "
                f"{curves[0].system}, {wanted}"
            )
    if not _common_steps(curves):
        raise ValueError(
            f"records: no step at which all of {[r.system for r in curves]} were "
            "evaluated, wanted at least one"
        )
    return curves


def _trained_on(record: Record) -> dict[str, Any]:
    names = ("source", f"num_held_out_{_examples(record)}", "batch_size")
    return {name: record.problem[name] for name in names} | {
        "seed": record.settings.get("seed")
    }


def _examples(record: Record) -> str:
    return "images" if "num_held_out_images" in record.problem else "clips"


def _unit(record: Record) -> str:
    return "bits/dim" if _examples(record) == "images" else "bits/sample"


def _baselines(record: Record) -> dict[str, float]:
    """What the same held-out data cost in a file format, by its name."""
    return dict(record.problem.get("yardsticks", {}))


def _common_steps(curves: Sequence[Record]) -> list[int]:
    """The steps at which all were evaluated."""
    return sorted(set.intersection(*(set(r.work["held_out_steps"]) for r in curves)))


def _by_step(record: Record) -> dict[int, float]:
    return dict(zip(record.work["held_out_steps"], record.work[HELD_OUT], strict=True))


def _title(curves: Sequence[Record]) -> str:
    names = " and ".join(record.system for record in curves)
    return f"{names}: held-out {_unit(curves[0])}"


def markdown(curves: Sequence[Record]) -> str:
    """The page: the last values, a line for each common step, and the provenance."""
    problem, examples = curves[0].problem, _examples(curves[0])
    bound = "an upper bound" if curves[0].settings.get("bound") else "exact"
    steps = _common_steps(curves)
    tables = []
    for group in itertools.batched(curves, CURVES_IN_A_TABLE):
        head = (
            "step",
            *(f"{r.system}, {r.work['parameters']:,} weights" for r in group),
        )
        values = [_by_step(record) for record in group]
        lines = [(f"{step:,}", *(f"{v[step]:.4f}" for v in values)) for step in steps]
        tables.append(markdown_table(head, lines))
    return markdown_page(
        f"# {_title(curves)}",
        _finding(curves),
        f"{_unit(curves[0]).capitalize()} of {problem[f'num_held_out_{examples}']} "
        f"whole held-out {examples}, {bound}. {examples.capitalize()}: "
        f"{problem['source']}. "
        f"Each step trains on {problem['batch_size']} {examples}"
        + (", the same for every model." if len(curves) > 1 else "."),
        *tables,
        bullets(map(_note, curves)),
    )


def _finding(curves: Sequence[Record]) -> str:
    last = _common_steps(curves)[-1]
    parts = []
    for record in curves:
        bits = _by_step(record)
        lowest = min(bits, key=bits.__getitem__)
        parts.append(
            f"{record.system}: {bits[last]:.2f} {_unit(record)} at step {last:,}, "
            f"lowest {bits[lowest]:.2f} at step {lowest:,}."
        )
    parts += [
        f"{name}: {cost:.2f} on the same data."
        for name, cost in _baselines(curves[0]).items()
    ]
    return " ".join(parts)


def _note(record: Record) -> str:
    hardware, origin = record.hardware, record.provenance
    dirty = ", with uncommitted changes" if origin.get("dirty") else ""
    averaged = {
        True: "evaluated with EMA weights; ",
        None: "the record does not say whether EMA weights were evaluated; ",
    }.get(record.settings.get("averaged"), "")
    data = record.work.get("data_seconds")
    waiting = "" if data is None else f", {1000 * data:.1f} ms of it loading data"
    return (
        f"{record.system}: {record.problem['model']}; {averaged}"
        f"{record.work['step_seconds']:.2f} s a step, median{waiting}; "
        f"{hardware.get('cpu')}, {hardware.get('cores')} cores, "
        f"{str(origin.get('started_at'))[:10]}; commit {origin.get('commit')}{dirty}; "
        f"`{' '.join(origin['argv'])}`."
    )


def draw(curves: Sequence[Record], path: Path) -> None:
    """Writes the plot to `path`, a PNG: against steps, and against minutes.

    The y axis has every held-out point and every baseline within FAR of the lowest of
    them; training losses may leave it.
    """
    problem, examples = curves[0].problem, _examples(curves[0])
    machines = dict.fromkeys(
        f"{r.hardware.get('cpu')}, {r.hardware.get('cores')} cores" for r in curves
    )
    lowest = min(min(_held_out(r)) for r in curves)
    baselines = _baselines(curves[0])
    drawn = {k: bits for k, bits in baselines.items() if bits - lowest < FAR}
    far = (f"{k}: {bits:.2f}" for k, bits in baselines.items() if k not in drawn)
    caption = (
        f"{problem[f'num_held_out_{examples}']} held-out {examples}; "
        f"{problem['batch_size']} a training step. Data: {problem['source']}. Machine: "
        f"{'; '.join(machines)}. Minutes are steps times the median step time."
        + "".join(f" Not drawn: {one}." for one in far)
    )
    figure = plotting.new_figure(5.2, _title(curves), caption)
    left, right = figure.subplots(1, 2, sharey=True)
    low = min(lowest, *drawn.values()) if drawn else lowest
    high = max(max(_held_out(r)) for r in curves)
    high = max(high, *drawn.values()) if drawn else high
    margin = 0.06 * (high - low) or 0.1
    left.set_ylim(low - margin, high + margin)
    _curves(left, curves, lambda record: 1.0)
    _curves(right, curves, lambda record: record.work["step_seconds"] / 60)
    _draw_baselines(left, drawn)
    _draw_baselines(right, drawn, named=True)
    plotting.finish(left, "against steps", "training step", _unit(curves[0]))
    plotting.finish(right, "against time", "minutes", "")
    handles, labels = left.get_legend_handles_labels()
    rows = -(-len(handles) // 2)
    figure.legend(
        handles,
        labels,
        fontsize=8.5,
        frameon=False,
        ncols=2,
        loc="upper left",
        bbox_to_anchor=(0.06, 0.93),
    )
    figure.subplots_adjust(
        left=0.08,
        right=0.985,
        top=0.86 - 0.042 * rows,
        bottom=0.115 + plotting.caption_height(caption) / 5.2,
        wspace=0.06,
    )
    plotting.save(figure, path)


def _held_out(record: Record) -> list[float]:
    """Every held-out value of a record, of EMA and of raw weights."""
    return [*record.work[HELD_OUT], *record.work.get(HELD_OUT_RAW, ())]


def _curves(axes: Axes, curves: Sequence[Record], scale: Any) -> None:
    """Training thin, held out with markers; EMA and raw weights where both are known.

    scale: from a record to what its steps are multiplied by.
    """
    for record, (color, line) in zip(curves, STYLES, strict=False):
        work, factor = record.work, scale(record)
        averaged = record.settings.get("averaged")
        weights = ", EMA weights" if averaged else ""
        axes.plot(
            [factor * step for step in work["train_steps"]],
            work["train_bits_per_dim"],
            color=color,
            linewidth=0.7,
            alpha=0.4,
            label=f"{record.system}: training",
        )
        steps = [factor * step for step in work["held_out_steps"]]
        axes.plot(
            steps,
            work[HELD_OUT],
            line,
            color=color,
            linewidth=1.8,
            markersize=4.5,
            label=f"{record.system}: held out{weights}",
        )
        if HELD_OUT_RAW in work:
            axes.plot(
                steps,
                work[HELD_OUT_RAW],
                line,
                color=color,
                linewidth=1.0,
                markersize=4.5,
                markerfacecolor="white",
                label=f"{record.system}: held out, raw weights",
            )
    axes.set_xlim(left=0)


def _draw_baselines(
    axes: Axes, baselines: Mapping[str, float], *, named: bool = False
) -> None:
    """Dashed lines; names of those close to each other stand above the highest."""
    for name, bits in baselines.items():
        axes.axhline(bits, color="#777777", linewidth=0.9, linestyle=(0, (6, 3)))
        if not named:
            continue
        above = [other for other in baselines.values() if 0 <= other - bits < 0.2]
        below = [other for other in baselines.values() if 0 < bits - other < 0.2]
        axes.annotate(
            textwrap.shorten(f"{name}, {bits:.2f}", 60, placeholder=" ..."),
            (1.0, max(above)),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3 + 11 * len(below)),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="bottom",
            fontsize=8.5,
        )
