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


def test_a_student_t_of_infinitely_many_degrees_of_freedom_is_a_normal():
    df, x = [np.inf, 3.0, np.inf], [1.5, 1.5, -40.0]
    y = ppl.StudentT(df, 0.5, 2.0, value=x, name="y")
    oracles = [stats.norm(0.5, 2.0), stats.t(3.0, 0.5, 2.0), stats.norm(0.5, 2.0)]
    pairs = list(zip(oracles, x, strict=True))
    expected = [oracle.logpdf(at) for oracle, at in pairs]
    np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-6)
    distribution = y.distribution
    expected = [oracle.cdf(at) for oracle, at in pairs]
    np.testing.assert_allclose(distribution.cdf(x), expected, rtol=1e-5, atol=1e-30)
    expected = [oracle.sf(at) for oracle, at in pairs]
    np.testing.assert_allclose(
        distribution.survival_function(x), expected, rtol=1e-5, atol=1e-30
    )
    expected = [oracle.ppf(0.8) for oracle in oracles]
    np.testing.assert_allclose(distribution.quantile(0.8), expected, rtol=1e-5)
    expected = [oracle.var() for oracle in oracles]
    np.testing.assert_allclose(distribution.variance(), expected, rtol=1e-6)
    expected = [oracle.entropy() for oracle in oracles]
    np.testing.assert_allclose(y.entropy(), expected, rtol=1e-5)
    draws = y.sample(20_000, seed=(0, 1)).numpy()[:, ::2].reshape(-1)
    assert stats.kstest(draws, oracles[0].cdf).pvalue > 1e-3
    data = ppl.Interval([1.5, -np.inf, -np.inf], [np.inf, 1.5, -3.0])
    masses = ppl.StudentT(df, 0.5, 2.0, value=data, name="y").log_prob()
    expected = [oracles[0].logsf(1.5), oracles[1].logcdf(1.5), oracles[2].logcdf(-3.0)]
    np.testing.assert_allclose(masses, expected, rtol=1e-6)


def test_the_gradients_of_a_student_t_that_may_be_a_normal():
    def program():
        log_df = ppl.Normal(0.0, 1.0, sample_shape=2, name="log_df")
        df = tf.stack([tf.exp(log_df[0]), tf.constant(np.inf, log_df.dtype)])
        ppl.StudentT(df, log_df, 2.0, name="y")

    def by_hand(log_df):
        y = stats.t.logpdf(1.5, np.exp(log_df[0]), log_df[0], 2.0)
        y += stats.norm.logpdf(-0.5, log_df[1], 2.0)
        return y + stats.norm.logpdf(log_df).sum()

    posterior = ppl.posterior(program, observed={"y": [1.5, -0.5]})
    at = np.array([0.7, 0.3])
    value, grad = posterior.log_prob_and_grad(at)
    np.testing.assert_allclose(value, by_hand(at), rtol=1e-12)
    steps = 1e-5 * np.eye(2)
    slopes = [(by_hand(at + step) - by_hand(at - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(grad, slopes, rtol=1e-8)
