"""Densities far out, by closed forms."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import ppl_core as ppl

U = np.array([-300.0, -30.0, -2.0, 0.5, 30.0, 95.0, 300.0])


def softplus(u):
    return np.logaddexp(0, u)


def log_softplus(u):
    return np.where(u < -30, u, np.log(softplus(np.maximum(u, -30))))


# On the unconstrained coordinate: x = loc + exp(u), or 1 / log(1 + exp(u)).
FAMILIES = {
    "HalfCauchy": (
        lambda: ppl.HalfCauchy(0.5, 1.5, name="x"),
        np.log(2 / np.pi / 1.5) - np.logaddexp(0, 2 * (U - np.log(1.5))) + U,
        1 - 2 * special.expit(2 * (U - np.log(1.5))),
    ),
    "HalfStudentT": (
        lambda: ppl.HalfStudentT(3.0, 0.5, 1.5, name="x"),
        np.log(2)
        + stats.t.logpdf(0, 3, scale=1.5)
        - 2 * np.logaddexp(0, 2 * (U - np.log(1.5)) - np.log(3))
        + U,
        1 - 4 * special.expit(2 * (U - np.log(1.5)) - np.log(3)),
    ),
    "LogNormal": (
        lambda: ppl.LogNormal(0.5, 1.5, name="x"),
        stats.norm.logpdf(U, 0.5, 1.5),
        -(U - 0.5) / 1.5**2,
    ),
    "InverseGamma": (
        lambda: ppl.InverseGamma(2.0, 3.0, name="x"),
        2 * np.log(3.0) + 1 * log_softplus(U) - 3 * softplus(U) - np.logaddexp(0, -U),
        np.exp(-np.logaddexp(0, -U) - log_softplus(U))
        - 3 * special.expit(U)
        + special.expit(-U),
    ),
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_positive_latent_has_its_density_where_it_over_or_underflows(kind):
    make, expected, slope = FAMILIES[kind]
    posterior = ppl.unconstrain(make, dtype=tf.float32)
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(U, tf.float32)[:, None])
    np.testing.assert_allclose(log_prob, expected, rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(grad[:, 0], slope, rtol=1e-5, atol=2e-6)


def test_a_bijector_of_the_users_own_keeps_the_density():
    """It moves from another bound than the distribution's."""
    from tensorflow_probability import bijectors as tfb

    def model():
        above_one = tfb.Chain([tfb.Shift(1.0), tfb.Exp()])
        ppl.HalfCauchy(0.5, 1.5, bijector=above_one, name="x")

    log_prob = ppl.unconstrain(model).log_prob([[0.3]])
    expected = stats.halfcauchy.logpdf(1 + np.exp(0.3), 0.5, 1.5) + 0.3
    np.testing.assert_allclose(log_prob, [expected], rtol=1e-6)


def test_a_normal_plus_an_exponential_of_a_large_rate_is_the_normal():
    """Its log density by the scaled erfc; at a rate of 1e4 nearly the normal's."""
    x = np.array([-3.0, 0.2, 2.0])
    for dtype in (np.float32, np.float64):
        rate = tf.constant(dtype(1e4))
        with tf.GradientTape() as tape:
            tape.watch(rate)
            variable = ppl.ExponentiallyModifiedGaussian(
                dtype(0.0), dtype(1.0), rate, sample_shape=3, value=dtype(x), name="x"
            )
            log_prob = variable.log_prob()
        w = (1e4 - x) / np.sqrt(2)
        expected = np.log(1e4 / 2) + np.log(special.erfcx(w)) - x**2 / 2
        np.testing.assert_allclose(log_prob, expected, rtol=1e-6)
        np.testing.assert_allclose(log_prob, stats.norm.logpdf(x), atol=1e-3)
        # By the rate r it is near (1 - x^2) / r^3 - x / r^2, the sum of three here.
        by_rate = tape.gradient(log_prob, rate) * 1e4
        assert abs(by_rate - 0.8 / 1e4) < (1e-3 if dtype is np.float32 else 1e-6)
    x = np.array([0.1, 1.0, 3.0])  # a moderate rate: SciPy's
    variable = ppl.ExponentiallyModifiedGaussian(0.5, 2.0, 0.7, name="x")
    expected = stats.exponnorm.logpdf(x, 1 / 1.4, 0.5, 2.0)
    np.testing.assert_allclose(variable.log_prob(x), expected, rtol=1e-5)


def test_an_inverse_gaussians_gradient_by_its_mean_does_not_cancel_near_0():
    """It is concentration (x - loc) / loc^3."""
    loc, x = tf.constant(1.0), np.float32([1e-12, 1e-3, 0.5])
    with tf.GradientTape() as tape:
        tape.watch(loc)
        log_prob = ppl.InverseGaussian(loc, 3.0, sample_shape=3, value=x, name="x")
        log_prob = log_prob.log_prob()
    assert float(tape.gradient(log_prob, loc)) == pytest.approx(3 * (x - 1).sum(), 1e-6)
