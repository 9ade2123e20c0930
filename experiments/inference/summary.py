"""The summary of a run: a table of the variables, facts, and warnings with advice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from experiments.inference.diagnostics import (
    COLUMNS,
    MIN_DRAWS,
    e_bfmi,
    never_moved,
    statistics,
)
from experiments.inference.named_statistics import sample_stats
from experiments.inference.results import Constrain
from experiments.inference.samples import Samples
from experiments.inference.scalars import Scalars, scalars_of_samples, scalars_of_tree

MAX_R_HAT = 1.01  # Vehtari et al. (2021), section 4
MIN_ESS = 400.0  # all chains together: Vehtari et al. (2021), section 4
MIN_E_BFMI = 0.3  # Betancourt (2016), section 6
MIN_ACCEPT = 0.6  # Stan aims at 0.8: far below, the step is too large
MAX_PRINTED = 60  # rows of the table


class Finding(NamedTuple):
    """What is wrong with a run, in a line, and whether its draws fail for it."""

    text: str
    fails: bool


class Summary(NamedTuple):
    """A table of the variables and a dictionary of the run; printed, both and advice.

    The table has one row per scalar: mean, its Monte Carlo error mcse_mean, sd, the
    5 % and 95 % quantiles q5 and q95, which enclose the central 90 % interval,
    ess_bulk, ess_tail (the smaller one of these two quantiles) and r_hat.

    The dictionary holds chains, draws (of each), leapfrogs, accept (mean), divergences,
    e_bfmi (of each chain), stuck_chains (those in which nothing moved),
    depth_histogram, max_depth, reached_max_depth, not_finite, constant (names of what
    never moved), stuck (names of what never moved in some chains, and in which),
    unjudged (other names without an R-hat or ESS), min_ess_bulk, min_ess_tail and
    max_r_hat.  These three are NaN when a row has no value: they are worst cases over
    all rows, but those that the model keeps constant.
    step_size, metric, num_warmup, warmup_divergences and so on are there as far as they
    are known.
    """

    table: pd.DataFrame
    run: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the run and what to do, one line each; [] if good."""
        return [finding.text for finding in self._findings()]

    @property
    def failures(self) -> list[str]:
        """The warnings after which the draws are not to be used as they are.

        Draws that are not finite or never move, divergences, an R-hat above 1.01 and an
        effective sample size below 400 (or none at all).
        """
        return [finding.text for finding in self._findings() if finding.fails]

    def _findings(self) -> Iterator[Finding]:
        table, run = self
        total = run["chains"] * run["draws"]
        adapted = bool(run.get("num_warmup"))
        more = "num_draws" if "num_warmup" in run else "num_results"
        smaller = "Use a larger target_accept" if adapted else "Use a smaller step_size"
        if run["not_finite"]:
            yield Finding(
                f"NaN or infinite draws of {_listed(run['not_finite'])}: do not trust "
                "any draw. Check the model's log prob there.",
                fails=True,
            )
        if run["constant"]:
            yield Finding(
                f"{_listed(run['constant'])} never moved in any chain: no effective "
                "sample size. Check that the log prob depends on it.",
                fails=True,
            )
        if run["stuck_chains"]:
            yield Finding(
                f"{run['stuck_chains']} of {run['chains']} chains never moved: no draw "
                f"is usable. {smaller}.",
                fails=True,
            )
        elif run["stuck"]:
            yield Finding(
                f"{_listed(run['stuck'])} never moved: no draw is usable. {smaller}, "
                "or check the model's log prob there.",
                fails=True,
            )
        if run["divergences"]:
            yield Finding(
                f"{run['divergences']} of {total} draws diverged: do not trust any of "
                f"them. {smaller}, or reparametrise the model.",
                fails=True,
            )
        if run["draws"] < MIN_DRAWS:
            yield Finding(
                f"fewer than {MIN_DRAWS} draws a chain: no r_hat and no effective "
                f"sample size. Use a larger {more}.",
                fails=True,
            )
        elif run["unjudged"]:
            yield Finding(
                f"{_listed(run['unjudged'])} took too few values for an r_hat and an "
                f"effective sample size. Use a larger {more}.",
                fails=True,
            )
        if run["max_r_hat"] > MAX_R_HAT:
            worst = table["r_hat"].idxmax()
            yield Finding(
                f"r_hat of {worst} is {run['max_r_hat']:.3f}, above {MAX_R_HAT}: the "
                f"chains disagree. Use a larger {more}, or find out whether chains "
                "stay in different modes.",
                fails=True,
            )
        for column in ("ess_bulk", "ess_tail"):
            lowest = table[column].min()
            if lowest < MIN_ESS:
                yield Finding(
                    f"{column} of {table[column].idxmin()} is {lowest:.0f}, below "
                    f"{MIN_ESS:.0f}: estimates are coarse. Use a larger {more}.",
                    fails=True,
                )
        if run["accept"] < MIN_ACCEPT and not run["stuck_chains"]:
            yield Finding(
                f"mean acceptance is {run['accept']:.2f}, below {MIN_ACCEPT}: the "
                f"chains move slowly. {smaller}.",
                fails=False,
            )
        low = [value for value in run["e_bfmi"] if value < MIN_E_BFMI]
        if low:
            yield Finding(
                f"E-BFMI below {MIN_E_BFMI} in {len(low)} of {run['chains']} chains, "
                f"lowest {min(low):.2f}: the energy is explored slowly, and tails may "
                "be missed. Reparametrise the model: heavy tails and funnels do this.",
                fails=False,
            )
        if run["reached_max_depth"]:
            larger = "max_depth" if adapted else "step_size or max_depth"
            yield Finding(
                f"{run['reached_max_depth']} of {total} draws reached max_depth "
                f"{run['max_depth']}: their trajectories were cut short. Use a larger "
                f"{larger}, or rescale the model's variables.",
                fails=False,
            )
        if run["chains"] == 1:
            yield Finding(
                "one chain: nothing shows whether others would agree. Use a num_chains "
                "of 2 or more.",
                fails=False,
            )

    def __str__(self) -> str:
        """Two lines on the run, the table, and a line for each warning."""
        run = self.run
        header = (
            f"NUTS, {run['chains']} chains of {run['draws']} draws: "
            f"{run['divergences']} divergences, {run['reached_max_depth']} draws at "
            f"maximum depth, mean acceptance {run['accept']:.2f}"
        )
        lines = [header, _settings_line(run), self._table()]
        return "\n".join([*lines, *(f"WARNING: {line}" for line in self.warnings)])

    def _table(self) -> str:
        text = self.table.head(MAX_PRINTED).to_string(
            float_format="{:.3g}".format,
            formatters=dict.fromkeys(("ess_bulk", "ess_tail"), "{:.0f}".format)
            | {"r_hat": "{:.3f}".format},
            index_names=False,
        )
        left = len(self.table) - MAX_PRINTED
        if left <= 0:
            return str(text)
        return (
            f"{text}\n... and {left} more rows; over all, r_hat is at most "
            f"{self.run['max_r_hat']:.3f} and ess_bulk at least "
            f"{self.run['min_ess_bulk']:.0f}"
        )


def summarize(
    draws: Samples | xr.DataTree,
    *,
    max_depth: int | None = None,
    constrain: Constrain | None = None,
    names: Sequence[str] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
) -> Summary:
    """The table and the run's statistics, to print or to compute with.

    draws: a DataTree, which knows all that follows, or Samples, with
    max_depth: the settings' own, to count the trajectories that it cut short;
    constrain: as of `constrain_draws`; the rows are then the model's variables;
    names: of the coordinates, without `constrain`; None: x[0], x[1] and so on;
    dims, coords: the posterior's own, for rows such as theta[Bronx].

    Raises ValueError for a DataTree without the groups posterior and sample_stats, and
    for Samples without `max_depth`.

    >>> noise = np.random.default_rng(0).normal(size=[4, 1000, 1])
    >>> zeros = np.zeros([4, 1000])
    >>> samples = Samples(noise, *3 * [zeros], zeros + 0.9, zeros > 0, noise[..., 0])
    >>> summary = summarize(samples, max_depth=10, names=["mu"])
    >>> summary.table.index.tolist(), summary.run["divergences"], summary.warnings
    (['mu'], 0, [])
    """
    if isinstance(draws, xr.DataTree):
        scalars, stats, facts = scalars_of_tree(draws)
    else:
        if max_depth is None:
            raise ValueError("max_depth: given None beside Samples, wanted a number")
        scalars = scalars_of_samples(draws, constrain, names, dims or {}, coords or {})
        stats, facts = sample_stats(draws, np.nan, max_depth), {"max_depth": max_depth}
    table, found = _judge(scalars, num_chains=stats["tree_depth"].shape[0])
    is_coordinate = isinstance(draws, Samples) and constrain is None
    table.index.name = "coordinate" if is_coordinate else "variable"
    return Summary(table, {**_run(stats), **found, **facts})


def _judge(scalars: Scalars, *, num_chains: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table, and which of its rows are not as they should be."""
    labels: list[str] = []
    rows = [np.empty((0, len(COLUMNS)))]
    moved = [np.empty((0, num_chains), bool)]  # which chains of each scalar
    finite, fixed = [np.empty(0, bool)], [np.empty(0, bool)]
    for names, values, by_the_model in scalars:
        labels += names
        rows.append(statistics(values))
        moved.append(~never_moved(values))
        finite.append(np.isfinite(values).all(axis=(-2, -1)))
        fixed.append(by_the_model)
    has_moved, is_finite = np.concatenate(moved), np.concatenate(finite)
    is_free = ~np.concatenate(fixed) | has_moved.any(axis=-1)
    table = pd.DataFrame(np.concatenate(rows), index=labels, columns=list(COLUMNS))
    in_no_chain = is_free & ~has_moved.any(axis=-1)
    in_some = is_free & ~has_moved.all(axis=-1) & ~in_no_chain
    judged = table[["ess_bulk", "ess_tail", "r_hat"]].notna().all(axis=1).to_numpy()

    def names_of(where: np.ndarray) -> list[str]:
        return [labels[i] for i in np.flatnonzero(where)]

    def chains_of(i: Any) -> str:
        return ", ".join(map(str, np.flatnonzero(~has_moved[i])))

    worst = table[is_free]
    stuck_chains = is_free.any() & ~has_moved[is_free].any(axis=0)
    return table, {
        "not_finite": names_of(~is_finite),
        "constant": names_of(in_no_chain),
        "stuck": [
            f"{labels[i]} in chain {chains_of(i)}" for i in np.flatnonzero(in_some)
        ],
        "unjudged": names_of(is_free & ~judged & is_finite & ~in_no_chain),
        "stuck_chains": int(stuck_chains.sum()),
        "min_ess_bulk": float(worst["ess_bulk"].min(skipna=False)),
        "min_ess_tail": float(worst["ess_tail"].min(skipna=False)),
        "max_r_hat": float(worst["r_hat"].max(skipna=False)),
    }


def _run(stats: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the statistics of the transitions say, [chains, draws] each."""
    chains, num = stats["tree_depth"].shape
    depths, counts = np.unique(stats["tree_depth"], return_counts=True)
    return {
        "chains": chains,
        "draws": num,
        "leapfrogs": int(stats["n_steps"].sum()),
        "accept": float(stats["acceptance_rate"].mean()),
        "divergences": int(stats["diverging"].sum()),
        "e_bfmi": e_bfmi(stats["energy"]).tolist(),
        "depth_histogram": {
            int(depth): int(count) for depth, count in zip(depths, counts, strict=True)
        },
        "reached_max_depth": int(stats["reached_max_treedepth"].sum()),
    }


def _settings_line(run: Mapping[str, Any]) -> str:
    """E-BFMI, and how step size and metric came about."""
    fractions = [value for value in run["e_bfmi"] if np.isfinite(value)]
    parts = [f"lowest E-BFMI {min(fractions):.2f}"] if fractions else []
    steps = np.ravel(run.get("step_size", []))
    steps = steps[np.isfinite(steps)]
    size = "step size"
    if len(steps):
        low, high = (f"{value:.3g}" for value in (steps.min(), steps.max()))
        size += f" {low}" if low == high else f" {low} to {high}"
    parts += [size, f"{run.get('metric', 'identity')} metric"]
    adapted = "as given: nothing is adapted"
    if run.get("num_warmup"):
        adapted = f"found in {run['num_warmup']} draws of warm-up"
        if "warmup_divergences" in run:
            adapted += f" ({run['warmup_divergences']} of them diverged)"
    text = f"{', '.join(parts)}, {adapted}"
    return text[0].upper() + text[1:]


def _listed(names: Sequence[str], most: int = 12) -> str:
    """The names, or the first of many and how many more there are."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown
