"""The exact posterior in float64 NumPy, and checks of densities and draws."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from experiments.datasets.regression import RegressionProblem

# Largest error of a log density, relative to the largest value.  A gradient's error is
# bounded by its rounding, see `grad_rounding`.  Over half a million rows the bound is
# larger than the prior's gradient, so densities of the first rows are checked as well.
LOG_PROB_TOLERANCE = {"float64": 1e-9, "float32": 1e-6}
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24}
DEVIATIONS = 6.0  # standard deviations of a sum's rounding error, as a random walk
NUM_FIRST_ROWS = 1000
FALSE_ALARM = 1e-9  # probability that a correct chain fails `check_draws`


class Reference(NamedTuple):
    """The posterior at some points and at the start of the chains."""

    points: np.ndarray  # [points, dim] float32
    log_prob: np.ndarray  # [points] float64
    grad: np.ndarray  # [points, dim] float64
    grad_rounding: np.ndarray  # [points, dim] float64, in units of the roundoff
    start_log_prob: float
    max_log_prob: float


def log_prob_and_grad(
    problem: RegressionProblem, coeffs: np.ndarray
) -> tuple[float, np.ndarray]:
    """The log posterior, without its constant, and its gradient at `coeffs` [dim]."""
    value, grad = -0.5 * float(coeffs @ coeffs), -coeffs.astype(np.float64)
    for features, labels in _row_blocks(problem):
        logits = features @ coeffs
        value += float(np.sum(labels * logits - np.logaddexp(0.0, logits)))
        grad += (labels - scipy.special.expit(logits)) @ features
    return value, grad


def grad_rounding(problem: RegressionProblem, coeffs: np.ndarray) -> np.ndarray:
    """A bound on the rounding error of each gradient entry, in unit roundoffs: [dim].

    The rounding error of a sum of n terms t, in any order, is at most about
    sqrt(n) sum |t| roundoffs, times a few standard deviations (Higham and Mary, 2019, A
    New Approach to Probabilistic Rounding Error Analysis).  Each term is a residual
    times a feature.  The residual's relative error is the absolute error of its logit,
    at most about the logit's sum of magnitudes; its absolute error is one roundoff of
    the probability.
    """
    walk = np.sqrt(problem.rows)
    bound = walk * np.abs(coeffs).astype(np.float64)
    for features, labels in _row_blocks(problem):
        residuals = labels - scipy.special.expit(features @ coeffs)
        features = np.abs(features)
        logits = features @ np.abs(coeffs)
        bound += (np.abs(residuals) * (walk + logits) + 1.0) @ features
    return DEVIATIONS * bound


def max_log_prob(problem: RegressionProblem) -> float:
    """The maximum of the log posterior, which is concave, by Newton's method.

    Raises ValueError when 50 iterations do not converge.
    """
    coeffs = np.zeros(problem.dim)
    for _ in range(50):
        value, grad = log_prob_and_grad(problem, coeffs)
        hessian = np.eye(problem.dim)
        for features, _ in _row_blocks(problem):
            probs = scipy.special.expit(features @ coeffs)
            hessian += (features * (probs * (1 - probs))[:, np.newaxis]).T @ features
        step = np.linalg.solve(hessian, grad)
        if grad @ step < 1e-6:  # twice the predicted gain
            return value
        while log_prob_and_grad(problem, coeffs + step)[0] < value:
            step /= 2
        coeffs = coeffs + step
    raise ValueError(f"{problem.name}: Newton's method did not find the maximum")


def first_rows(
    problem: RegressionProblem, num: int = NUM_FIRST_ROWS
) -> RegressionProblem:
    """The problem of the first rows alone; of the default number the prior matters."""
    return dataclasses.replace(
        problem,
        source=f"{problem.source}, its first {num:,} rows",
        features=np.ascontiguousarray(problem.features[:num]),
        labels=problem.labels[:num],
    )


def make(problem: RegressionProblem, *, seed: int, num_points: int = 5) -> Reference:
    """The reference of a problem, at `num_points` points near its start."""
    noise = np.random.default_rng(seed).normal(size=(num_points, problem.dim))
    points = (problem.start + 0.05 * noise).astype(np.float32)
    exact = points.astype(np.float64)
    pairs = [log_prob_and_grad(problem, point) for point in exact]
    return Reference(
        points=points,
        log_prob=np.array([value for value, _ in pairs]),
        grad=np.array([grad for _, grad in pairs]),
        grad_rounding=np.array([grad_rounding(problem, point) for point in exact]),
        start_log_prob=log_prob_and_grad(problem, problem.start.astype(np.float64))[0],
        max_log_prob=max_log_prob(problem),
    )


def check_density(
    reference: Reference, log_prob: np.ndarray, grad: np.ndarray, *, precision: str
) -> dict[str, Any]:
    """Whether a density equals the reference up to a constant, and its errors.

    precision: "float64" or "float32", in which the density was computed.

    Returns the errors relative to the largest value, the gradient's error relative to
    the rounding bound, and whether both pass.
    """
    offset = np.asarray(log_prob) - reference.log_prob
    error = np.abs(offset - offset.mean()).max()
    log_prob_error = float(error / np.abs(reference.log_prob).max())
    errors = np.abs(grad - reference.grad)
    rounding = UNIT_ROUNDOFF[precision] * reference.grad_rounding
    over_rounding = float((errors / rounding).max())
    return {
        "precision": precision,
        "log_prob_error": log_prob_error,
        "grad_error": float(errors.max() / np.abs(reference.grad).max()),
        "grad_error_over_rounding": over_rounding,
        "passed": log_prob_error <= LOG_PROB_TOLERANCE[precision]
        and over_rounding <= 1.0,
    }


def check_draws(
    problem: RegressionProblem, reference: Reference, values: np.ndarray
) -> dict[str, Any]:
    """Whether draws [chains, draws, dim] may come from chains from the start.

    NUTS conserves energy.  So a transition lowers the log density by at most its
    initial kinetic energy: half a chi-square variable with `dim` degrees of freedom.
    """
    if not np.all(np.isfinite(values)):
        return {"draws_finite": False, "passed": False}
    first = np.broadcast_to(problem.start, values[:, :1].shape)
    steps = np.diff(np.concatenate([first, values], axis=1), axis=1)
    below = max(
        reference.max_log_prob - log_prob_and_grad(problem, draw.astype(np.float64))[0]
        for draw in values[:, -1][:4]  # each costs a pass over the data
    )
    allowed = (
        reference.max_log_prob
        - reference.start_log_prob
        + values.shape[1] * scipy.special.chdtri(problem.dim, FALSE_ALARM) / 2
    )
    moved = bool(np.all(np.any(steps != 0, axis=-1)))
    return {
        "draws_below_maximum": below,
        "draws_moved": moved,
        "passed": bool(moved and below <= allowed),
    }


def _row_blocks(
    problem: RegressionProblem, size: int = 65536
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The features of some rows, in float64, and their labels."""
    for i in range(0, problem.rows, size):
        rows = slice(i, i + size)
        yield problem.features[rows].astype(np.float64), problem.labels[rows]
