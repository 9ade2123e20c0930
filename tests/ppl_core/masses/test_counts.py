"""Intervals of counts and categories add up the masses of the values in them."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

import ppl_core as ppl

tfb, tfd = tfp.bijectors, tfp.distributions
INF = np.inf
LOWS = np.array([1.0, -INF, 2.0, -0.5, 0.0, 3.0])
HIGHS = np.array([3.0, 1.0, INF, 2.5, 0.0, 3.0])


def test_values_of_the_issue():
    data = ppl.Interval(1.0, 3.0)
    poisson = [np.exp(-2) * 2**k / special.factorial(k) for k in (1, 2, 3)]
    inflated = ppl.Inflated(tfd.Poisson(2.0), inflated_loc_probs=0.3, value=data)
    np.testing.assert_allclose(
        inflated.log_prob(), np.log(0.7 * sum(poisson)), rtol=1e-6
    )
    listed = ppl.FiniteDiscrete(
        [0.0, 1.0, 2.0, 3.0], probs=[0.1, 0.2, 0.3, 0.4], value=data
    )
    np.testing.assert_allclose(listed.log_prob(), np.log(0.9), rtol=1e-6)
    quantized = ppl.QuantizedDistribution(tfd.Normal(0.0, 1.0), value=data)
    expected = np.log(stats.norm.cdf(3) - stats.norm.cdf(0))
    np.testing.assert_allclose(quantized.log_prob(), expected, rtol=1e-6)


CASES = {
    "BetaBinomial": (
        lambda **o: ppl.BetaBinomial(
            10.0, concentration1=2.0, concentration0=1.5, **o
        ),
        lambda k: stats.betabinom.pmf(k, 10, 2.0, 1.5),
    ),
    "Binomial": (
        lambda **o: ppl.Binomial(10.0, probs=0.3, **o),
        lambda k: stats.binom.pmf(k, 10, 0.3),
    ),
    "Categorical": (
        lambda **o: ppl.Categorical(probs=[0.1, 0.2, 0.3, 0.4], **o),
        lambda k: np.where(k <= 3, 0.1 * (k + 1), 0.0),
    ),
    "Empirical": (
        lambda **o: ppl.Empirical([0.0, 1.0, 1.0, 2.0, 3.0], **o),
        lambda k: np.select([k == 1, k <= 3], [0.4, 0.2], 0.0),
    ),
    "Geometric": (
        lambda **o: ppl.Geometric(probs=0.3, **o),
        lambda k: 0.3 * 0.7**k,
    ),
    "Inflated": (
        lambda **o: ppl.Inflated(tfd.Poisson(2.0), inflated_loc_probs=0.3, **o),
        lambda k: 0.7 * stats.poisson.pmf(k, 2.0) + 0.3 * (k == 0),
    ),
    "Mixture": (
        lambda **o: ppl.Mixture(
            tfd.Categorical(probs=[0.4, 0.6]), [tfd.Poisson(1.0), tfd.Poisson(4.0)], **o
        ),
        lambda k: 0.4 * stats.poisson.pmf(k, 1.0) + 0.6 * stats.poisson.pmf(k, 4.0),
    ),
    "MixtureSameFamily": (
        lambda **o: ppl.MixtureSameFamily(
            tfd.Categorical(probs=[0.5, 0.5]), tfd.Poisson([1.0, 4.0]), **o
        ),
        lambda k: 0.5 * stats.poisson.pmf(k, 1.0) + 0.5 * stats.poisson.pmf(k, 4.0),
    ),
    "NegativeBinomial": (
        lambda **o: ppl.NegativeBinomial(2.5, probs=0.4, **o),
        lambda k: stats.nbinom.pmf(k, 2.5, 0.6),
    ),
    "OrderedLogistic": (
        lambda **o: ppl.OrderedLogistic([-1.0, 0.5, 2.0], 0.3, **o),
        lambda k: np.where(
            k <= 3,
            special.expit(np.take([-1.0, 0.5, 2.0, INF], k, mode="clip") - 0.3)
            - special.expit(np.take([-INF, -1.0, 0.5, 2.0], k, mode="clip") - 0.3),
            0.0,
        ),
    ),
    "Poisson": (
        lambda **o: ppl.Poisson(log_rate=np.float32(np.log(2.5)), **o),
        lambda k: stats.poisson.pmf(k, 2.5),
    ),
    "QuantizedDistribution": (
        lambda **o: ppl.QuantizedDistribution(
            tfd.Normal(1.0, 2.0), low=0.0, high=3.0, **o
        ),
        lambda k: np.where(
            k <= 3,
            stats.norm.cdf(np.where(k == 3, INF, k), 1.0, 2.0)
            - stats.norm.cdf(np.where(k == 0, -INF, k - 1.0), 1.0, 2.0),
            0.0,
        ),
    ),
    "StoppingRatioLogistic": (
        lambda **o: ppl.StoppingRatioLogistic([-1.0, 0.5, 2.0], 0.3, **o),
        lambda k: np.select(
            [k == 0, k == 1, k == 2, k == 3],
            list(
                np.append(STOPS, 1.0) * np.append(1.0, np.cumprod(1.0 - STOPS))
            ),
            0.0,
        ),
    ),
    "TransformedDistribution": (
        lambda **o: ppl.TransformedDistribution(
            tfd.Poisson(2.5), tfb.Shift(0.0), **o
        ),
        lambda k: stats.poisson.pmf(k, 2.5),
    ),
    "ZeroInflatedNegativeBinomial": (
        lambda **o: ppl.ZeroInflatedNegativeBinomial(
            inflated_loc_probs=0.3, total_count=2.5, probs=0.4, **o
        ),
        lambda k: 0.7 * stats.nbinom.pmf(k, 2.5, 0.6) + 0.3 * (k == 0),
    ),
}  # fmt: skip
STOPS = special.expit(np.array([-1.0, 0.5, 2.0]) - 0.3)


@pytest.mark.parametrize("name", CASES)
def test_the_masses_of_the_values_in_an_interval(name):
    make, mass = CASES[name]
    y = make(sample_shape=6, value=ppl.Interval(LOWS, HIGHS), name="y")
    k = np.arange(200)
    expected = [
        np.log(mass(k)[(k >= low) & (k <= high)].sum())
        for low, high in zip(LOWS, HIGHS, strict=True)
    ]
    np.testing.assert_allclose(y.log_prob(), expected, rtol=2e-5, atol=2e-6)


def test_zipf_bernoulli_and_deterministic():
    y = ppl.Zipf(1.5, sample_shape=3, value=ppl.Interval([1, 2, 1000], [3, INF, INF]))
    tail = special.zeta(1.5, [1, 2, 4, 1000]) / special.zeta(1.5)
    expected = np.log([1 - tail[2], tail[1], tail[3]])
    np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-5)
    data = ppl.Interval([0, 0.5, -INF], [1, INF, 0.2])
    y = ppl.Bernoulli(probs=0.3, sample_shape=3, value=data)
    np.testing.assert_allclose(y.log_prob(), np.log([1, 0.3, 0.7]), atol=1e-6)
    y = ppl.ProbitBernoulli(probits=0.5, sample_shape=3, value=data)
    p = stats.norm.cdf(0.5)
    np.testing.assert_allclose(y.log_prob(), np.log([1, p, 1 - p]), atol=1e-6)
    data = ppl.Interval([0.0, 2.0], [3.0, 2.5])
    y = ppl.Deterministic(2.0, value=data, sample_shape=2)
    np.testing.assert_array_equal(y.log_prob(), [0.0, 0.0])


def test_outcomes_that_are_no_whole_numbers():
    data = ppl.Interval([0.1, 0.05, 0.35, -INF], [0.3, 0.25, INF, 0.1])
    y = ppl.FiniteDiscrete(
        [0.1, 0.2, 0.3, 0.7], probs=[0.1, 0.2, 0.3, 0.4], sample_shape=4, value=data
    )
    np.testing.assert_allclose(y.log_prob(), np.log([0.6, 0.3, 0.4, 0.1]), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.5, -0.1])
def test_a_transformed_count(scale):
    """0.3 is not 3 / 10 in floating point, and still belongs to the interval."""
    bijector = tfb.Shift(1.0)(tfb.Scale(scale))
    k = np.array([1.0, 3.0])
    low, high = np.sort(1.0 + scale * k)
    y = ppl.TransformedDistribution(
        tfd.Poisson(2.5), bijector, value=ppl.Interval(low, high), name="y"
    )
    expected = stats.poisson.cdf(3, 2.5) - stats.poisson.cdf(0, 2.5)
    np.testing.assert_allclose(y.log_prob(), np.log(expected), rtol=1e-5)


def test_far_tails_of_counts():
    """Against SciPy's tails, and the first term of a tail below its range."""
    data = ppl.Interval([60.0, 400.0], [INF, INF])
    y = ppl.Poisson(tf.constant(3.0, tf.float64), sample_shape=2, value=data)
    first = stats.poisson.logpmf(400, 3.0) + np.log1p(3 / 401 + 9 / 401 / 402)
    expected = [stats.poisson.logsf(59, 3.0), first]
    np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-8)
    y = ppl.NegativeBinomial(
        tf.constant(2.5, tf.float64), probs=0.3, sample_shape=2, value=data
    )
    k = np.arange(400, 800)
    terms = stats.nbinom.logpmf(k, 2.5, 0.7)
    expected = [stats.nbinom.logsf(59, 2.5, 0.7), special.logsumexp(terms)]
    np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-8)


def program():
    size = ppl.Gamma(2.0, 1.0, name="size")
    ppl.NegativeBinomial(
        size, logits=[0.5, -0.5, 1.0], value=ppl.Interval([3, 0, -INF], [INF, 2, 4]),
        name="count",
    )  # fmt: skip


def test_a_latent_total_count_has_its_gradient():
    posterior = ppl.posterior(program)
    u = np.log(np.expm1(1.7))
    value, grad = posterior.log_prob_and_grad([[u]])

    def expected(u):
        r = np.log1p(np.exp(u))
        p = special.expit(-np.array([0.5, -0.5, 1.0]))
        cdf = stats.nbinom.cdf([2, 2, 4], r, p)
        masses = [1 - cdf[0], cdf[1], cdf[2]]
        log_det = -np.log1p(np.exp(-u))
        return np.log(masses).sum() + stats.gamma.logpdf(r, 2.0) + log_det

    np.testing.assert_allclose(value, [expected(u)], rtol=1e-9)
    slope = (expected(u + 1e-5) - expected(u - 1e-5)) / 2e-5
    np.testing.assert_allclose(grad, [[slope]], rtol=1e-7)
