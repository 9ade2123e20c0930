"""The normal approximation of a logistic regression's posterior at its mode."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

HESSIAN_ROWS = 1 << 15  # at a time


class Normal(NamedTuple):
    """Mean and covariance of the coefficients, float64."""

    mean: np.ndarray  # [dim]
    covariance: np.ndarray  # [dim, dim]

    @property
    def spread(self) -> np.ndarray:
        """The standard deviations: [dim]."""
        return np.sqrt(np.diagonal(self.covariance))


def hessian(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of minus the log joint, where row r's term has the weight p (1 - p): [dim, dim].

    features: [dim, rows].
    """
    found = np.eye(len(features))
    for first in range(0, len(weights), HESSIAN_ROWS):
        rows = slice(first, first + HESSIAN_ROWS)
        x = features[:, rows].astype(np.float64)
        found += (x * weights[rows]) @ x.T
    return found


def laplace(features: np.ndarray, labels: np.ndarray, start: np.ndarray) -> Normal:
    """The normal at the posterior's mode with the inverse Hessian, by Newton's method.

    features: [dim, rows].

    Raises ValueError without convergence from `start`.
    """
    mode, decrease = start, np.inf
    for _ in range(30):
        p = expit(mode @ features)
        grad = features @ (labels - p) - mode
        curvature = hessian(features, p * (1 - p))
        step = np.linalg.solve(curvature, grad)
        decrease = step @ grad / 2
        # A whole step may overshoot where the labels of a column are all alike.
        mode = mode + step / max(1.0, np.abs(step).max())
        if decrease < 1e-3:  # nats
            return Normal(mode, np.linalg.inv(curvature))
    raise ValueError(
        f"start: given one from which Newton's next step gains {decrease:.3g} nats, "
        "wanted convergence"
    )


def normal_of(draws: np.ndarray) -> Normal:
    """The mean and the covariance of draws [draws, dim]."""
    return Normal(draws.mean(0), np.cov(draws.T))
