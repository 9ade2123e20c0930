"""Latent variables between two bounds, where float32 rounds onto a bound."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import ppl_core as ppl

U = np.array([-300.0, -40.0, -3.0, 0.5, 20.0, 90.0, 300.0])
LOG_ABOVE, LOG_BELOW = -np.logaddexp(0, -U), -np.logaddexp(0, U)  # of the share s(u)


# Log densities of the share s(u), and their slopes by u, by hand.


def triangular():
    """With the peak at 1/4: 8 s on its left and (1 - s) 8 / 3 on its right."""
    is_left = special.expit(U) < 0.25
    log_prob = np.log(8.0) + np.where(is_left, LOG_ABOVE, LOG_BELOW - np.log(3.0))
    return log_prob, np.where(is_left, special.expit(-U), -special.expit(U))


def beta(a, b):
    log_prob = (a - 1) * LOG_ABOVE + (b - 1) * LOG_BELOW - special.betaln(a, b)
    return log_prob, (a - 1) * special.expit(-U) - (b - 1) * special.expit(U)


def logit_normal():
    log_prob = stats.norm.logpdf(U, 0.3, 1.5) - LOG_ABOVE - LOG_BELOW
    return log_prob, -(U - 0.3) / 1.5**2 - special.expit(-U) + special.expit(U)


def relaxed_bernoulli():
    """Maddison, Mnih and Teh (2017), appendix C: 0.5 u - 0.3 is logistic."""
    z = 0.5 * U - 0.3
    log_prob = np.log(0.5) + stats.logistic.logpdf(z) - LOG_ABOVE - LOG_BELOW
    slope = 0.5 * (1 - 2 * special.expit(z)) - special.expit(-U) + special.expit(U)
    return log_prob, slope


FAMILIES = {
    "Triangular": (lambda: ppl.Triangular(1.0, 5.0, 2.0, name="x"), triangular()),
    "PERT": (lambda: ppl.PERT(1.0, 2.0, 5.0, name="x"), beta(2, 4)),
    "Uniform": (lambda: ppl.Uniform(1.0, 5.0, name="x"), beta(1, 1)),
    "Bates": (lambda: ppl.Bates(1, 1.0, 5.0, name="x"), beta(1, 1)),
    "LogitNormal": (lambda: ppl.LogitNormal(0.3, 1.5, name="x"), logit_normal()),
    "RelaxedBernoulli": (
        lambda: ppl.RelaxedBernoulli(0.5, 0.3, name="x"),
        relaxed_bernoulli(),
    ),
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_latent_between_bounds_has_its_density_where_it_rounds_onto_one(kind):
    make, (expected, slope) = FAMILIES[kind]
    posterior = ppl.unconstrain(make, dtype=tf.float32)
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(U, tf.float32)[:, None])
    expected = expected + LOG_ABOVE + LOG_BELOW  # the log determinant
    slope = slope + special.expit(-U) - special.expit(U)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(grad[:, 0], slope, rtol=1e-5, atol=1e-6)


def test_a_bates_density_equals_that_of_a_mean_of_uniforms():
    """The Irwin-Hall density by its B-spline."""
    from scipy.interpolate import BSpline

    for n in (1, 2, 3, 6, 11):
        x = np.linspace(0.01, 0.99, 23)
        expected = np.log(n * BSpline.basis_element(np.arange(n + 1.0))(n * x))
        variable = ppl.Bates(
            n, tf.constant(2.0, tf.float64), tf.constant(4.0, tf.float64), name="x"
        )
        log_prob = variable.log_prob(2.0 + 2.0 * x)
        np.testing.assert_allclose(log_prob, expected - np.log(2.0), rtol=1e-8)
        assert variable.log_prob(4.5) == -np.inf


def test_data_on_a_bound_have_their_density():
    edges = dict(sample_shape=2, value=[1.0, 5.0])
    np.testing.assert_allclose(
        ppl.Triangular(1.0, 5.0, 1.0, **edges).log_prob(), [np.log(0.5), -np.inf]
    )
    np.testing.assert_allclose(
        ppl.Triangular(1.0, 5.0, 5.0, **edges).log_prob(), [-np.inf, np.log(0.5)]
    )
    np.testing.assert_array_equal(
        ppl.LogitNormal(0.0, 1.0, sample_shape=2, value=[0.0, 1.0]).log_prob(),
        [-np.inf, -np.inf],
    )


def test_what_depends_on_a_variable_at_its_bound_has_a_gradient():
    """At u = 100 in float32 p is 5 and dp / du is 0."""

    def model():
        p = ppl.Uniform(1.0, 5.0, name="p")
        ppl.Normal(p, 1.0, name="y")

    posterior = ppl.unconstrain(model, observed={"y": 4.0}, dtype=tf.float32)
    _, grad = posterior.log_prob_and_grad(tf.constant([[-1000.0], [100.0], [1000.0]]))
    np.testing.assert_allclose(grad[:, 0], [1.0, -1.0, -1.0])
