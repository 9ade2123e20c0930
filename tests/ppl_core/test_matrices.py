"""Latent matrices, far out where a factor's diagonal rounds to 0."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl

# The coordinates of a 2 x 2 factor are L22, L21 and L11, the diagonal by softplus.
U = np.array([[0.2, -0.3, 0.4], [-40.0, 0.3, 0.3], [0.5, 0.1, -300.0]])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_wishart_has_its_density_at_nearly_singular_matrices(dtype):
    """The Bartlett decomposition's: L11^2 and L22^2 are chi2, L21 is normal."""
    df = 3.5

    def model():
        ppl.WishartTriL(df, np.eye(2), name="x")

    posterior = ppl.unconstrain(model, dtype=dtype)
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(U, dtype))
    y = posterior.unconstrain({"x": [[[4.0, 2.0], [2.0, 5.0]]]})  # L = [[2, 0], [1, 2]]
    inverse = np.log(np.expm1(2.0))  # of softplus
    np.testing.assert_allclose(y, [[inverse, 1.0, inverse]], rtol=1e-5)

    def log_chi(u, df):  # density by u of L = softplus(u) ~ chi(df)
        length = np.logaddexp(0, u)
        log_length = np.where(u < -30, u, np.log(np.maximum(length, 1e-13)))
        log_norm = stats.chi(df).logpdf(1.0) + 0.5
        rest = (df - 1) * log_length - length**2 / 2 - np.logaddexp(0, -u)
        return log_norm + rest

    expected = log_chi(U[:, 0], df - 1) + stats.norm.logpdf(U[:, 1])
    expected += log_chi(U[:, 2], df)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-6)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(grad[:, 1], -U[:, 1], rtol=1e-5)
    # Far on the left the density is a power, of df - 1 and df, of exp(u).
    np.testing.assert_allclose([grad[1, 0], grad[2, 2]], [df - 1, df], rtol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_correlation_near_one_has_its_density(dtype):
    """With r = u / sqrt(1 + u^2): (1 - r^2)^(c - 1) dr / du, normalised by a beta."""
    u = np.array([-1000.0, -100.0, 0.3, 1000.0])

    def model():
        ppl.LKJ(2, 1.5, name="x")

    posterior = ppl.unconstrain(model, dtype=dtype)
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(u, dtype)[:, None])
    log_norm = stats.beta(1.5, 1.5).logpdf(0.5) - np.log(2)  # at r = 0
    expected = log_norm - 2.0 * np.log1p(u**2)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-6)
    np.testing.assert_allclose(grad[:, 0], -4 * u / (1 + u**2), rtol=2e-5)
