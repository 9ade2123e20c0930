"""The experiment: fits every guide, and compares with closed forms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from scipy import stats

from experiments.programs import claims, pictures, preconditioned
from experiments.programs.align_vi import conjugate, step_time, vamp_prior
from experiments.programs.align_vi.conjugate import Problem
from experiments.training.checks import check_count, check_counts, check_number

ALARM = 1e-4  # the rate at which a right guide would fail a claim
LAST = 50  # steps, over which a bound is averaged


class Fit(NamedTuple):
    """The replicates of a guide."""

    found: np.ndarray  # [replicates, numbers]
    shortfall: np.ndarray  # [steps + 1, replicates]: nats below the best bound


def run(
    *,
    run_dir: Path,
    seed: int,
    num_replicates: int = 16,
    num_draws: int = 64,
    num_rows: int = 50,
    num_vamp_rows: int = 500,
    num_steps: int = preconditioned.NUM_STEPS,
    num_turns: int = 40,
    most_nats_short: float = 0.2,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Variational inference by alignment: the paper's Figures 11 and 12.

    num_replicates: fits of each guide, by whose spread the errors are judged.
    num_draws: of the guide, in each step.
    num_rows: of the models with a latent variable in each row.
    num_vamp_rows: of the VampPrior's training, and as many held out.
    num_turns: how often the steps are timed.
    most_nats_short: how far the bounds may end below the best of their family.

    Writes claims.json and picture.png, and returns the former.  Raises ValueError for
    arguments that do not fit, and CheckFailed for a claim that does not hold.
    """
    check_count("num_replicates", num_replicates, minimum=3)
    check_count("num_rows", num_rows, minimum=10)
    check_count("num_vamp_rows", num_vamp_rows, minimum=100)
    check_counts(num_draws=num_draws, num_steps=num_steps, num_turns=num_turns)
    check_number("most_nats_short", most_nats_short, above=0)
    if dry_run:
        return {}
    rng = np.random.default_rng(seed)
    problems = [
        *conjugate.regressions(rng),
        conjugate.factors(rng, num_rows),
        conjugate.reversed_ladder(rng, num_rows),
    ]
    made, fits = [], []
    for problem in problems:
        found = fit(problem, num_replicates, num_draws, num_steps, seed)
        fits.append(found)
        made += conjugate_claims(problem, found, most_nats_short)
    compared = vamp_prior.compare(
        rng, num_rows=num_vamp_rows, num_steps=num_steps, seed=seed
    )
    made += vamp_claims(compared)
    apart, times = step_time.measure(rng, num_turns=num_turns, num_steps=num_steps)
    made.append(
        claims.at_most(
            "final loss through ppl_core against by hand, relative", apart, 1e-4
        )
    )
    draw(run_dir / claims.PICTURE, problems, fits, compared)
    return claims.finish(run_dir, made, {"step_in_turns": times})


def fit(
    problem: Problem, num_replicates: int, num_draws: int, num_steps: int, seed: int
) -> Fit:
    """Fits all replicates at once, by Figure 12."""

    def terms(parameters: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return preconditioned.elbo_terms(
            problem.model,
            lambda: problem.guide(parameters, num_draws),
            problem.alignment,
            problem.observed,
            seed,
            batch_ndims=2,
        )

    first = tf.zeros([num_replicates, problem.num_parameters])
    trained = preconditioned.fit(terms, first, seed=(seed, 0), num_steps=num_steps)
    bound = -trained.losses.numpy().mean(1)
    return Fit(problem.found(trained.parameters.numpy()), problem.best_bound - bound)


def deviation(found: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """The largest distance of a mean from what is exact, in standard errors.

    found: [replicates, numbers].

    Returns it with the distance that right means exceed at the rate `ALARM`.
    """
    num, count = found.shape
    errors = found.std(0, ddof=1) / np.sqrt(num)
    limit = stats.t.isf(ALARM / (2 * count), num - 1)
    return float(np.max(abs(found.mean(0) - exact) / errors)), float(limit)


def conjugate_claims(
    problem: Problem, found: Fit, most_nats_short: float
) -> list[claims.Claim]:
    """That the exact posterior's numbers, and the best bound, are found."""
    away, limit = deviation(found.found, problem.exact)
    last = found.shortfall[-LAST:].mean(0)
    return [
        claims.at_most(
            f"{problem.name}: parameters from the exact ones, in standard errors",
            away,
            round(limit, 1),
        ),
        claims.at_most(
            f"{problem.name}: bound of the last {LAST} steps below its best, nats",
            last.mean(),
            most_nats_short,
            error=claims.standard_error(last),
        ),
    ]


def vamp_claims(compared: vamp_prior.Compared) -> list[claims.Claim]:
    """That the shared prior is better than the standard one, and still a bound."""
    root = np.sqrt(len(compared.rows))
    gain = compared.vamp - compared.standard
    short = compared.true - compared.vamp
    return [
        claims.at_least(
            "VampPrior: held-out bound above the standard prior's, nats a row",
            gain.mean(),
            0.5,
            error=gain.std() / root,
        ),
        claims.at_most(
            "VampPrior: held-out bound below the true density, nats a row",
            short.mean(),
            0.3,
            error=short.std() / root,
        ),
        claims.at_least(
            "VampPrior: the same in standard errors, as a bound is below",
            short.mean() / (short.std() / root),
            -4.0,
        ),
    ]


def draw(
    path: Path,
    problems: Sequence[Problem],
    fits: Sequence[Fit],
    compared: vamp_prior.Compared,
) -> None:
    """Three plots: the descent, the regression's posterior, and the VampPrior."""
    with pictures.figure(path, width=10, height=4) as figure:
        descent, posterior, prior = figure.subplots(1, 3)
        _draw_descent(descent, problems, fits)
        _draw_posterior(posterior, problems, fits)
        _draw_prior(prior, compared)


def _draw_descent(axes: Axes, problems: Sequence[Problem], fits: Sequence[Fit]) -> None:
    for problem, found in zip(problems, fits, strict=True):
        mean = found.shortfall.mean(1)
        few = np.array([part.mean() for part in np.array_split(mean, 50)])
        steps = np.linspace(0, len(mean) - 1, len(few))
        axes.plot(steps, np.where(few > 0, few, np.nan), label=problem.name)
    axes.set(yscale="log", xlabel="step", ylabel="bound below its best, nats")
    axes.set_title("Descent, mean of all fits")
    axes.legend()


def _draw_posterior(
    axes: Axes, problems: Sequence[Problem], fits: Sequence[Fit]
) -> None:
    exact, rank, field = problems[1].exact, fits[1].found[0], fits[0].found[0]
    ellipses = {
        "exact posterior": (exact[:2], exact[2:], "black", "-"),
        "full-rank guide": (rank[:2], rank[2:], "tab:orange", "--"),
        "mean-field guide": (
            field[:2],
            np.array([field[2] ** 2, 0, field[3] ** 2]),
            "tab:blue",
            "--",
        ),
    }
    for label, (loc, entries, color, line) in ellipses.items():
        covariance = np.array([[entries[0], entries[1]], [entries[1], entries[2]]])
        values, vectors = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        width, height = 4 * np.sqrt(values[::-1])  # two standard deviations each way
        axes.add_patch(
            Ellipse(
                tuple(loc),
                width,
                height,
                angle=angle,
                fill=False,
                color=color,
                linestyle=line,
                linewidth=1.5,
                label=label,
            )
        )
    axes.autoscale_view()
    axes.set(xlabel="coefficient 1", ylabel="coefficient 2")
    axes.set_title("Regression, two standard deviations")
    axes.margins(0.25)
    axes.legend(loc="upper right")


def _draw_prior(axes: Axes, compared: vamp_prior.Compared) -> None:
    axes.scatter(*compared.rows.T, s=3, color="#bbbbbb", label="held-out data")
    for index, (loc, scale) in enumerate(zip(*compared.components, strict=True)):
        axes.add_patch(
            Ellipse(
                tuple(loc),
                *(4 * scale),
                fill=False,
                color="tab:red",
                label="" if index else "components of the prior",
            )
        )
    axes.set(xlabel="z1, or x1", ylabel="z2, or x2", aspect="equal")
    axes.set_title("VampPrior after training")
    axes.legend(loc="upper right", fontsize=7)
