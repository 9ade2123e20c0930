"""Summaries of draws: ArviZ's rank-normalised R-hat and effective sample sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import tensorflow as tf
from arviz_stats.base import array_stats

from experiments.inference.samples import Samples

MIN_DRAWS = 4  # of a chain: ArviZ's split R-hat needs two in each half
MAX_R_HAT = 1.01  # Vehtari et al. (2021), section 4
MIN_ACCEPT = 0.6  # Stan aims at 0.8: far below, the step is too large
MIN_ESS = 400.0  # of all chains together: Vehtari et al. (2021), section 4

Constrain = Callable[[tf.Tensor], Mapping[str, Any]]


class Summary(NamedTuple):
    """A table of the variables and a dictionary of the run; printed, both and advice.

    The dictionary holds chains, draws (of each), leapfrogs, accept (mean), divergences,
    stuck_chains (those that never moved), depth_histogram, max_depth,
    reached_max_depth, not_finite and constant (names), min_ess_bulk and max_r_hat.  The
    last two are NaN when a row has no value: they are worst cases over all rows.
    """

    table: pd.DataFrame  # a row a scalar: mean, sd, ess_bulk, ess_tail, r_hat
    run: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the run and what to do, a line each; [] for a good run."""
        table, run = self
        lines = []
        total = run["chains"] * run["draws"]
        if run["not_finite"]:
            lines.append(
                f"NaN or infinite draws of {', '.join(run['not_finite'])}: do not "
                "trust any draw. Check the model's log prob there."
            )
        if run["constant"]:
            lines.append(
                f"{', '.join(run['constant'])} never moved in any chain: no effective "
                "sample size. Check that the log prob depends on it."
            )
        if run["divergences"]:
            lines.append(
                f"{run['divergences']} of {total} draws diverged: do not trust any of "
                "them. Use a smaller step_size, or reparametrise the model."
            )
        if run["stuck_chains"]:
            lines.append(
                f"{run['stuck_chains']} of {run['chains']} chains never moved: no draw "
                "is usable. Use a smaller step_size."
            )
        elif run["accept"] < MIN_ACCEPT:
            lines.append(
                f"mean acceptance is {run['accept']:.2f}, below {MIN_ACCEPT}: the "
                "chains move slowly. Use a smaller step_size."
            )
        if run["chains"] == 1:
            lines.append(
                "one chain: nothing shows whether others would agree. Use a num_chains "
                "of 2 or more."
            )
        if run["draws"] < MIN_DRAWS:
            lines.append(
                f"fewer than {MIN_DRAWS} draws a chain: no r_hat and no effective "
                "sample size. Use a larger num_results."
            )
        if run["max_r_hat"] > MAX_R_HAT:
            worst = table["r_hat"].idxmax()
            lines.append(
                f"r_hat of {worst} is {run['max_r_hat']:.3f}, above {MAX_R_HAT}: the "
                "chains disagree. Use a larger num_results, or find out whether chains "
                "stay in different modes."
            )
        for column in ("ess_bulk", "ess_tail"):
            lowest = table[column].min()
            if lowest < MIN_ESS:
                lines.append(
                    f"{column} of {table[column].idxmin()} is {lowest:.0f}, below "
                    f"{MIN_ESS:.0f}: estimates are coarse. Use a larger num_results."
                )
        if run["reached_max_depth"]:
            lines.append(
                f"{run['reached_max_depth']} of {total} draws reached max_depth "
                f"{run['max_depth']}: their trajectories were cut short. Use a larger "
                "step_size or max_depth."
            )
        return lines

    def __str__(self) -> str:
        """The header line, the table, and a line for each warning."""
        run = self.run
        header = (
            f"NUTS, {run['chains']} chains of {run['draws']} draws: "
            f"{run['divergences']} divergences, {run['reached_max_depth']} draws at "
            f"maximum depth, mean acceptance {run['accept']:.2f}\n"
            "Step size as given, identity metric: nothing is adapted."
        )
        table = self.table.to_string(
            float_format="{:.3g}".format,
            formatters=dict.fromkeys(("ess_bulk", "ess_tail"), "{:.0f}".format)
            | {"r_hat": "{:.3f}".format},
            index_names=False,
        )
        return "\n".join(
            [header, table, *(f"WARNING: {line}" for line in self.warnings)]
        )


def constrain_draws(samples: Samples, constrain: Constrain) -> dict[str, np.ndarray]:
    """The draws of each variable by name: [chains, num, ...].

    constrain: from coordinates [draws, dim] to values by name, [draws, ...] each; of a
      program, `ppl.unconstrain(...).constrain`.

    >>> samples = Samples(np.zeros([2, 5, 1]), *6 * [np.zeros([2, 5])])
    >>> constrain_draws(samples, lambda x: {"scale": tf.exp(x[:, 0])})["scale"].shape
    (2, 5)
    """
    chains, num, dim = samples.draws.shape
    flat = tf.constant(samples.draws.reshape(-1, dim))
    # As a graph, from which what only the log prob needs is pruned.
    values = tf.function(constrain, autograph=False)(flat)
    return {
        name: np.reshape(value, (chains, num, *value.shape[1:]))
        for name, value in values.items()
    }


def summarize(
    samples: Samples,
    *,
    max_depth: int,
    constrain: Constrain | None = None,
    names: Sequence[str] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
) -> Summary:
    """The table and the run's statistics, to print or to compute with.

    The table has a row a scalar variable, and mean, sd, ess_bulk, ess_tail and r_hat
    (Vehtari et al. 2021), NaN where there are fewer than 4 draws a chain.

    max_depth: the settings' own, to count the trajectories that it cut short.
    constrain: as of `constrain_draws`; the rows are then the model's variables.
    names: of the coordinates, without `constrain`; None: x[0], x[1] and so on.
    dims, coords: the posterior's own, for rows such as theta[Bronx].

    >>> noise = np.random.default_rng(0).normal(size=[4, 1000, 1])
    >>> zeros = np.zeros([4, 1000])
    >>> samples = Samples(noise, *3 * [zeros], zeros + 0.9, zeros > 0, zeros)
    >>> summary = summarize(samples, max_depth=10, names=["mu"])
    >>> summary.table.index.tolist(), summary.run["divergences"], summary.warnings
    (['mu'], 0, [])
    """
    chains, num, dim = samples.draws.shape
    rows: dict[str, np.ndarray] = {}
    if constrain is None:
        names = [f"x[{i}]" for i in range(dim)] if names is None else names
        rows = {name: samples.draws[..., i] for i, name in enumerate(names)}
    else:
        for name, values in constrain_draws(samples, constrain).items():
            labels = _labels(values.shape[2:], (dims or {}).get(name), coords or {})
            for index in np.ndindex(values.shape[2:]):
                parts = [labels[axis][i] for axis, i in enumerate(index)]
                label = f"[{','.join(map(str, parts))}]" if index else ""
                rows[name + label] = values[(..., *index)]
    table = pd.DataFrame(
        [_statistics(values.astype(np.float64)) for values in rows.values()],
        index=pd.Index(rows, name="coordinate" if constrain is None else "variable"),
    )
    constant = [name for name, values in rows.items() if _never_moved(values)]
    free = table
    if not any(_never_moved(samples.draws[..., i]) for i in range(dim)):
        # Constant by the model, as the diagonal of a correlation matrix is.
        free, constant = table.drop(index=constant), []
    depths, counts = np.unique(samples.depth, return_counts=True)
    run = {
        "chains": chains,
        "draws": num,
        "leapfrogs": int(samples.leapfrogs.sum()),
        "accept": float(samples.accept.mean()),
        "divergences": int(samples.diverged.sum()),
        "stuck_chains": int((samples.draws == samples.draws[:, :1]).all((1, 2)).sum())
        if num > 1
        else 0,
        "depth_histogram": {
            int(depth): int(count) for depth, count in zip(depths, counts, strict=True)
        },
        "max_depth": max_depth,
        "reached_max_depth": int((samples.depth == max_depth).sum()),
        "not_finite": [
            n for n, values in rows.items() if not np.isfinite(values).all()
        ],
        "constant": constant,
        "min_ess_bulk": float(free["ess_bulk"].min(skipna=False)),
        "max_r_hat": float(free["r_hat"].max(skipna=False)),
    }
    return Summary(table, run)


def _labels(
    shape: tuple[int, ...],
    dims: Sequence[str] | None,
    coords: Mapping[str, Sequence[Any]],
) -> list[Sequence[Any]]:
    """The labels along each axis; without names of its own, the numbers from 0."""
    names = dims or [""] * len(shape)
    return [
        coords.get(name, range(size)) for name, size in zip(names, shape, strict=True)
    ]


def _statistics(values: np.ndarray) -> dict[str, float]:
    """The row of one scalar, [chains, num] float64."""
    finite = bool(np.isfinite(values).all())
    row = {
        "mean": float(values.mean()) if finite else np.nan,
        "sd": float(values.std(ddof=1)) if finite and values.size > 1 else np.nan,
        "ess_bulk": np.nan,
        "ess_tail": np.nan,
        "r_hat": np.nan,
    }
    # ArviZ calls constants fully effective, and leaves NaN out.
    usable = finite and not _never_moved(values)
    if values.shape[1] >= MIN_DRAWS and usable:
        row["ess_bulk"] = float(array_stats.ess(values, method="bulk"))
        row["ess_tail"] = float(
            array_stats.ess(values, method="tail", prob=(0.05, 0.95))
        )
        row["r_hat"] = float(array_stats.rhat(values))
    return row


def _never_moved(values: np.ndarray) -> bool:
    """Whether every chain of [chains, num] stays at its first value."""
    return values.shape[1] > 1 and bool((values == values[:, :1]).all())
