"""Plots of a run: trace, ranks, energy, pairs, and data beside their predictions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.inference.diagnostics import e_bfmi
from experiments.inference.scalars import scalars_of_tree
from experiments.inference.summary import Summary
from experiments.records.media import Image

MOST_ROWS = 8  # scalars of a trace or rank plot
MOST_PAIRED = 5
MOST_OBSERVED = 4
MOST_CHAINS = 8  # that have a line of their own
PREDICTED = 50  # data sets drawn anew that are shown
WIDTH = 9.0  # inches
DIVERGED = "#d62728"
STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "font.size": 8,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "text.parse_math": False,  # a name may hold a dollar sign
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}

Scalars = dict[str, np.ndarray]  # [chains, draws] by label


def plots(
    tree: xr.DataTree, summary: Summary, *, step: int = 1
) -> Iterator[tuple[str, Image]]:
    """Yields the name and the image of each plot.

    The scalars are those with the smallest effective sample sizes, at most 8 (trace,
    rank) or 5 (pair).  The plot of predictions is there where the DataTree has some.

    tree: draws to show, which may be some of the run's only.
    summary: of the whole run.
    step: how many draws of the run there are for one to show.
    """
    scalars = _scalars(tree, choose(summary, MOST_ROWS))
    diverged = tree["sample_stats/diverging"].transpose("chain", "draw").values
    energy = tree["sample_stats/energy"].transpose("chain", "draw").values
    with matplotlib.rc_context(STYLE):
        yield "trace", _image(_trace(scalars, diverged, summary, step))
        yield "rank", _image(_rank(scalars, summary))
        if np.isfinite(energy).all() and energy.shape[1] > 3:
            yield "energy", _image(_energy(energy))
        if len(scalars) > 1:
            paired = choose(summary, MOST_PAIRED)
            few = {name: scalars[name] for name in paired}
            yield "pair", _image(_pair(few, diverged))
        if "posterior_predictive" in tree and "observed_data" in tree:
            figure = _predictive(tree)
            if figure is not None:
                yield "predictive", _image(figure)


def choose(summary: Summary, most: int) -> list[str]:
    """The scalars to show, in the model's order.

    The worst one of each variable first, then the worst of the others: those with the
    smallest effective sample size or none.  What the model keeps constant is left out.
    """
    sizes = summary.table[["ess_bulk", "ess_tail"]].min(axis=1, skipna=False)
    shown = ~(summary.table["sd"] == 0) | sizes.index.isin(summary.run["constant"])
    worst_first = [*sizes[shown].sort_values(na_position="first", kind="stable").index]
    variables: dict[str, str] = {}
    for name in worst_first:
        variables.setdefault(name.partition("[")[0], name)
    firsts = [*variables.values()]
    others = [name for name in worst_first if name not in firsts]
    chosen = {*[*firsts, *others][:most]}
    return [name for name in summary.table.index if name in chosen]


def _scalars(tree: xr.DataTree, chosen: Sequence[str]) -> Scalars:
    found: Scalars = {}
    for labels, values, _ in scalars_of_tree(tree)[0]:
        wanted = {*labels} & {*chosen}
        found |= {
            label: np.asarray(value, np.float64)
            for label, value in zip(labels, values, strict=True)
            if label in wanted
        }
    return found


def _trace(
    scalars: Scalars, diverged: np.ndarray, summary: Summary, step: int
) -> Figure:
    """Each scalar's density by chain, and its draws in order."""
    figure = _figure(1.15 * len(scalars) + 0.8)
    grid = figure.subplots(len(scalars), 2, squeeze=False, width_ratios=[1, 2.4])
    for (name, values), (left, right) in zip(scalars.items(), grid, strict=True):
        shown = values[:MOST_CHAINS]
        for chain, draws in enumerate(shown):
            color = f"C{chain}"
            finite = draws[np.isfinite(draws)]
            if len(finite) > 1 and np.ptp(finite) > 0:
                left.plot(*_density(finite), color=color, lw=0.9)
            right.plot(np.arange(len(draws)) * step, draws, color=color, lw=0.4)
        _, at = np.nonzero(diverged[:MOST_CHAINS])
        low = np.nanmin(np.where(np.isfinite(values), values, np.nan), initial=np.inf)
        if len(at) and np.isfinite(low):
            right.plot(at * step, np.full(len(at), low), "|", color=DIVERGED, ms=5)
        row = summary.table.loc[name]
        left.set_title(name)
        left.set_yticks([])
        right.set_title(
            f"R-hat {row['r_hat']:.3f}, bulk ESS {row['ess_bulk']:.0f}", color="#555555"
        )
        right.margins(x=0)
    for chain in range(min(MOST_CHAINS, len(diverged))):
        grid[0][1].plot([], [], color=f"C{chain}", label=f"chain {chain}")
    grid[0][1].legend(ncols=MOST_CHAINS, loc="lower right", bbox_to_anchor=(1, 1))
    grid[-1][1].set_xlabel("draw")
    more = ", divergences in red below" if diverged.any() else ""
    _title(figure, f"Draws of each chain{_of_chains(scalars)}{more}")
    return figure


def _rank(scalars: Scalars, summary: Summary) -> Figure:
    """Histograms of each chain's ranks among all draws; uniform where chains agree."""
    columns = 2
    rows = -(-len(scalars) // columns)
    figure = _figure(1.35 * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, values) in zip(grid.flat, scalars.items(), strict=False):
        ranks = values.ravel().argsort(kind="stable").argsort().reshape(values.shape)
        bins = int(np.clip(values.shape[1] // 20, 4, 20))
        edges = np.linspace(0, values.size, bins + 1)
        expected = values.shape[1] / bins
        spread = 2 * (expected * (1 - 1 / bins)) ** 0.5
        axes.axhspan(expected - spread, expected + spread, color="#eeeeee")
        axes.axhline(expected, color="#999999", lw=0.8)
        for chain, own in enumerate(ranks[:MOST_CHAINS]):
            counts, _ = np.histogram(own, edges)
            axes.stairs(counts, edges, color=f"C{chain}", lw=1)
        axes.set_title(f"{name}, R-hat {summary.table.loc[name, 'r_hat']:.3f}")
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
    for axes in list(grid.flat)[len(scalars) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("rank among all chains")
    _title(
        figure, f"Ranks of each chain's draws{_of_chains(scalars)}: grey if they agree"
    )
    return figure


def _energy(energy: np.ndarray) -> Figure:
    """The energies' distribution, and that of their changes: alike in a good run."""
    figure = _figure(3.2)
    axes = figure.subplots()
    centred = energy - energy.mean(axis=1, keepdims=True)
    for values, label in (
        (centred, "energy, less its chain's mean"),
        (np.diff(energy, axis=1), "change from draw to draw"),
    ):
        if np.ptp(values) > 0:
            axes.plot(*_density(values.ravel()), label=label)
    axes.legend()
    axes.set_yticks([])
    fractions = e_bfmi(energy)
    _title(figure, f"Energy: lowest E-BFMI {np.nanmin(fractions):.2f}, good above 0.3")
    return figure


def _pair(scalars: Scalars, diverged: np.ndarray) -> Figure:
    """Scatter plots of every two scalars, with the draws that diverged in red."""
    names, num = list(scalars), len(scalars)
    figure = _figure(min(WIDTH, 1.75 * (num - 1) + 1))
    grid = figure.subplots(num - 1, num - 1, squeeze=False)
    bad = diverged.ravel()
    for row, axes_row in enumerate(grid, start=1):
        for column, axes in enumerate(axes_row):
            if column >= row:
                axes.set_axis_off()
                continue
            x, y = (scalars[names[i]].ravel() for i in (column, row))
            axes.plot(x, y, ".", color="#4a6fa5", ms=2.4, alpha=0.4, mew=0)
            axes.plot(x[bad], y[bad], ".", color=DIVERGED, ms=4)
            if row == num - 1:
                axes.set_xlabel(names[column])
            if column == 0:
                axes.set_ylabel(names[row])
    more = f", {int(bad.sum())} divergent ones in red" if bad.any() else ""
    _title(figure, f"Draws, two variables at a time{more}")
    return figure


def _predictive(tree: xr.DataTree) -> Figure | None:
    """Each observed variable's data beside data drawn from the posterior."""
    names = [
        name
        for name in tree["posterior_predictive"].data_vars
        if name in tree["observed_data"].data_vars
    ][:MOST_OBSERVED]
    if not names:
        return None
    figure = _figure(2.6 * len(names) + 0.5)
    for axes, name in zip(
        figure.subplots(len(names), 1, squeeze=False).flat, names, strict=True
    ):
        data = np.ravel(tree["observed_data"][name].values).astype(np.float64)
        data = data[np.isfinite(data)]
        drawn = tree["posterior_predictive"][name].transpose("chain", "draw", ...)
        drawn = drawn.values.reshape(drawn.shape[0] * drawn.shape[1], -1)
        places = np.linspace(0, len(drawn) - 1, min(PREDICTED, len(drawn))).astype(int)
        for i, values in enumerate(drawn[places].astype(np.float64)):
            label = f"{len(places)} data sets drawn from the posterior"
            _cumulative(axes, values, color="#4a6fa5", lw=0.5, alpha=0.4)
            if i == 0:
                axes.plot([], [], color="#4a6fa5", label=label)
        _cumulative(axes, data, color="black", lw=1.6)
        axes.plot([], [], color="black", label=f"data, {len(data)} of them")
        axes.set_title(f"{name}: cumulative distribution")
        axes.set_ylim(0, 1.02)
        axes.legend(loc="lower right")
        if len(data) > 1 and np.ptp(data) > 0:
            low, high = np.quantile(drawn[places], [0.005, 0.995])
            axes.set_xlim(min(low, data.min()), max(high, data.max()))
    _title(figure, "Data, and what the model predicts for them")
    return figure


def _cumulative(axes: Any, values: np.ndarray, **style: Any) -> None:
    values = np.sort(values[np.isfinite(values)])
    if len(values):
        steps = np.arange(1, len(values) + 1) / len(values)
        axes.step(values, steps, where="post", **style)


def _density(values: np.ndarray, num_bins: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A kernel density estimate on a grid: a histogram smoothed by a normal kernel."""
    unit = np.abs(values).max()
    values = values / unit  # whose squares do not overflow
    low, high = np.quantile(values, [0.001, 0.999])
    margin = 0.1 * (high - low) or 1.0
    edges = np.linspace(low - margin, high + margin, num_bins + 1)
    counts, _ = np.histogram(values, edges)
    quartiles = np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.349
    spread = min(np.std(values), quartiles) or np.std(values)
    width = edges[1] - edges[0]
    scale = max(0.9 * spread * len(values) ** -0.2 / width, 0.8)  # Silverman's rule
    reach = min(int(4 * scale) + 1, (num_bins - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scale) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")
    return (edges[1:] + edges[:-1]) / 2 * unit, smooth / (len(values) * width) / unit


def _of_chains(scalars: Mapping[str, np.ndarray]) -> str:
    chains = max((len(values) for values in scalars.values()), default=0)
    return f" (of the first {MOST_CHAINS} of {chains})" if chains > MOST_CHAINS else ""


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, fontweight="bold")


def _image(figure: Figure) -> Image:
    canvas: Any = figure.canvas
    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3].copy())
