"""Appendix A: linear regression over scipy.stats, by the tracers of the language.

The program calls functions that return NumPy arrays.  The same tracers act on it as on
a program over TensorFlow, because a random variable is a traceable function in both.
A config names `run`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.inference.diagnostics import COLUMNS, statistics
from experiments.programs import claims, pictures
from experiments.training.checks import check_count, check_counts
from ppl_core import scipy as ps

PRIOR_SCALE = 0.1
NUM_CHAINS = 4


def linear_regression(features: np.ndarray) -> np.ndarray:
    """The paper's program.  features: [rows, dim]; returns labels, [rows]."""
    rows, dim = features.shape
    coeffs = ps.norm(0.0, PRIOR_SCALE, size=dim, name="coeffs")
    return ps.norm(features @ coeffs, 1.0, size=rows, name="labels")


def over_tensorflow(features: np.ndarray) -> ppl.RandomVariable:
    """The same program over TensorFlow, in float64."""
    zeros = tf.zeros(features.shape[1], tf.float64)
    coeffs = ppl.Normal(zeros, PRIOR_SCALE, name="coeffs")
    return ppl.Normal(tf.linalg.matvec(features, coeffs), 1.0, name="labels")


def drawn(features: np.ndarray, seed: int, **do: np.ndarray) -> dict[str, np.ndarray]:
    """The variables of one run by name, under do(...): a tape, as a tracer."""
    values: dict[str, np.ndarray] = {}

    def record(construct: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        values[kwargs["name"]] = ppl.forward(construct, *args, **kwargs)
        return values[kwargs["name"]]

    with ppl.trace(record), ppl.seeded((0, seed)), ppl.intervene(**do):
        linear_regression(features)
    return values


class Conjugate(NamedTuple):
    """What is known of the regression without a program."""

    mean: np.ndarray  # [dim], of the posterior
    covariance: np.ndarray  # [dim, dim]
    log_evidence: float


def conjugate(features: np.ndarray, labels: np.ndarray) -> Conjugate:
    """The posterior and the evidence in closed form."""
    rows, dim = features.shape
    covariance = np.linalg.inv(features.T @ features + np.eye(dim) / PRIOR_SCALE**2)
    marginal = np.eye(rows) + PRIOR_SCALE**2 * features @ features.T
    log_evidence = stats.multivariate_normal.logpdf(labels, np.zeros(rows), marginal)
    return Conjugate(covariance @ features.T @ labels, covariance, float(log_evidence))


def metropolis(
    log_density: Callable[[np.ndarray], float],
    start: np.ndarray,
    root: np.ndarray,
    num_draws: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Draws [num_draws, dim] of one chain.  root: of the proposals' covariance."""
    position, log_prob = start, log_density(start)
    steps = random.normal(size=(num_draws, len(start))) @ root.T
    thresholds = np.log(random.uniform(size=num_draws))
    draws = np.empty_like(steps)
    for i, (step, threshold) in enumerate(zip(steps, thresholds, strict=True)):
        proposed = position + step
        new = log_density(proposed)
        if new - log_prob > threshold:
            position, log_prob = proposed, new
        draws[i] = position
    return draws


def run(
    *,
    run_dir: Path,
    seed: int,
    num_rows: int = 100,
    num_features: int = 5,
    num_draws: int = 10_000,
    num_points: int = 50,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Compares log joint, posterior and intervention with what is known of them.

    num_draws: of each of the 4 chains of random-walk Metropolis; the first tenth is
      left out.
    num_points: coefficients and labels at which log joints are compared.

    Writes claims and picture to `run_dir`.  Raises ValueError for a wrong argument;
    CheckFailed for a claim that does not hold.
    """
    check_counts(num_rows=num_rows, num_features=num_features, num_points=num_points)
    check_count("num_draws", num_draws, minimum=100)
    if dry_run:
        return {}
    random = np.random.default_rng([seed, 1])
    features = random.normal(size=(num_rows, num_features))
    data = drawn(features, seed)
    log_joint = ps.make_log_joint_fn(linear_regression)
    exact = conjugate(features, data["labels"])

    def density(coeffs: np.ndarray) -> float:
        return log_joint(features, coeffs=coeffs, labels=data["labels"])

    root = 2.4 / num_features**0.5 * np.linalg.cholesky(exact.covariance)
    chains = np.stack(
        [
            metropolis(density, np.zeros(num_features), root, num_draws, random)
            for _ in range(NUM_CHAINS)
        ]
    )[:, num_draws // 10 :]
    errors, smallest_ess = standardised_errors(chains, exact)
    other = random.normal(0.0, PRIOR_SCALE, num_features)
    made = [
        claims.at_most(
            "log joint, SciPy against TensorFlow: largest difference in nats",
            _difference_from_tensorflow(features, log_joint, num_points, random),
            1e-9,
        ),
        claims.at_most(
            "log joint less the exact log posterior: largest distance from the exact "
            "log evidence in nats",
            _evidence_error(density, exact, num_points, random),
            1e-8,
        ),
        claims.at_most(
            "posterior means and variances by Metropolis: largest error in its "
            "standard errors",
            float(np.abs(errors).max()),
            4.0,
        ),
        claims.at_most(
            "log joint under do(coeffs): largest difference from the labels' log prob "
            "alone in nats",
            _intervened_error(features, data["labels"], other),
            1e-9,
        ),
        claims.at_most(
            "noise of the labels, by one seed: largest change by do(coeffs)",
            _noise_change(features, data, drawn(features, seed, coeffs=other), other),
            1e-12,
        ),
    ]
    facts = {
        "accepted": float((np.diff(chains, axis=1) != 0).any(-1).mean()),
        "smallest effective sample size": smallest_ess,
        "draws": chains.shape[0] * chains.shape[1],
    }
    draw(run_dir / claims.PICTURE, chains, exact, data["coeffs"])
    return claims.finish(run_dir, made, facts)


def standardised_errors(
    chains: np.ndarray, exact: Conjugate
) -> tuple[np.ndarray, float]:
    """Errors of posterior means and variances over their Monte Carlo errors, [2 dim].

    Also the smallest effective sample size.  chains: [chains, draws, dim].
    """
    deviations = chains - exact.mean
    scalars = np.moveaxis(np.concatenate([deviations, deviations**2], axis=-1), -1, 0)
    table = dict(zip(COLUMNS, statistics(scalars).T, strict=True))
    expected = np.concatenate([np.zeros_like(exact.mean), np.diag(exact.covariance)])
    errors = (table["mean"] - expected) / table["mcse_mean"]
    return errors, float(table["ess_bulk"].min())


def _difference_from_tensorflow(
    features: np.ndarray,
    log_joint: Callable[..., float],
    num_points: int,
    random: np.random.Generator,
) -> float:
    other = ppl.make_log_joint_fn(over_tensorflow)
    rows, dim = features.shape
    differences = []
    for _ in range(num_points):
        point = {
            "coeffs": random.normal(0.0, PRIOR_SCALE, dim),
            "labels": random.normal(size=rows),
        }
        differences.append(
            log_joint(features, **point) - float(other(features, **point))
        )
    return float(np.abs(differences).max())


def _evidence_error(
    density: Callable[[np.ndarray], float],
    exact: Conjugate,
    num_points: int,
    random: np.random.Generator,
) -> float:
    """Of log p(coeffs, labels) - log p(coeffs | labels), which no coeffs change."""
    posterior = stats.multivariate_normal(exact.mean, exact.covariance)
    points = random.normal(0.0, PRIOR_SCALE, (num_points, len(exact.mean)))
    found = [density(point) - posterior.logpdf(point) for point in points]
    return float(np.abs(np.subtract(found, exact.log_evidence)).max())


def _intervened_error(
    features: np.ndarray, labels: np.ndarray, coeffs: np.ndarray
) -> float:
    intervened = ppl.mutilate(linear_regression, coeffs=coeffs)
    found = ps.make_log_joint_fn(intervened)(features, labels=labels)
    return float(abs(found - stats.norm.logpdf(labels, features @ coeffs).sum()))


def _noise_change(
    features: np.ndarray,
    data: dict[str, np.ndarray],
    intervened: dict[str, np.ndarray],
    coeffs: np.ndarray,
) -> float:
    """How much the labels less their means differ between two runs of one seed."""
    before = data["labels"] - features @ data["coeffs"]
    after = intervened["labels"] - features @ coeffs
    return float(np.abs(after - before).max())


def draw(path: Path, chains: np.ndarray, exact: Conjugate, coeffs: np.ndarray) -> None:
    """Writes a picture of the posterior, exact and by Metropolis, to `path`."""
    with pictures.figure(path, height=4.6) as figure:
        left, right = figure.subplots(1, 2)
        draws = chains.reshape(-1, chains.shape[-1])
        places = np.arange(len(exact.mean))
        for label, shift, mean, sd, marker in (
            ("exact", -0.1, exact.mean, np.sqrt(np.diag(exact.covariance)), "o"),
            ("Metropolis on the traced program", 0.1, draws.mean(0), draws.std(0), "s"),
        ):
            left.errorbar(
                places + shift, mean, 2 * sd, fmt=marker, capsize=3, label=label
            )
        left.plot(places, coeffs, "kx", label="the data's")
        left.set_xticks(places)
        left.set_xlabel("coefficient")
        left.set_ylabel("value: posterior mean, two standard deviations")
        figure.legend(loc="outside lower center", ncols=3)
        sd = exact.covariance[0, 0] ** 0.5
        grid = np.linspace(exact.mean[0] - 4 * sd, exact.mean[0] + 4 * sd, 200)
        right.hist(draws[:, 0], bins=60, density=True, alpha=0.5, color="C1")
        right.plot(grid, stats.norm.pdf(grid, exact.mean[0], sd), color="C0")
        right.set_xlabel("coefficient 0")
        right.set_ylabel("posterior density: exact (line), Metropolis (bars)")
        figure.suptitle("Linear regression over scipy.stats")
