"""Assertions with a known false-alarm rate, and target densities for samplers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special

ALARM = 1e-6  # the false-alarm rate of a check of random draws


def effective_sample_size(draws):
    """The effective sample size of `draws` [chains, num], summed over chains."""
    return float(np.sum(tfp.mcmc.effective_sample_size(np.asarray(draws, float).T)))


def standard_error(draws, *, min_ess=100.0):
    """The standard error of the mean of `draws` ([num] or [chains, num]).

    It accounts for autocorrelation.  Draws with too few effective samples fail here.
    """
    draws = np.atleast_2d(draws)
    ess = effective_sample_size(draws)
    assert ess >= min_ess, f"ESS {ess:.0f} < {min_ess:.0f}: too few draws to judge"
    return np.std(draws) / ess**0.5


def assert_mean_within(draws, mean, *, sigmas=5.0, min_ess=100.0):
    """Asserts that `draws` ([num] or [chains, num]) have this mean."""
    off = abs(np.mean(draws) - mean) / standard_error(draws, min_ess=min_ess)
    assert off < sigmas, f"mean is {off:.1f} standard errors from {mean}"


def assert_means_agree(draws, others, *, sigmas=5.0, min_ess=100.0):
    """Asserts that two samplers' draws ([num] or [chains, num]) have the same mean."""
    error = np.hypot(
        standard_error(draws, min_ess=min_ess), standard_error(others, min_ess=min_ess)
    )
    off = abs(np.mean(draws) - np.mean(others)) / error
    assert off < sigmas, f"means are {off:.1f} standard errors apart"


def distance_from(cdf, draws):
    """sup |F_n - F| of independent `draws` [num] and their claimed distribution."""
    below = cdf(np.sort(draws))
    num = len(draws)
    return max(
        np.max(np.arange(1, num + 1) / num - below),
        np.max(below - np.arange(num) / num),
    )


def distance_allowed(num, alarm=ALARM):
    """The bound that sup |F_n - F| exceeds with probability `alarm` (DKW, Massart)."""
    return np.sqrt(np.log(2 / alarm) / (2 * num))


class Target(NamedTuple):
    """A density in TensorFlow for the kernel, and in NumPy for the oracle."""

    dim: int
    log_prob: Callable  # tf [chains, dim] -> [chains]
    log_prob_and_grad: Callable  # np [dim] -> float, [dim]
    start: Callable  # (rng, chains) -> np [chains, dim]


COVARIANCE = np.array([[1.0, 1.2, -0.3], [1.2, 4.0, 0.1], [-0.3, 0.1, 0.25]])
PRECISION = np.linalg.inv(COVARIANCE)


def _normal(dim):
    return Target(
        dim=dim,
        log_prob=lambda x: -0.5 * tf.reduce_sum(x * x, -1),
        log_prob_and_grad=lambda x: (-0.5 * np.sum(x * x), -x),
        start=lambda rng, chains: rng.standard_normal((chains, dim)),
    )


def _correlated_normal():
    return Target(
        dim=3,
        log_prob=lambda x: (
            -0.5
            * tf.reduce_sum(
                x * tf.linalg.matmul(x, tf.constant(PRECISION, x.dtype)), -1
            )
        ),
        log_prob_and_grad=lambda x: (-0.5 * x @ PRECISION @ x, -PRECISION @ x),
        start=lambda rng, chains: rng.multivariate_normal(
            np.zeros(3), COVARIANCE, chains
        ),
    )


def _banana():
    """x ~ N(0, 1), y ~ N(x^2 / 2, 1/2^2)."""

    def log_prob(x):
        return -0.5 * x[:, 0] ** 2 - 2 * (x[:, 1] - x[:, 0] ** 2 / 2) ** 2

    def log_prob_and_grad(x):
        bend = x[1] - x[0] ** 2 / 2
        grad = np.array([-x[0] + 4 * bend * x[0], -4 * bend])
        return -0.5 * x[0] ** 2 - 2 * bend**2, grad

    def start(rng, chains):
        x = rng.standard_normal(chains)
        return np.stack([x, x**2 / 2 + 0.5 * rng.standard_normal(chains)], -1)

    return Target(2, log_prob, log_prob_and_grad, start)


def _funnel():
    """v ~ N(0, 3^2), x ~ N(0, e^v): no single step size suits it."""

    def log_prob(z):
        v, x = z[:, 0], z[:, 1]
        return -(v**2) / 18 - 0.5 * x**2 * tf.exp(-v) - 0.5 * v

    def log_prob_and_grad(z):
        v, x = z
        with np.errstate(all="ignore"):
            scaled = x**2 * np.exp(-v)
            grad = np.array([-v / 9 + 0.5 * scaled - 0.5, -x * np.exp(-v)])
        return -(v**2) / 18 - 0.5 * scaled - 0.5 * v, grad

    def start(rng, chains):
        v = 3 * rng.standard_normal(chains)
        return np.stack([v, np.exp(v / 2) * rng.standard_normal(chains)], -1)

    return Target(2, log_prob, log_prob_and_grad, start)


def _gamma():
    """Gamma(2, 1) itself: its log prob is NaN below 0, its gradient is not."""

    def log_prob_and_grad(x):
        with np.errstate(invalid="ignore"):
            return float(np.sum(np.log(x) - x)), 1 / x - 1

    return Target(
        dim=2,
        log_prob=lambda x: tf.reduce_sum(tf.math.log(x) - x, -1),
        log_prob_and_grad=log_prob_and_grad,
        start=lambda rng, chains: rng.gamma(2.0, size=(chains, 2)),
    )


BETA = np.array([[2.0, 3.0], [0.7, 1.5]])  # of each coordinate


def _beta_logits():
    """y with sigmoid(y) ~ Beta: skewed, with exponential tails."""

    def log_prob(y):
        a, b = (tf.constant(column, y.dtype) for column in BETA.T)
        return tf.reduce_sum(
            a * tf.math.log_sigmoid(y) + b * tf.math.log_sigmoid(-y), -1
        )

    def log_prob_and_grad(y):
        a, b = BETA.T
        value = -a * np.logaddexp(0, -y) - b * np.logaddexp(0, y)
        return float(np.sum(value)), a - (a + b) * special.expit(y)

    def start(rng, chains):
        return special.logit(rng.beta(*BETA.T, size=(chains, 2)))

    return Target(2, log_prob, log_prob_and_grad, start)


TARGETS = {
    "normal": _normal(1),
    "correlated normal": _correlated_normal(),
    "banana": _banana(),
    "funnel": _funnel(),
    "gamma": _gamma(),
    "beta logits": _beta_logits(),
}
