"""Learning curves: held-out bits per dimension by step, as a table and a plot."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd  # type: ignore[import-untyped]
from matplotlib.axes import Axes

from experiments.records.record import Record
from experiments.report import plotting, selection, tables

# The styles of successive curves: colours first, then another line.
STYLES = [
    (color, line)
    for line in ("o-", "s--", "^:")
    for color in (plotting.OURS, plotting.OTHER, plotting.PUBLISHED)
]
CURVES_IN_A_TABLE = 4
FAR = 2.5  # bits above the lowest point, beyond which a baseline is not drawn
SMOOTHED = 0.05  # the part of a training curve that a running median covers
HEIGHT = 5.4  # inches
# The experiments that have curves: the names of their records, tables and plots.
IMAGE_TRANSFORMER = "image_transformer_learning"
VECTOR_QUANTIZED = "vector_quantized_learning"
AUDIO = "audio_learning"
EXPERIMENTS = (IMAGE_TRANSFORMER, VECTOR_QUANTIZED, AUDIO)
TRAIN = "train_bits_per_dim"  # of raw weights, on training batches
HELD_OUT = "held_out_bits_per_dim"  # of the EMA where there is one
HELD_OUT_RAW = "held_out_bits_per_dim_raw"  # without the EMA, where it was evaluated
# Commits whose records lack settings["averaged"]; their configs kept an EMA.
AVERAGED_COMMITS = ("49f3120", "bf4c446", "f2539e9")
# What captions say.
LAG = "EMA weights lag: held-out bits far above training early on are no overfitting. "
COMMITMENT = (
    "The training loss includes the commitment loss and is not comparable with the "
    "held-out bound. "
)
MOVED = {  # configs by the names in old records
    "configs/vae/audio.gin": "configs/audio_vae/tones.gin",
    "configs/vae/natural_crops64.gin": "configs/vq_vae/natural_crops64.gin",
}


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
    if _common(curves).empty:
        raise ValueError(
            f"records: no step at which all of {[r.system for r in curves]} were "
            "evaluated, wanted at least one"
        )
    return curves


def _trained_on(record: Record) -> dict[str, Any]:
    names = ("source", f"num_held_out_{_examples(record)}", "batch_size")
    seed = {"seed": record.settings.get("seed")}
    return {name: record.problem[name] for name in names} | seed


def _examples(record: Record) -> str:
    return "images" if "num_held_out_images" in record.problem else "clips"


def _unit(record: Record) -> str:
    return "bits/dim" if _examples(record) == "images" else "bits/sample"


def _averaged(record: Record) -> bool | None:
    """Whether EMA weights were evaluated; None where that is not known."""
    known = str(record.provenance.get("commit")).startswith(AVERAGED_COMMITS)
    return record.settings.get("averaged", known or None)


def _reference_bits(record: Record) -> dict[str, float]:
    """Other codecs' bits on the same data; older records call them yardsticks."""
    problem = record.problem
    return dict(problem.get("reference_bits", problem.get("yardsticks", {})))


def _curve(record: Record, name: str) -> pd.Series:
    """The bits of TRAIN, HELD_OUT or HELD_OUT_RAW by step; empty where not recorded."""
    bits = record.work.get(name, [])
    steps = record.work["train_steps" if name == TRAIN else "held_out_steps"]
    return pd.Series(bits, steps[: len(bits)], dtype=float)


def _smoothed(record: Record) -> pd.Series:
    """The running median of the training loss."""
    bits = _curve(record, TRAIN)
    window = max(1, round(SMOOTHED * len(bits)))
    return bits.rolling(window, center=True, min_periods=1).median()


def _common(curves: Sequence[Record]) -> pd.DataFrame:
    """A column for each curve, a row for each step at which all were evaluated."""
    columns = [_curve(record, HELD_OUT) for record in curves]
    return pd.concat(columns, axis=1, join="inner").sort_index()


def _title(curves: Sequence[Record]) -> str:
    names = " and ".join(record.system for record in curves)
    data = curves[0].problem["name"].partition("(")[0]
    return f"{names} on {data}: held-out {_unit(curves[0])}"


def markdown(curves: Sequence[Record]) -> str:
    """The page: the last values, a line for each common step, and the provenance."""
    first, problem, examples = curves[0], curves[0].problem, _examples(curves[0])
    bound = "an upper bound" if first.settings.get("bound") else "exact"
    rows = _common(curves)
    finding = []
    for record, (_, common) in zip(curves, rows.items(), strict=True):
        bits = _curve(record, HELD_OUT)
        finding.append(
            f"{record.system}: {common.iloc[-1]:.2f} {_unit(first)} at step "
            f"{rows.index[-1]:,}, lowest {bits.min():.2f} at step {bits.idxmin():,}."
        )
    for name, bits in _reference_bits(first).items():
        finding.append(f"{name}: {bits:.2f} on the same data.")
    rows.columns = [f"{r.system}, {r.work['parameters']:,} weights" for r in curves]
    return tables.markdown_page(
        f"# {_title(curves)}",
        " ".join(finding),
        f"{_unit(first).capitalize()} of {problem[f'num_held_out_{examples}']} "
        f"whole held-out {examples}, {bound}. {examples.capitalize()}: "
        f"{problem['source']}. "
        f"Each step trains on {problem['batch_size']} {examples}"
        + (", the same for every model." if len(curves) > 1 else "."),
        *(
            tables.markdown_table(
                {"step": f"{step:,}"} | {name: f"{row[name]:.4f}" for name in names}
                for step, row in rows.iterrows()
            )
            for names in itertools.batched(rows.columns, CURVES_IN_A_TABLE)
        ),
        tables.bullets(map(_note, curves)),
    )


def _note(record: Record) -> str:
    hardware, origin = record.hardware, record.provenance
    averaged = {
        True: "evaluated with EMA weights; ",
        None: "the record does not say whether EMA weights were evaluated; ",
    }.get(_averaged(record), "")
    data = record.work.get("data_seconds")
    waiting = "" if data is None else f", {1000 * data:.1f} ms of it loading data"
    command = " ".join(origin["argv"])
    moved = [f"{old} is now {new}" for old, new in MOVED.items() if old in command]
    return (
        f"{record.system}: {record.problem['model']}; {averaged}"
        f"{record.work['step_seconds']:.2f} s per step (median){waiting}; "
        f"{hardware.get('cpu')}, {hardware.get('cores')} cores, "
        f"{str(origin.get('started_at'))[:10]}; commit {origin.get('commit')}"
        f"{tables.uncommitted(origin)}; `{command}`{'; '.join(['', *moved])}."
    )


@matplotlib.rc_context(plotting.STYLE)
def draw(curves: Sequence[Record], path: Path) -> None:
    """Writes the plot to `path`, a PNG: against steps, and against minutes.

    The y axis has every held-out point, every smoothed training loss below the highest
    of them, and every baseline within FAR of the lowest.
    """
    names = (HELD_OUT, HELD_OUT_RAW)
    held_out = pd.concat([_curve(r, name) for r in curves for name in names])
    baselines = {
        name: bits
        for name, bits in _reference_bits(curves[0]).items()
        if bits - held_out.min() < FAR
    }
    low = min(held_out.min(), *(_smoothed(r).min() for r in curves))
    high = max(held_out.max(), *baselines.values(), low)
    margin = 0.06 * (high - low) or 0.1
    caption = _caption(curves, baselines)
    figure = plotting.new_figure(HEIGHT, _title(curves), caption)
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_ylim(low - margin, high + margin)
    for record, (color, line) in zip(curves, STYLES, strict=False):
        _draw_curves(left, record, 1.0, color, line)
        _draw_curves(right, record, record.work["step_seconds"] / 60, color, line)
    _draw_baselines(left, baselines)
    _draw_baselines(right, baselines, named=True)
    unit = f"{_unit(curves[0])} (less is better)"
    left.set(title="By training step", xlabel="training step", ylabel=unit)
    right.set(title="By training time", xlabel="minutes of training")
    handles = left.get_legend_handles_labels()[0]
    corner, rows = (0.06, 0.935), -(-len(handles) // 2)
    figure.legend(handles=handles, ncols=2, loc="upper left", bbox_to_anchor=corner)
    top, bottom = 0.87 - 0.042 * rows, plotting.caption_height(caption) / HEIGHT + 0.115
    figure.subplots_adjust(left=0.08, right=0.985, top=top, bottom=bottom, wspace=0.06)
    figure.savefig(path)


def _caption(curves: Sequence[Record], drawn: Mapping[str, float]) -> str:
    problem, examples = curves[0].problem, _examples(curves[0])
    machines = dict.fromkeys(
        f"{r.hardware.get('cpu')}, {r.hardware.get('cores')} cores" for r in curves
    )
    raw = all(_averaged(r) is False or HELD_OUT_RAW in r.work for r in curves)
    caption = (
        f"Held out: {problem[f'num_held_out_{examples}']} {examples}. Training: the "
        f"loss on batches of {problem['batch_size']}, pale, and its running median. "
        f"{'' if raw else 'Raw weights were evaluated on training batches alone. '}"
        f"{LAG if any(map(_averaged, curves)) else ''}"
        f"{COMMITMENT if curves[0].experiment == VECTOR_QUANTIZED else ''}"
        f"Data: {problem['source']}. Machine: {'; '.join(machines)}. Minutes are steps "
        "times the median step time."
    )
    for name, bits in _reference_bits(curves[0]).items():
        caption += "" if name in drawn else f" Not drawn: {name}, {bits:.2f}."
    return caption


def _draw_curves(
    axes: Axes, record: Record, factor: float, color: str, line: str
) -> None:
    """Training thin, held out with markers; EMA and raw weights where both are known.

    factor: what steps are multiplied by.
    """
    weights = {True: ", EMA weights", False: ", raw weights", None: ""}
    held_out = f"held out{weights[_averaged(record)]}"
    for bits, style, label, more in (
        (_curve(record, TRAIN), "-", "", {"lw": 0.6, "alpha": 0.2}),
        (_smoothed(record), "-", "training, raw weights", {"lw": 1}),
        (_curve(record, HELD_OUT), line, held_out, {"lw": 1.8}),
        (_curve(record, HELD_OUT_RAW), line, "held out, raw weights", {"mfc": "white"}),
    ):
        label = f"{record.system}: {label}" if label else ""
        options: dict[str, Any] = {"lw": 1, "ms": 4.5, "color": color} | more
        if not bits.empty:
            axes.plot(factor * bits.index, bits, style, label=label, **options)
    axes.set_xlim(left=0)


def _draw_baselines(
    axes: Axes, baselines: Mapping[str, float], *, named: bool = False
) -> None:
    """Dashed lines; the names of all stand above the highest, in its order."""
    for bits in baselines.values():
        axes.axhline(bits, color="#777777", lw=0.9, linestyle=(0, (6, 3)))
    ordered = sorted(baselines.items(), key=lambda item: -item[1])
    if ordered and named:
        names = (textwrap.shorten(f"{name}, {bits:.2f}", 60) for name, bits in ordered)
        place = axes.get_yaxis_transform()
        style: dict[str, Any] = {"transform": place, "ha": "right", "va": "bottom"}
        axes.text(0.99, ordered[0][1], "\n".join(names), fontsize=8.5, **style)
