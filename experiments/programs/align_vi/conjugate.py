"""Conjugate models, guides aligned with them, and what the guides should find.

A guide has parameters [replicates, num_parameters]: each replicate is a fit of its own.
Its variables have the shape [draws, replicates, ...].
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

import ppl_core as ppl


class Problem(NamedTuple):
    """A model, its data, a guide, and the best parameters in closed form."""

    name: str
    model: Callable[[], Any]
    guide: Callable[[tf.Tensor, int], Any]  # (parameters, num_draws)
    alignment: Mapping[str, str]  # names of the model's latents to the guide's
    observed: Mapping[str, np.ndarray]
    num_parameters: int
    found: Callable[[np.ndarray], np.ndarray]  # parameters -> [replicates, numbers]
    exact: np.ndarray  # [numbers], which the guide should find
    best_bound: float  # of the guide's family, in nats


# Bayesian linear regression.

REGRESSION_NOISE = 0.5


def regression(features: Any) -> None:
    """p(coeffs) p(y | features, coeffs)."""
    num_features = features.shape[1]
    coeffs = ppl.Normal(0.0, 1.0, sample_shape=num_features, name="coeffs")
    mean = tf.linalg.matvec(features, coeffs)
    ppl.Normal(mean, REGRESSION_NOISE, name="y")


def mean_field(parameters: tf.Tensor, num_draws: int) -> None:
    """A normal for each coefficient."""
    loc, scale = tf.split(parameters, 2, axis=-1)
    ppl.Normal(loc, tf.nn.softplus(scale), sample_shape=num_draws, name="q_coeffs")


def full_rank(parameters: tf.Tensor, num_draws: int) -> None:
    """One normal of all coefficients, with their correlations."""
    loc, scale = _loc_and_scale(parameters)
    ppl.MultivariateNormalTriL(loc, scale, sample_shape=num_draws, name="q_coeffs")


def regressions(rng: np.random.Generator) -> tuple[Problem, Problem]:
    """The regression with both guides.  Its two features correlate."""
    features = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 20)
    y = features @ [1.0, -0.5] + REGRESSION_NOISE * rng.standard_normal(20)
    loc, covariance = regression_posterior(features, y)
    variances = 1 / np.diag(np.linalg.inv(covariance))  # of the best mean field
    noise = REGRESSION_NOISE**2 * np.eye(20)
    evidence = stats.multivariate_normal.logpdf(
        y, np.zeros(20), noise + features @ features.T
    )
    divergence = 0.5 * (np.linalg.slogdet(covariance)[1] - np.sum(np.log(variances)))

    def found_mean_field(parameters: np.ndarray) -> np.ndarray:
        loc, scale = np.split(parameters, 2, axis=-1)
        return np.concatenate([loc, _softplus(scale)], -1)

    def found_full_rank(parameters: np.ndarray) -> np.ndarray:
        loc, scale = (part.numpy() for part in _loc_and_scale(parameters))
        covariance = scale @ np.swapaxes(scale, -1, -2)
        return np.concatenate([loc, covariance[:, *np.tril_indices(2)]], -1)

    shared = {
        "model": lambda: regression(np.float32(features)),
        "alignment": {"coeffs": "q_coeffs"},
        "observed": {"y": np.float32(y)},
    }
    return (
        Problem(
            name="mean-field",
            guide=mean_field,
            num_parameters=4,
            found=found_mean_field,
            exact=np.concatenate([loc, np.sqrt(variances)]),
            best_bound=evidence - divergence,
            **shared,
        ),
        Problem(
            name="full-rank",
            guide=full_rank,
            num_parameters=5,
            found=found_full_rank,
            exact=np.concatenate([loc, covariance[np.tril_indices(2)]]),
            best_bound=evidence,
            **shared,
        ),
    )


def regression_posterior(
    features: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the covariance of the regression's coefficients."""
    precision = np.eye(features.shape[1]) + features.T @ features / REGRESSION_NOISE**2
    covariance = np.linalg.inv(precision)
    return covariance @ features.T @ y / REGRESSION_NOISE**2, covariance


# Factor analysis, whose guide is a function of each row's data.

# Orthogonal rows, so the factors are independent given the data.
LOADINGS = np.float32([[0.8, 0.8, 0.8, 0.8], [0.6, -0.6, 0.6, -0.6]])
FACTOR_NOISE = 0.7


def factor_analysis(num_rows: int) -> None:
    """p(z) p(x | z): two factors and four observations in each row."""
    z = ppl.Normal(0.0, 1.0, sample_shape=[num_rows, 2], name="z")
    ppl.Normal(z @ LOADINGS, FACTOR_NOISE, name="x")


def amortised(parameters: tf.Tensor, num_draws: int, x: np.ndarray) -> None:
    """Factors whose means are a linear function of the row's data."""
    weights, bias, scale = tf.split(parameters[:, tf.newaxis], [8, 2, 2], axis=-1)
    weights = tf.reshape(weights, [-1, 4, 2])  # [replicates, 4, 2]
    loc = x @ weights + bias  # [replicates, rows, 2]
    ppl.Normal(loc, tf.nn.softplus(scale), sample_shape=num_draws, name="q_z")


def factors(rng: np.random.Generator, num_rows: int) -> Problem:
    """The factor analysis with its amortised guide."""
    z = rng.standard_normal([num_rows, 2])
    x = z @ LOADINGS + FACTOR_NOISE * rng.standard_normal([num_rows, 4])
    variances = 1 / (1 + np.diag(LOADINGS @ LOADINGS.T) / FACTOR_NOISE**2)
    weights = LOADINGS.T * variances / FACTOR_NOISE**2
    marginal = LOADINGS.T @ LOADINGS + FACTOR_NOISE**2 * np.eye(4)
    data = np.float32(x)

    def found(parameters: np.ndarray) -> np.ndarray:
        means, scale = parameters[:, :10], parameters[:, 10:]
        return np.concatenate([means, _softplus(scale)], -1)

    return Problem(
        name="amortised",
        model=lambda: factor_analysis(num_rows),
        guide=lambda parameters, num_draws: amortised(parameters, num_draws, data),
        alignment={"z": "q_z"},
        observed={"x": data},
        num_parameters=12,
        found=found,
        exact=np.concatenate([weights.ravel(), [0, 0], np.sqrt(variances)]),
        best_bound=stats.multivariate_normal.logpdf(x, np.zeros(4), marginal).sum(),
    )


# A ladder: the model goes down from z2 to the data, the guide goes up from the data.

LADDER_SLOPE, LADDER_SCALE, LADDER_NOISE = 1.5, 0.8, 0.6


def ladder(num_rows: int) -> None:
    """p(z2) p(z1 | z2) p(x | z1)."""
    z2 = ppl.Normal(0.0, 1.0, sample_shape=num_rows, name="z2")
    z1 = ppl.Normal(LADDER_SLOPE * z2, LADDER_SCALE, name="z1")
    ppl.Normal(z1, LADDER_NOISE, name="x")


def upwards(parameters: tf.Tensor, num_draws: int, x: np.ndarray) -> None:
    """q(z1 | x) q(z2 | z1): the variables of the ladder in the reversed order."""
    slope1, bias1, scale1, slope2, bias2, scale2 = tf.split(parameters, 6, axis=-1)
    scale1, scale2 = tf.nn.softplus(scale1), tf.nn.softplus(scale2)
    z1 = ppl.Normal(slope1 * x + bias1, scale1, sample_shape=num_draws, name="q_z1")
    ppl.Normal(slope2 * z1 + bias2, scale2, name="q_z2")


def reversed_ladder(rng: np.random.Generator, num_rows: int) -> Problem:
    """The ladder with its guide from the data upwards."""
    variance1 = LADDER_SLOPE**2 + LADDER_SCALE**2  # of z1 before the data
    variance = variance1 + LADDER_NOISE**2  # of the data
    x = np.sqrt(variance) * rng.standard_normal(num_rows)
    data = np.float32(x)
    scale1 = LADDER_NOISE * np.sqrt(variance1 / variance)
    scale2 = LADDER_SCALE / np.sqrt(variance1)

    def found(parameters: np.ndarray) -> np.ndarray:
        is_scale = np.arange(6) % 3 == 2
        return np.where(is_scale, _softplus(parameters), parameters)

    return Problem(
        name="reversed ladder",
        model=lambda: ladder(num_rows),
        guide=lambda parameters, num_draws: upwards(parameters, num_draws, data),
        alignment={"z2": "q_z2", "z1": "q_z1"},
        observed={"x": data},
        num_parameters=6,
        found=found,
        exact=np.array(
            [variance1 / variance, 0, scale1, LADDER_SLOPE / variance1, 0, scale2]
        ),
        best_bound=stats.norm.logpdf(x, 0, np.sqrt(variance)).sum(),
    )


def _loc_and_scale(parameters: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """A mean [..., 2] and the Cholesky factor [..., 2, 2] of a covariance."""
    loc, entries = tf.split(parameters, [2, 3], axis=-1)
    scale = tfp.math.fill_triangular(entries)
    return loc, tf.linalg.set_diag(scale, tf.nn.softplus(tf.linalg.diag_part(scale)))


def _softplus(x: np.ndarray) -> np.ndarray:
    return -special.log_expit(-x)
