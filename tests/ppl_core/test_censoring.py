"""Censored data, against SciPy's cumulative functions."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl

tfb, tfd = tfp.bijectors, tfp.distributions

INF = np.inf
DATA = ppl.Interval([0.5, 1.0, -INF, 2.0, -INF], [0.5, 3.0, 1.0, INF, INF])


def by_hand(oracle, low, high, whole=False):
    if low == high:
        return oracle.logpmf(low) if whole else oracle.logpdf(low)
    below = oracle.cdf(low - 1 if whole else low)
    return np.log(oracle.cdf(high) - below)


CASES = {
    "Normal": (lambda: ppl.Normal(0.3, 1.2, sample_shape=5, value=DATA, name="y"),
               stats.norm(0.3, 1.2)),
    "Exponential": (lambda: ppl.Exponential(0.7, sample_shape=5, value=DATA, name="y"),
                    stats.expon(scale=1 / 0.7)),
    "Weibull": (lambda: ppl.Weibull(1.5, 2.0, sample_shape=5, value=DATA, name="y"),
                stats.weibull_min(1.5, scale=2.0)),
    "LogNormal": (lambda: ppl.LogNormal(0.3, 1.2, sample_shape=5, value=DATA, name="y"),
                  stats.lognorm(1.2, scale=np.exp(0.3))),
    "StudentT": (lambda: ppl.StudentT(4.0, 0.3, 1.2, sample_shape=5, value=DATA,
                                      name="y"), stats.t(4.0, 0.3, 1.2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_log_prob_of_each_entry(name):
    make, oracle = CASES[name]
    expected = [
        by_hand(oracle, *bounds) for bounds in zip(DATA.low, DATA.high, strict=True)
    ]
    np.testing.assert_allclose(make().log_prob(), expected, rtol=1e-5, atol=1e-6)


def test_whole_numbers_count_both_bounds():
    data = ppl.Interval([2, 1, 3, -INF], [2, 3, INF, 1])
    y = ppl.Poisson(2.5, sample_shape=4, value=data, name="y")
    oracle = stats.poisson(2.5)
    expected = [
        by_hand(oracle, *bounds, whole=True)
        for bounds in zip(data.low, data.high, strict=True)
    ]
    np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-5)


def program():
    mu = ppl.Normal(0.0, 10.0, name="mu")
    ppl.Normal(mu, 1.0, sample_shape=5, name="y")


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_the_gradient_is_finite_and_right_also_far_out(dtype):
    posterior = ppl.unconstrain(program, observed={"y": DATA}, dtype=dtype)
    mus = [-30.0, -3.0, 0.4, 3.0, 30.0]
    log_prob, grad = posterior.log_prob_and_grad(np.array(mus)[:, None])
    expected = np.array([by_tails(mu) for mu in mus])
    rtol = 1e-9 if dtype == tf.float64 else 1e-5
    np.testing.assert_allclose(log_prob, expected[:, 0], rtol=rtol)
    np.testing.assert_allclose(grad[:, 0], expected[:, 1], rtol=rtol)


def by_tails(mu):
    """The log joint of `program` and its derivative, by SciPy's tails."""
    pdf, cdf, sf = stats.norm.logpdf, stats.norm.logcdf, stats.norm.logsf

    def both(low, high):  # log of a difference of tails, and its gradient by mu
        if mu > 2:  # the interval lies in the lower tail
            mass = cdf(high - mu) + np.log1p(-np.exp(cdf(low - mu) - cdf(high - mu)))
        else:
            mass = sf(low - mu) + np.log1p(-np.exp(sf(high - mu) - sf(low - mu)))
        slope = np.exp(pdf(low - mu) - mass) - np.exp(pdf(high - mu) - mass)
        return mass, slope

    terms = [
        (stats.norm.logpdf(mu, 0, 10), -mu / 100),
        (pdf(0.5 - mu), 0.5 - mu),
        both(1.0, 3.0),
        (cdf(1.0 - mu), -np.exp(pdf(1.0 - mu) - cdf(1.0 - mu))),
        (sf(2.0 - mu), np.exp(pdf(2.0 - mu) - sf(2.0 - mu))),
    ]
    return np.sum(terms, axis=0)


def test_values_are_nan_where_they_are_not_known_and_masks_and_scales_count():
    with ppl.tape() as variables, ppl.condition(mu=0.4, y=DATA):
        with ppl.scale(2.0, "y"), ppl.mask([True, False, True, True, True], "y"):
            program()
    y = variables["y"]
    np.testing.assert_array_equal(y.value, np.float32([0.5] + 4 * [np.nan]))
    plain = ppl.make_log_likelihood_fn(program, observed={"y": DATA})(mu=0.4)["y"]
    np.testing.assert_allclose(y.log_prob(), 2 * plain * [1, 0, 1, 1, 1], rtol=1e-6)
    assert ppl.describe(program, observed={"y": DATA})[1].kind == "data"


def test_a_censored_variable_below_a_sum():
    def mixture():
        with ppl.plate("row", 5):
            z = tf.cast(ppl.Bernoulli(probs=0.3, name="z"), tf.float32)
            ppl.Normal(4.0 * z, 1.0, name="y")

    value = ppl.make_log_joint_fn(ppl.marginalize(mixture, "z"), observed={"y": DATA})()
    rows = zip(DATA.low, DATA.high, strict=True)
    expected = sum(
        np.logaddexp(
            np.log(0.7) + by_hand(stats.norm(0, 1), low, high),
            np.log(0.3) + by_hand(stats.norm(4, 1), low, high),
        )
        for low, high in rows
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: ppl.Interval([0.0, 2.0], [1.0, 1.0]), r"2.0 to 1.0 at \(1,\)"),
        (lambda: ppl.Interval(np.nan, 1.0), "given nan to 1.0"),
        (lambda: ppl.Normal(0.0, 1.0, value=DATA, name="y"), r"shape \(5,\), wanted"),
        (
            lambda: ppl.Exponential(1.0, value=ppl.Interval(-1.0, -1.0), name="y"),
            "y.*given -1.0 at .*0 or more",
        ),
        (
            lambda: ppl.MultivariateNormalDiag([0.0], value=ppl.Interval([0.0], [1.0])),
            "single numbers",
        ),
        (
            lambda: ppl.Skellam(1.0, 2.0, value=ppl.Interval(0.0, 1.0), name="y"),
            "y.*a Skellam, wanted one of a distribution that docs",
        ),
        (
            lambda: ppl.VonMises(0.0, 1.0, value=ppl.Interval(0.0, INF), name="y"),
            "y.*an angle with one bound, wanted",
        ),
        (
            lambda: ppl.QuantizedDistribution(
                tfd.Poisson(2.0), value=ppl.Interval(0.0, INF), name="y"
            ),
            "y.*a QuantizedDistribution of whole numbers, wanted",
        ),
        (
            lambda: ppl.TransformedDistribution(
                tfd.Gamma(2.0, 1.0),
                tfb.Reciprocal(),
                value=ppl.Interval(-1.0, 2.0),
                name="y",
            ),
            "y.*the bijector reciprocal, wanted",
        ),
        (
            lambda: ppl.Gamma(
                2.0, 1.0, value=ppl.Interval([1, -3], [2, -1]), sample_shape=2, name="y"
            ),
            r"y.*given -3.0 to -1.0 at \(1,\), wanted an interval with values",
        ),
        (
            lambda: ppl.Poisson(2.0, value=ppl.Interval(0.2, 0.8), name="y"),
            r"y.*given 0.2 to 0.8 at \(\), wanted an interval with values",
        ),
        (
            lambda: ppl.FiniteDiscrete(
                [1.0, 4.0], [0.5, 0.5], value=ppl.Interval(2.0, 3.0), name="y"
            ),
            r"y.*given 2.0 to 3.0 at \(\), wanted an interval with values",
        ),
    ],
)
def test_what_is_no_interval_of_the_variable_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def impossible(low, high):
    def program():
        rate = ppl.Gamma(2.0, 1.0, name="rate")
        ppl.Gamma(2.0, rate, value=ppl.Interval(low, high), name="y")

    return program


@pytest.mark.parametrize(("low", "high"), [(-3.0, -1.0), (-3.0, 0.0)])
def test_an_interval_outside_the_support_is_refused_whatever_the_parameters(low, high):
    with pytest.raises(ValueError, match=rf"y.*given {low} to {high} at \(\), wanted"):
        ppl.posterior(impossible(low, high))


def test_masked_intervals_are_not_looked_at():
    with ppl.tape() as variables, ppl.mask([True, False]):
        data = ppl.Interval([1.0, -3.0], [2.0, -1.0])
        ppl.Exponential(2.0, sample_shape=2, value=data, name="y")
    expected = [np.log(np.exp(-2.0) - np.exp(-4.0)), 0.0]
    np.testing.assert_allclose(variables["y"].log_prob(), expected, rtol=1e-6)


def uniform():
    high = ppl.Pareto(1.0, 1.0, name="high")
    ppl.Uniform(0.0, high, value=ppl.Interval(5.0, 6.0), name="y")


def test_an_interval_beyond_a_latent_edge_is_impossible_there():
    posterior = ppl.posterior(uniform)
    points = posterior.unconstrain({"high": [4.0, 5.5, 10.0]})
    values, grads = posterior.log_prob_and_grad(points)
    assert values[0] == -INF
    assert np.isfinite(grads).all()
    prior = ppl.posterior(lambda: ppl.Pareto(1.0, 1.0, name="high"))
    masses = values - prior.log_prob(points)
    np.testing.assert_allclose(masses[1:], np.log([0.5 / 5.5, 0.1]), rtol=1e-9)


def edges(lows):
    """Exact and censored values above a latent edge, rows with edges of their own."""
    edge = ppl.Normal(0.0, 1.0, name="edge")
    ppl.GeneralizedPareto(edge * lows, 1.0, 0.5, name="y")


def test_an_exact_entry_outside_a_latent_support_is_impossible():
    data = ppl.Interval([2.0, 4.5], [2.0, np.inf])
    posterior = ppl.posterior(edges, np.array([1.0, 2.0]), observed={"y": data})
    values, grads = posterior.log_prob_and_grad([[1.5], [2.1]])
    expected = stats.norm.logpdf(1.5)
    expected += stats.genpareto.logpdf(2.0, 0.5, 1.5)
    expected += stats.genpareto.logsf(4.5, 0.5, 3.0)
    np.testing.assert_allclose(values, [expected, -INF], rtol=1e-9)
    assert np.isfinite(grads).all()


def test_an_entry_outside_the_support_under_a_mask_leaves_the_gradient():
    def masked():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.mask([True, True, False]):
            data = ppl.Interval([0.5, 1.0, -1.0], [1.0, 1.0, -1.0])
            ppl.Weibull(1.5, tf.exp(mu), sample_shape=3, value=data, name="y")

    def expected(mu):
        y = stats.weibull_min(1.5, scale=np.exp(mu))
        mass = np.log(y.cdf(1.0) - y.cdf(0.5))
        return stats.norm.logpdf(mu) + mass + y.logpdf(1.0)

    values, grads = ppl.posterior(masked).log_prob_and_grad([[0.3]])
    np.testing.assert_allclose(values, [expected(0.3)], rtol=1e-9)
    slope = (expected(0.3 + 1e-5) - expected(0.3 - 1e-5)) / 2e-5
    np.testing.assert_allclose(grads, [[slope]], rtol=1e-6)


def test_an_interval_given_an_argument_that_is_not_allowed_is_impossible():
    def program():
        rate = ppl.Normal(0.0, 1.0, name="rate")
        ppl.Exponential(rate, value=ppl.Interval(2.0, INF), name="y")

    values = ppl.posterior(program).log_prob([[0.5], [-0.5]])
    np.testing.assert_allclose(values, [stats.norm.logpdf(0.5) - 1.0, -INF])
