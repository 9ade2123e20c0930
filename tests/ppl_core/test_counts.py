"""Counts and ordered categories, by closed forms in float64."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats
from tensorflow_probability import distributions as tfd

import ppl_core as ppl


def float64(x):
    return tf.constant(x, tf.float64)


def test_a_count_of_zero_has_a_gradient_at_a_rate_and_a_probability_of_zero():
    for make, slope in (
        (lambda x: ppl.Poisson(x, value=0.0, name="x"), -1.0),
        (lambda x: ppl.Binomial(10.0, probs=x, value=0.0, name="x"), -10.0),
    ):
        zero = float64(0.0)
        with tf.GradientTape() as tape:
            tape.watch(zero)
            log_prob = make(zero).log_prob()
        assert log_prob == 0.0
        assert tape.gradient(log_prob, zero) == slope


def test_poisson_and_binomial_equal_scipys():
    counts = np.arange(6.0)
    np.testing.assert_allclose(
        ppl.Poisson(float64(1.7), name="x").log_prob(counts),
        stats.poisson(1.7).logpmf(counts),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        ppl.Binomial(float64(5.0), probs=float64(0.3), name="x").log_prob(counts),
        stats.binom(5, 0.3).logpmf(counts),
        rtol=1e-12,
    )


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_stopping_ratio_has_gradients_at_far_cut_points(dtype):
    """log s(c_k) + log s(-c_j), j < k, with c = cut - loc: by hand in float64."""
    cutpoints, loc = tf.constant([-900.0, 0.5, 800.0], dtype), tf.constant(0.25, dtype)
    distance = np.array([-900.0, 0.5, 800.0]) - 0.25
    stop, go = -np.logaddexp(0, -distance), -np.logaddexp(0, distance)
    expected = [stop[0], go[0] + stop[1], go[:2].sum() + stop[2], go.sum()]
    for k in range(4):
        with tf.GradientTape() as tape:
            tape.watch([cutpoints, loc])
            variable = ppl.StoppingRatioLogistic(cutpoints, loc, value=k, name="y")
            log_prob = variable.log_prob()
        np.testing.assert_allclose(log_prob, expected[k], rtol=1e-6)
        by_cut, by_loc = tape.gradient(log_prob, [cutpoints, loc])
        slopes = np.where(np.arange(3) < k, -special.expit(distance), 0.0)
        slopes[k : k + 1] = special.expit(-distance[k : k + 1])
        np.testing.assert_allclose(by_cut, slopes, rtol=1e-6, atol=1e-7)
        assert float(by_loc) == pytest.approx(-slopes.sum(), rel=1e-6)


def test_a_skellams_gradients_are_those_of_its_exchanged_negative():
    """P(-k; a, b) = P(k; b, a), and by hand at k = 0 for small rates."""
    k = np.array([0.0, 1.0, 3.0, 20.0])
    rates = [float64(2.0), float64(3.0)]

    def log_prob_and_gradient(k, first, second):
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            variable = ppl.Skellam(first, second, sample_shape=4, value=k, name="y")
            log_prob = variable.log_prob()
        return log_prob, *tape.gradient(log_prob, [first, second])

    value, by_first, by_second = log_prob_and_gradient(-k, *rates)
    other, by_a, by_b = log_prob_and_gradient(k, *rates[::-1])
    np.testing.assert_allclose(value, other, rtol=1e-12)
    np.testing.assert_allclose([by_first, by_second], [by_b, by_a], rtol=1e-12)
    np.testing.assert_allclose(value, stats.skellam(2, 3).logpmf(-k), rtol=1e-9)
    step = 1e-5
    above = log_prob_and_gradient(-k, rates[0] + step, rates[1])[0]
    below = log_prob_and_gradient(-k, rates[0] - step, rates[1])[0]
    difference = np.sum((above - below) / (2 * step))
    assert float(by_first) == pytest.approx(difference, rel=1e-6)


def test_a_poisson_lognormals_rate_is_lognormal():
    """At a scale of 0.001 it is nearly the Poisson of rate exp(loc)."""
    counts = np.arange(6.0)
    variable = ppl.PoissonLogNormalQuadratureCompound(
        float64(0.5), float64(1e-3), name="y"
    )
    expected = stats.poisson(np.exp(0.5)).logpmf(counts)
    np.testing.assert_allclose(variable.log_prob(counts), expected, atol=1e-5)
    wide = ppl.PoissonLogNormalQuadratureCompound(
        float64(0.5), float64(0.7), quadrature_size=200, name="y"
    )
    # The integral over the normal of log rate; 200 nodes are coarse in its tails.
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    parts = stats.poisson.pmf(counts[:, None], np.exp(0.5 + 0.7 * z)) @ weights
    expected = parts / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(np.exp(wide.log_prob(counts)), expected, rtol=0.02)
    with ppl.seeded((1, 2)):
        draws = ppl.PoissonLogNormalQuadratureCompound(
            0.5, 1e-3, sample_shape=20000, name="y"
        )
    assert draws.numpy().mean() == pytest.approx(np.exp(0.5), abs=0.05)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_an_ordered_logistic_has_gradients_at_far_cut_points(dtype):
    cutpoints = tf.constant([-900.0, -1.0, 0.5, 800.0], dtype)
    loc = tf.constant(0.25, dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([cutpoints, loc])
        log_probs = [
            ppl.OrderedLogistic(cutpoints, loc, value=k, name="y").log_prob()
            for k in range(5)
        ]
    # log s(a) = -log(1 + exp(-a)) with a = loc - cut, by hand in float64
    a = 0.25 - np.array([-900.0, -1.0, 0.5, 800.0])
    above = -np.logaddexp(0, -a)
    below = -np.logaddexp(0, a)
    middle = above[:-1] + below[1:] + np.log(-np.expm1(a[1:] - a[:-1]))
    np.testing.assert_allclose(log_probs, [below[0], *middle, above[-1]], rtol=1e-6)
    share = special.expit(a)
    by_loc = [-share[0], *(1 - share[:-1] - share[1:]), 1 - share[-1]]
    for k, log_prob in enumerate(log_probs):
        np.testing.assert_allclose(tape.gradient(log_prob, loc), by_loc[k], atol=1e-6)
        by_cut = tape.gradient(log_prob, cutpoints).numpy()
        assert np.isfinite(by_cut).all()
        assert by_cut.sum() == pytest.approx(-by_loc[k], abs=1e-5)


def test_an_ordered_logistic_equals_tfps_where_that_is_right():
    cutpoints, loc = [[-1.0, 0.4], [0.0, 3.0]], [0.0, 1.0]
    ours = ppl.OrderedLogistic(cutpoints, loc, name="y", value=[1, 2]).distribution
    theirs = tfd.OrderedLogistic(cutpoints, loc)
    np.testing.assert_allclose(
        ours.categorical_probs(), theirs.categorical_probs(), rtol=1e-5
    )
    np.testing.assert_array_equal(
        ours.sample(5, seed=(1, 2)), theirs.sample(5, seed=(1, 2))
    )


def test_a_zipfs_gradient_by_its_power_has_the_normalisers_term():
    """By s it is -log x - zeta'(s) / zeta(s), here by differences of SciPy's zeta."""
    x = np.array([1, 3, 40])
    for s in (1.05, 2.0, 3.5, 20.0):
        power = float64(s)
        with tf.GradientTape() as tape:
            tape.watch(power)
            log_prob = ppl.Zipf(power, sample_shape=3, value=x, name="y").log_prob()
        expected = -s * np.log(x) - np.log1p(special.zetac(s))
        np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
        h = 1e-4 * (s - 1)
        change = np.log1p(special.zetac(s + h)) - np.log1p(special.zetac(s - h))
        slope = -np.log(x).sum() - 3 * change / (2 * h)
        assert float(tape.gradient(log_prob, power)) == pytest.approx(slope, rel=1e-6)


def test_a_zipf_may_have_a_latent_power():
    def model():
        power = ppl.HalfNormal(1.0, name="power")
        ppl.Zipf(1.0 + power, name="y")

    posterior = ppl.unconstrain(model, observed={"y": 2})
    _, grad = posterior.log_prob_and_grad([[0.4]])
    above, below = (posterior.log_prob([[0.4 + h]]) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(grad[:, 0], (above - below) / 2e-5, rtol=1e-7)
