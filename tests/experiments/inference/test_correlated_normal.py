"""A normal of 100 axes, each correlated with the next, by 20 chains of 1,000 draws."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from experiments.inference import sample_nuts
from tests.helpers import standard_error


@pytest.mark.slow
def test_20_chains_of_a_correlated_normal_of_100_axes_have_its_moments():
    """Means, standard deviations and correlations of neighbours, 299 in all.

    By chance one of them is beyond 5 standard errors with probability 2e-4, and two
    are beyond 4 with about as much.
    """
    dim, correlation = 100, 0.8
    spread = np.geomspace(0.1, 10.0, dim)
    power = np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
    covariance = correlation**power * np.outer(spread, spread)
    precision = tf.constant(np.linalg.inv(covariance))

    def log_prob(x):
        x = tf.cast(x, tf.float64)
        return -0.5 * tf.reduce_sum(x * tf.matmul(x, precision), axis=-1)

    tree = sample_nuts(
        log_prob, dim=dim, num_chains=20, num_warmup=500, num_draws=1000, seed=8
    )
    assert not tree["sample_stats/diverging"].values.any()
    white = tree["posterior/x"].values / spread
    errors = [_error(white[..., i], 0.0) for i in range(dim)]
    errors += [_error(white[..., i] ** 2, 1.0) for i in range(dim)]
    neighbours = white[..., 1:] * white[..., :-1]
    errors += [_error(neighbours[..., i], correlation) for i in range(dim - 1)]
    assert np.max(np.abs(errors)) < 5
    assert np.sum(np.abs(errors) > 4) <= 1
    # Of independent combinations the squares add up to chi-square of 100 degrees.
    axes = np.linalg.eigh(correlation**power)[1]
    independent = [_error(white @ axis, 0.0) for axis in axes.T]
    total = np.sum(np.square(independent))
    assert 1e-4 < stats.chi2(dim).cdf(total) < 1 - 1e-4


def _error(draws, wanted):
    """How far the mean of draws [chains, num] is from `wanted`, in standard errors."""
    return (draws.mean() - wanted) / standard_error(draws, min_ess=400)
