"""Densities with gradients of their own, against TFP's and autodiff's."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

import ppl_core as ppl
from ppl_core.densities import Bernoulli, bernoulli_log_prob

tfd = tfp.distributions

LOGITS = np.array([-200.0, -30.0, -1.5, -1e-9, 0.0, 1e-9, 0.7, 30.0, 200.0])


def log_prob_and_gradients(log_prob, logits, event):
    with tf.GradientTape() as tape:
        tape.watch([logits, event])
        value = log_prob(logits, event)
        total = tf.reduce_sum(value * weights(value.shape))
    return value, *tape.gradient(total, [logits, event])


def weights(shape):
    """Upstream gradients that differ from entry to entry."""
    return tf.reshape(tf.range(1.0, 1.0 + np.prod(shape), dtype=tf.float64), shape)


def tfp_log_prob(logits, event):
    return tfd.Bernoulli(logits=logits).log_prob(event)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graphs_bernoulli_is_right_to_three_roundings(jit_compile):
    # All exponentials from 0 to 1, and the smallest, of which the log prob of a success
    # is the only term.
    logits = np.concatenate([np.linspace(0.0, 45.0, 4501), np.geomspace(45.0, 700, 50)])
    compute = tf.function(
        lambda x: bernoulli_log_prob(x, tf.ones_like(x)), jit_compile=jit_compile
    )
    exact = [-math.log1p(math.exp(-x)) for x in logits]
    epsilon = np.finfo(np.float64).eps
    np.testing.assert_allclose(compute(tf.constant(logits)), exact, rtol=3 * epsilon)
    edges = compute(tf.constant([0.0, np.inf, -np.inf, np.nan], tf.float64))
    np.testing.assert_allclose(edges, [-math.log(2.0), 0.0, -np.inf, np.nan])


@pytest.mark.parametrize("event", [0.0, 1.0])
def test_log_prob_and_gradients_are_tfps_in_float64(event):
    logits = tf.constant(LOGITS)
    events = tf.fill(logits.shape, tf.constant(event, tf.float64))
    ours = log_prob_and_gradients(bernoulli_log_prob, logits, events)
    theirs = log_prob_and_gradients(tfp_log_prob, logits, events)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-14, atol=1e-300)
    # Gradients are differences of numbers of order one, times weights up to nine.
    for actual, expected in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=9 * 2.3e-16)


def test_log_prob_is_exact_at_infinite_logits():
    logits = tf.constant([np.inf, np.inf, -np.inf, -np.inf], tf.float64)
    events = tf.constant([1.0, 0.0, 1.0, 0.0], tf.float64)
    log_prob = bernoulli_log_prob(logits, events)
    np.testing.assert_array_equal(log_prob, [0.0, -np.inf, -np.inf, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = bernoulli_log_prob(logits, events)
    np.testing.assert_array_equal(
        tape.gradient(log_prob, logits), [0.0, -1.0, 1.0, 0.0]
    )


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.float32, tf.float64])
def test_the_distribution_accepts_events_of_any_dtype(dtype):
    event = tf.constant([0, 1, 1], dtype)
    logits = tf.constant([0.3, -2.0, 5.0])
    ours = Bernoulli(logits=logits).log_prob(event)
    theirs = tfd.Bernoulli(logits=logits).log_prob(tf.cast(event, tf.float32))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert ours.dtype == tf.float32


def test_log_prob_is_linear_in_the_event_as_tfps_is():
    logits = tf.constant(LOGITS)
    event = tf.constant(np.linspace(-0.5, 1.5, len(LOGITS)))
    np.testing.assert_allclose(
        bernoulli_log_prob(logits, event), tfp_log_prob(logits, event), rtol=1e-13
    )


@pytest.mark.parametrize(
    "logits_shape, event_shape",
    [
        ((), (3,)),
        ((3,), ()),
        ((2, 3), (3,)),
        ((3,), (2, 3)),
        ((2, 1), (1, 3)),
        ((1,), (1, 1)),
        ((4, 1, 3), (2, 1)),
    ],
)
def test_gradients_have_the_shapes_of_broadcast_operands(logits_shape, event_shape):
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=logits_shape))
    event = tf.constant(rng.uniform(size=event_shape))
    ours = log_prob_and_gradients(bernoulli_log_prob, logits, event)
    theirs = log_prob_and_gradients(tfp_log_prob, logits, event)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_gradients_work_for_operands_of_unknown_shape():
    @tf.function(
        input_signature=[
            tf.TensorSpec(None, tf.float64),
            tf.TensorSpec([None], tf.float64),
        ]
    )
    def gradients(logits, event):
        with tf.GradientTape() as tape:
            tape.watch([logits, event])
            log_prob = tf.reduce_sum(bernoulli_log_prob(logits, event))
        return tape.gradient(log_prob, [logits, event])

    event = np.array([0.0, 1.0, 1.0])
    by_logits, by_event = gradients([[0.5], [-1.0]], event)
    probs = 1 / (1 + np.exp(-np.array([[0.5], [-1.0]])))
    np.testing.assert_allclose(by_logits, (event - probs).sum(1, keepdims=True))
    np.testing.assert_allclose(by_event, [-0.5, -0.5, -0.5])


def test_second_derivatives_match_autodiff():
    logits = tf.constant(LOGITS[1:-1])
    event = tf.constant([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0], tf.float64)

    def second(log_prob):
        with tf.GradientTape() as outer:
            outer.watch([logits, event])
            with tf.GradientTape() as inner:
                inner.watch(logits)
                value = log_prob(logits, event)
            gradient = inner.gradient(value, logits)
        return outer.gradient(gradient, [logits, event])

    by_logits, by_event = second(bernoulli_log_prob)
    probs = tf.sigmoid(logits)
    np.testing.assert_allclose(by_logits, -probs * (1 - probs), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(by_event, np.ones(7))
    for actual, expected in zip(
        (by_logits, by_event), second(tfp_log_prob), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_log_prob_and_gradient_compile(jit_compile):
    logits = tf.constant(LOGITS)
    event = tf.constant([0.0, 1.0] * 4 + [0.0], tf.float64)
    compiled = tf.function(
        lambda *operands: log_prob_and_gradients(bernoulli_log_prob, *operands),
        jit_compile=jit_compile,
    )
    eager = log_prob_and_gradients(bernoulli_log_prob, logits, event)
    for actual, expected in zip(compiled(logits, event), eager, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=9 * 2.3e-16)


@pytest.mark.filterwarnings("error")
def test_log_prob_and_gradient_vectorize_over_the_logits_alone():
    logits = tf.constant(np.random.default_rng(1).normal(size=(5, 3)))
    event = tf.constant([0.0, 1.0, 1.0], tf.float64)

    def one(logits):
        return log_prob_and_gradients(bernoulli_log_prob, logits, event)

    batched = tf.vectorized_map(one, logits)
    for i in range(5):
        for actual, expected in zip(batched, one(logits[i]), strict=True):
            np.testing.assert_allclose(actual[i], expected, rtol=1e-12)


def test_probs_instead_of_logits_use_tfps_density():
    probs = tf.constant([0.0, 0.2, 1.0], tf.float64)
    ours = Bernoulli(probs=probs).log_prob([0, 1, 1])
    np.testing.assert_array_equal(ours, tfd.Bernoulli(probs=probs).log_prob([0, 1, 1]))
    np.testing.assert_allclose(ours, [0.0, np.log(0.2), 0.0])


def test_all_other_methods_are_tfps():
    ours, theirs = Bernoulli(logits=[0.3, -1.0]), tfd.Bernoulli(logits=[0.3, -1.0])
    assert isinstance(ours, tfd.Bernoulli)
    np.testing.assert_array_equal(ours.mean(), theirs.mean())
    np.testing.assert_array_equal(ours.entropy(), theirs.entropy())
    np.testing.assert_array_equal(
        ours.sample(5, seed=(1, 2)), theirs.sample(5, seed=(1, 2))
    )
    np.testing.assert_allclose(ours.prob(1), theirs.prob(1), rtol=1e-6)


# Densities at edges, by closed forms in float64


def float64(x):
    return tf.constant(x, tf.float64)


@pytest.mark.parametrize("concentration", [-0.3, -1e-6, 0.0, 1e-9, 1e-5, 0.2, 2.0])
def test_the_generalized_extreme_value_density_equals_scipys(concentration):
    x = np.array([-2.0, -1.5, -1.0, 0.0, 0.7, 3.0, 20.0])
    variable = ppl.GeneralizedExtremeValue(
        float64(0.5), float64(1.5), float64(concentration), name="x"
    )
    expected = stats.genextreme(-concentration, loc=0.5, scale=1.5).logpdf(x)
    np.testing.assert_allclose(variable.log_prob(x), expected, rtol=1e-6)


def test_at_a_concentration_of_zero_it_is_the_gumbel():
    variable = ppl.GeneralizedExtremeValue(0.0, 1.0, 0.0, name="x")
    log_prob = variable.log_prob([-1.0, -1.5])
    np.testing.assert_allclose(log_prob, [-1.71828, -2.98169], rtol=1e-5)


BOUNDS = [(0.0, np.inf), (-np.inf, 1.0), (-np.inf, np.inf), (-0.5, 2.0), (6.0, 8.0)]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_truncated_densities_equal_scipys(bounds):
    low, high = bounds
    x = np.clip([-1.0, 0.3, 0.9, 7.0], low, high)
    arguments = float64(0.2), float64(1.3), *map(float64, bounds)
    normal = ppl.TruncatedNormal(*arguments, sample_shape=4, value=x)
    ends = [(bound - 0.2) / 1.3 for bound in bounds]
    expected = stats.truncnorm(*ends, loc=0.2, scale=1.3).logpdf(x)
    np.testing.assert_allclose(normal.log_prob(x), expected, rtol=1e-9)
    cauchy = ppl.TruncatedCauchy(*arguments, sample_shape=4, value=x)
    whole = stats.cauchy(0.2, 1.3)
    expected = whole.logpdf(x) - np.log(whole.cdf(high) - whole.cdf(low))
    np.testing.assert_allclose(cauchy.log_prob(x), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["TruncatedNormal", "TruncatedCauchy"])
@pytest.mark.parametrize("bounds", BOUNDS)
def test_a_truncated_latent_has_mass_one_and_a_gradient(kind, bounds):
    def model():
        getattr(ppl, kind)(float64(0.0), float64(1.0), *map(float64, bounds), name="x")

    posterior = ppl.unconstrain(model)
    # The Cauchy's tails need far coordinates: the mass beyond 4,000 is below 2e-4.
    u = np.sinh(np.linspace(-9.0, 9.0, 20001))[:, None]
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(u))
    mass = np.trapezoid(np.exp(log_prob), u[:, 0])
    assert mass == pytest.approx(1.0, abs=2e-4)
    assert np.isfinite(grad.numpy()[np.abs(u) < 600]).all()


def test_a_half_bounded_normals_mean_and_its_locations_gradient():
    def latent():
        ppl.TruncatedNormal(float64(0.0), 1.0, 0.0, np.inf, name="x")

    posterior = ppl.unconstrain(latent)
    u = np.linspace(-40.0, 12.0, 40001)[:, None]
    density = np.exp(posterior.log_prob(tf.constant(u)))
    x = posterior.constrain(tf.constant(u))["x"]
    assert np.trapezoid(density * x, u[:, 0]) == pytest.approx(0.7979, abs=1e-4)

    def located():
        s = ppl.Normal(float64(0.0), 1.0, name="s")
        ppl.TruncatedNormal(s, float64(1.0), 0.0, np.inf, name="y")

    posterior = ppl.unconstrain(located, observed={"y": 0.3})
    _, grad = posterior.log_prob_and_grad(float64([[-0.5], [0.7]]))
    np.testing.assert_allclose(grad[:, 0], [0.15892, -1.51192], atol=1e-5)


def test_mixed_infinite_bounds_are_refused():
    mixed = [0.0, -np.inf], [1.0, np.inf]
    with pytest.raises(ValueError, match="some infinite and some not"):
        ppl.unconstrain(lambda: ppl.TruncatedNormal(0.0, 1.0, *mixed, name="x"))


# What TFP offers in float32 alone


def test_an_inverse_gaussian_is_a_latent_variable_in_float64_and_above_88():
    for dtype in (np.float32, np.float64):
        posterior = ppl.unconstrain(
            lambda: ppl.InverseGaussian(dtype(200.0), dtype(90.0), name="x"),  # noqa: B023
            dtype=tf.as_dtype(dtype),
        )
        u = np.array([-3.0, 0.0, 2.0, 500.0], dtype)
        x = np.logaddexp(0, u.astype(np.float64))
        np.testing.assert_allclose(posterior.constrain(u[:, None])["x"], x, rtol=1e-6)
        law = stats.invgauss(200 / 90, scale=90)
        expected = law.logpdf(x) - np.logaddexp(0, -u)
        np.testing.assert_allclose(posterior.log_prob(u[:, None]), expected, rtol=2e-6)
    two = ppl.InverseGaussian(float64(2.0), float64(1.0), name="x")
    assert two.dtype == tf.float64
    np.testing.assert_allclose(
        two.log_prob(0.7), stats.invgauss(2.0).logpdf(0.7), rtol=1e-12
    )


def test_a_doublesided_maxwell_samples_in_float64():
    with ppl.seeded((1, 2)):
        draws = ppl.DoublesidedMaxwell(
            float64(2.0), float64(1.5), sample_shape=20000, name="x"
        )
    assert draws.dtype == tf.float64
    z = (draws.numpy() - 2.0) / 1.5
    assert stats.kstest(np.abs(z), stats.maxwell.cdf).pvalue > 1e-3
    assert abs((z < 0).mean() - 0.5) < 0.02
    expected = stats.maxwell.logpdf(np.abs(z)) - np.log(2 * 1.5)
    np.testing.assert_allclose(draws.log_prob(), expected, rtol=1e-10)
    ours = ppl.DoublesidedMaxwell(0.5, 2.0, name="x").distribution
    theirs = tfd.DoublesidedMaxwell(0.5, 2.0)
    np.testing.assert_array_equal(
        ours.sample(9, seed=(1, 2)), theirs.sample(9, seed=(1, 2))
    )


def test_a_continuous_bernoulli_has_the_dtype_of_its_parameter():
    for key, number in (("probs", 0.3), ("logits", -0.7)):
        variable = ppl.ContinuousBernoulli(
            **{key: float64(number)}, sample_shape=20000, seed=1, name="x"
        )
        assert variable.dtype == variable.log_prob().dtype == tf.float64
        rate = number if key == "logits" else np.log(0.3 / 0.7)  # p(x) ~ exp(rate x)
        expected = rate * variable.numpy() - np.log(np.expm1(rate) / rate)
        np.testing.assert_allclose(variable.log_prob(), expected, rtol=1e-9, atol=1e-12)

        def cdf(x, rate=rate):
            return np.expm1(rate * x) / np.expm1(rate)

        assert stats.kstest(variable.numpy(), cdf).pvalue > 1e-3
    assert ppl.ContinuousBernoulli(0.3, name="x").dtype == tf.float32


def test_a_flat_dirichlet_has_a_log_prob_for_each_draw():
    """It is log Gamma(3) each, in the dtype of the value."""
    value = float64([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    variable = ppl.FlatDirichlet([3], sample_shape=2, value=value, name="x")
    assert variable.log_prob().dtype == tf.float32  # TFP's default of the class
    np.testing.assert_allclose(variable.log_prob(), np.log([2.0, 2.0]), rtol=1e-6)

    def model():
        ppl.FlatDirichlet([3], sample_shape=2, name="x")

    u = np.array([[0.1, -0.4, 2.0, 0.3]])
    # The shares of a stick of three parts: Beta(1, 2) and Beta(1, 1), independent.
    odds, b = u.reshape(2, 2) - np.log([2.0, 1.0]), np.array([2.0, 1.0])
    log_prob = special.log_expit(odds) + b * special.log_expit(-odds) + np.log(b)
    expected = log_prob.sum()
    np.testing.assert_allclose(
        ppl.unconstrain(model).log_prob(u), [expected], rtol=1e-12
    )


@pytest.mark.parametrize("loc", [-1000.0, 1000.0])
@pytest.mark.parametrize("bounds", [(-1.0, 2.0), (-1.0, np.inf), (-np.inf, 2.0)])
def test_a_truncated_cauchy_is_right_far_from_its_centre(loc, bounds):
    """log of pi times the mass, as the angle 1 / z - 1 / (3 z^3) + ... of each tail."""
    low, high = (bound - loc for bound in bounds)

    def tail(z):  # beyond |z|, on the side of z
        return 0.0 if np.isinf(z) else 1 / abs(z) - 1 / (3 * abs(z) ** 3)

    near, far = sorted((abs(low), abs(high)))
    angle = tail(near) - tail(far)
    if np.isinf(far) and (low if np.isinf(high) else -high) < 0:
        angle = np.pi - tail(near)  # the unbounded side holds the centre
    variable = ppl.TruncatedCauchy(loc, 1.0, *bounds, value=0.5, name="x")
    expected = -np.log1p((0.5 - loc) ** 2) - np.log(angle)
    np.testing.assert_allclose(variable.log_prob(), expected, rtol=1e-6)


@pytest.mark.parametrize("concentration", [-0.4, 0.0, 0.2])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_latent_extreme_value_is_logistic(concentration, dtype):
    """Its bijector is the quantile at s(u)."""
    u = np.array([-300.0, -5.0, 0.0, 2.0, 40.0, 200.0])

    def model():
        ppl.GeneralizedExtremeValue(0.5, 1.5, concentration, name="x")

    posterior = ppl.unconstrain(model, dtype=dtype)
    log_prob, grad = posterior.log_prob_and_grad(u[:, None])
    np.testing.assert_allclose(log_prob, stats.logistic.logpdf(u), rtol=2e-6)
    slope = special.expit(-u) - special.expit(u)
    np.testing.assert_allclose(grad[:, 0], slope, rtol=1e-5, atol=1e-6)
    law = stats.genextreme(-concentration, loc=0.5, scale=1.5)
    values = posterior.constrain(u[1:4, None])["x"]
    np.testing.assert_allclose(values, law.ppf(special.expit(u[1:4])), rtol=1e-5)
    back = posterior.unconstrain({"x": values})
    np.testing.assert_allclose(back[:, 0], u[1:4], atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_normal_and_its_gradients_are_those_of_the_formula(compiled):
    random = np.random.default_rng(0)
    loc, x = random.normal(size=[3, 1]), random.normal(size=[3, 4])
    scale = np.exp(random.normal(size=4))

    def both(x, loc, scale):
        with tf.GradientTape() as tape:
            tape.watch([x, loc, scale])
            log_prob = ppl.Normal(loc, scale, value=x).log_prob()
        return log_prob, tape.gradient(log_prob, [x, loc, scale])

    call = tf.function(both, jit_compile=True) if compiled else both
    log_prob, grads = call(*(tf.constant(part) for part in (x, loc, scale)))
    z = (x - loc) / scale
    np.testing.assert_allclose(log_prob, stats.norm(loc, scale).logpdf(x), rtol=1e-13)
    by_x = -z / scale
    by_loc, by_scale = -by_x.sum(1, keepdims=True), ((z**2 - 1) / scale).sum(0)
    for grad, expected in zip(grads, (by_x, by_loc, by_scale), strict=True):
        np.testing.assert_allclose(grad, expected, rtol=1e-12)


def test_a_normal_has_a_second_derivative():
    x = tf.constant([0.3, -2.0], tf.float64)
    scale = tf.constant(0.5, tf.float64)

    @tf.function
    def second(scale):
        with tf.GradientTape() as outer:
            outer.watch(scale)
            with tf.GradientTape() as inner:
                inner.watch(scale)
                log_prob = ppl.Normal([0.0, 0.0], scale, value=x).log_prob()
            grad = inner.gradient(log_prob, scale)
        return outer.gradient(grad, scale)

    expected = np.sum(1 / 0.5**2 - 3 * x.numpy() ** 2 / 0.5**4)
    np.testing.assert_allclose(second(scale), expected, rtol=1e-12)
