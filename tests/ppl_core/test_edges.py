"""Densities at the edges of their supports, where a dtype rounds onto the edge."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import integrate, special, stats

import ppl_core as ppl

tfb, tfd = tfp.bijectors, tfp.distributions


def log_prob_and_slope(kind, arguments, u, dtype=tf.float32):
    """The log density and its derivative at each unconstrained coordinate."""

    def model():
        constants = [tf.constant(argument, dtype) for argument in arguments]
        getattr(ppl, kind)(*constants, name="x")

    posterior = ppl.unconstrain(model, dtype=dtype)
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(u, dtype)[:, None])
    return log_prob.numpy(), grad.numpy()[:, 0]


def assert_near(actual, expected, u):
    """Equal up to float32's rounding of the density and the log determinant."""
    error = np.abs(actual - expected)
    np.testing.assert_array_less(error, 1e-6 * (2 + np.abs(u) + np.abs(expected)))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_beta_has_a_density_where_it_rounds_to_one(dtype):
    log_prob, slope = log_prob_and_slope("Beta", (0.5, 0.5), [17.0, 20.0], dtype)
    np.testing.assert_allclose(log_prob, [-9.64473, -11.14473], atol=5e-6)
    np.testing.assert_allclose(slope, [-0.5, -0.5], rtol=1e-6)
    log_prob, slope = log_prob_and_slope("Beta", (0.1, 0.1), [20.0, -20.0], dtype)
    np.testing.assert_allclose(log_prob, [-4.98136, -4.98136], atol=5e-6)
    np.testing.assert_allclose(slope, [-0.1, 0.1], rtol=1e-6)


SOFTPLUS = tfb.Softplus()
# Constructor: arguments, its default bijector, and SciPy's log density.
FAMILIES = {
    "Chi": ((0.5,), SOFTPLUS, stats.chi(0.5).logpdf),
    "Chi2": ((0.5,), SOFTPLUS, stats.chi2(0.5).logpdf),
    "Gamma": ((0.1, 2.0), SOFTPLUS, stats.gamma(0.1, scale=0.5).logpdf),
    "GammaGamma": (
        (0.5, 1.5, 2.0),
        tfb.Exp(),
        stats.betaprime(0.5, 1.5, scale=2.0).logpdf,
    ),
    "LogLogistic": ((0.5, 3.0), tfb.Exp(), stats.fisk(1 / 3, scale=np.exp(0.5)).logpdf),
    "NoncentralChi2": ((0.5, 1.0), SOFTPLUS, stats.ncx2(0.5, 1.0).logpdf),
    "Weibull": ((0.5, 2.0), SOFTPLUS, stats.weibull_min(0.5, scale=2.0).logpdf),
}
POINTS = np.array([-200.0, -100.0, -88.0, -30.0, -3.0, 0.0, 3.0, 20.0])


@pytest.mark.parametrize("kind", FAMILIES)
def test_positive_variables_have_scipys_density_where_they_round_to_zero(kind):
    arguments, bijector, logpdf = FAMILIES[kind]
    u = POINTS
    if kind == "NoncentralChi2":  # SciPy's is -inf below 1e-100
        u = POINTS[1:]

    def expected(u):  # in float64, which holds exp(-200)
        log_det = bijector.forward_log_det_jacobian(u, event_ndims=0).numpy()
        return logpdf(bijector.forward(u).numpy()) + log_det

    log_prob, slope = log_prob_and_slope(kind, arguments, u)
    assert_near(log_prob, expected(u), u)
    difference = (expected(u + 1e-4) - expected(u - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 0.5), (2.0, 3.0), (1e-3, 2.0), (1.0, 1.0), (1e-3, 1e3)]
)
def test_a_kumaraswamy_is_finite_up_to_its_edges(a, b, dtype):
    u = np.array([-300.0, -9.0, 0.0, 2.0, 9.0, 17.0, 30.0])
    log_prob, slope = log_prob_and_slope("Kumaraswamy", (a, b), u, dtype)
    # In float64: log x, log(1 - x), and 1 - x^a = -expm1(a log x).
    log_x, log1m_x = -np.logaddexp(0, -u), -np.logaddexp(0, u)
    log_rest = np.log(-np.expm1(a * log_x))
    expected = np.log(a * b) + a * log_x + (b - 1) * log_rest + log1m_x
    assert_near(log_prob, expected, u)
    # d log_rest / du = -a x^a (1 - x) / (1 - x^a)
    bend = a * np.exp(a * log_x + log1m_x - log_rest)
    derivative = a * np.exp(log1m_x) - (b - 1) * bend - np.exp(log_x)
    np.testing.assert_allclose(slope, derivative, rtol=2e-5, atol=2e-6)
    # Far out the density is that of its first term at 1.
    far, slope = log_prob_and_slope("Kumaraswamy", (a, b), [120.0, 400.0], dtype)
    expected = np.log(a * b) + (b - 1) * np.log(a) - b * np.array([120.0, 400.0])
    np.testing.assert_allclose(far, expected, rtol=2e-6)
    np.testing.assert_allclose(slope, [-b, -b], rtol=1e-5)


def test_a_kumaraswamys_data_may_lie_near_one():
    x = np.array([1e-30, 0.3, 1 - 2.0**-23, 1.0], np.float32)
    a, b = 1e-3, 2.0
    log_prob = ppl.Kumaraswamy(a, b, sample_shape=4, value=x, name="x").log_prob()
    wide = x[:3].astype(np.float64)
    expected = np.log(a * b) + (a - 1) * np.log(wide)
    expected += (b - 1) * np.log(-np.expm1(a * np.log(wide)))
    np.testing.assert_allclose(log_prob[:3], expected, rtol=2e-6)
    assert log_prob[3] == -np.inf
    uniform = ppl.Kumaraswamy(1.0, 1.0, sample_shape=2, value=[0.0, 1.0], name="x")
    np.testing.assert_array_equal(uniform.log_prob(), [0.0, 0.0])


def test_a_dirichlet_has_a_density_where_parts_round_to_zero():
    alpha, u = np.array([0.5, 0.1, 0.3]), np.array([[-200.0, 150.0], [0.5, -0.5]])

    def model():
        ppl.Dirichlet(tf.constant(alpha, tf.float32), name="x")

    posterior = ppl.unconstrain(model, dtype=tf.float32)
    log_prob, grad = posterior.log_prob_and_grad(tf.constant(u, tf.float32))
    # The shares of a stick: Beta(0.5, 0.1 + 0.3) and Beta(0.1, 0.3), independent.
    odds = u - np.log([2.0, 1.0])
    log_share, log_rest = special.log_expit(odds), special.log_expit(-odds)
    a, b = alpha[:2], np.array([0.4, 0.3])
    expected = (a * log_share + b * log_rest - special.betaln(a, b)).sum(axis=1)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-6)
    expected = a - (a + b) * special.expit(odds)
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)


def in_plate():
    with ppl.plate("rows", 2):
        ppl.Beta(0.5, 0.5, name="x")


def masked():
    with ppl.mask([True, True, False]):
        ppl.Beta([0.5, 0.5, 2.0], [0.5, 0.5, 2.0], name="x")


HALVES = [0.5, 0.5]
WRAPPED = {
    "sample_shape": lambda: ppl.Beta(0.5, 0.5, sample_shape=2, name="x"),
    "plate": in_plate,
    "mask": masked,
    "Independent": lambda: ppl.Independent(tfd.Beta(HALVES, HALVES), 1, name="x"),
    "Sample": lambda: ppl.Sample(tfd.Beta(0.5, 0.5), 2, name="x"),
    "Sample of a batch": lambda: ppl.Sample(tfd.Beta(HALVES, HALVES), 1, name="x"),
    "BatchReshape": lambda: ppl.BatchReshape(
        tfd.Beta(HALVES, HALVES), [2, 1], name="x"
    ),
    "BatchBroadcast": lambda: ppl.BatchBroadcast(tfd.Beta(0.5, 0.5), [2], name="x"),
    "Dirichlet": lambda: ppl.Sample(tfd.Dirichlet(HALVES), 2, name="x"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_densities_inside_others_have_it_too(kind):
    posterior = ppl.unconstrain(WRAPPED[kind], dtype=tf.float32)
    u = tf.constant([[100.0, -30.0], [20.0, 17.0]])
    # A masked entry has only its log determinant, -2 log 2 at 0.
    rest, extra = tf.zeros([2, posterior.dim - 2]), -2 * np.log(2) * (kind == "mask")
    log_prob, grad = posterior.log_prob_and_grad(tf.concat([u, rest], 1))
    expected = log_prob_and_slope("Beta", (0.5, 0.5), tf.reshape(u, [-1]))
    np.testing.assert_allclose(
        log_prob, expected[0].reshape(2, 2).sum(1) + extra, rtol=1e-5
    )
    np.testing.assert_allclose(grad[:, :2], expected[1].reshape(2, 2), rtol=1e-5)


def test_a_programs_own_gradient_by_a_latent_is_complete():
    def model():
        x = ppl.Gamma(2.0, 1.0, name="x")
        with tf.GradientTape() as tape:
            tape.watch(x.value)
            log_prob = x.log_prob()
        ppl.deterministic(tape.gradient(log_prob, x.value), name="slope")

    values = ppl.unconstrain(model).constrain(tf.constant([[-3.0], [2.0]]))
    np.testing.assert_allclose(values["slope"], 1 / values["x"] - 1, rtol=1e-5)


# Each family at an argument where a power of x is 0, by its index: the derivative of
# the log density by the argument there.
AT_ONE = {
    "Beta": (
        (1.0, 2.0),
        0,
        lambda x: np.log(x) + special.digamma(3) - special.digamma(1),
    ),
    "Chi": ((1.0,), 0, lambda x: np.log(x) - 0.5 * (np.log(2) + special.digamma(0.5))),
    "Chi2": ((2.0,), 0, lambda x: 0.5 * np.log(x / 2) - 0.5 * special.digamma(1)),
    "Dirichlet": (
        ([1.0, 1.0],),
        0,
        lambda x: np.log(x) + special.digamma(2) - special.digamma(1),
    ),
    "Gamma": ((1.0, 3.0), 0, lambda x: np.log(3 * x) - special.digamma(1)),
    "GammaGamma": (
        (1.0, 2.0, 1.5),
        0,
        lambda x: np.log(x / (x + 1.5)) + special.digamma(3) - special.digamma(1),
    ),
    "Kumaraswamy": ((2.0, 1.0), 1, lambda x: 1 + np.log(1 - x**2)),
    "Weibull": ((1.0, 2.0), 0, lambda x: 1 + np.log(x / 2) * (1 - x / 2)),
}


@pytest.mark.parametrize("kind", AT_ONE)
def test_the_gradient_by_a_concentration_of_one_is_complete(kind):
    arguments, index, derivative = AT_ONE[kind]
    tensors = [tf.constant(argument, tf.float64) for argument in arguments]
    x = np.array([0.3, 0.7]) if kind == "Dirichlet" else np.array(0.3)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        log_prob = getattr(ppl, kind)(*tensors, value=x, name="x").log_prob()
    actual = tape.gradient(log_prob, tensors[index])
    np.testing.assert_allclose(actual, derivative(x), rtol=1e-10)


def test_a_noncentral_chi2_has_the_gradient_by_its_df():
    """Of SciPy's density by differences; the second derivative of its own."""
    x = np.array([1e-3, 0.5, 3.0, 40.0, 900.0, 40.0])
    dfs = np.array([0.5, 3.0, 8.0, 30.0, 2.0, 3.0])
    noncentralities = np.array([0.2, 1.5, 4.0, 60.0, 900.0, 1e-3])

    def slope(df):
        with tf.GradientTape() as tape:
            tape.watch(df)
            variable = ppl.NoncentralChi2(df, noncentralities, value=x, name="x")
            log_prob = variable.log_prob()
        return tape.gradient(log_prob, df)

    df = tf.constant(dfs)
    with tf.GradientTape() as tape:
        tape.watch(df)
        first = slope(df)
    second = tape.gradient(first, df)
    step = 1e-4 * dfs
    above = stats.ncx2.logpdf(x, dfs + step, noncentralities)
    below = stats.ncx2.logpdf(x, dfs - step, noncentralities)
    np.testing.assert_allclose(first, (above - below) / (2 * step), rtol=1e-5)
    difference = (slope(df + step) - slope(df - step)) / (2 * step)
    np.testing.assert_allclose(second, difference, rtol=1e-6)


def test_a_noncentral_chi2_may_have_a_latent_df():
    def model():
        df = ppl.HalfNormal(1.0, name="df")
        ppl.NoncentralChi2(1.0 + df, 2.0, name="y")

    posterior = ppl.unconstrain(model, observed={"y": 2.0})
    _, grad = posterior.log_prob_and_grad([[0.4]])
    above, below = (posterior.log_prob([[0.4 + h]]) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(grad[:, 0], (above - below) / 2e-5, rtol=1e-6)


# The ratio of two Betas


def test_a_beta_quotient_is_finite_near_one():
    for dtype in (tf.float32, tf.float64):
        quotient = ppl.BetaQuotient(*tf.constant([2.0, 2.0, 3.0, 3.0], dtype), name="x")
        np.testing.assert_allclose(
            quotient.log_prob([0.95, 1.05]), [-0.413083, -0.479932], atol=2e-6
        )


@pytest.mark.parametrize(
    "arguments",
    [
        (2.0, 1.5, 3.0, 1.0),
        (1.0, 2.0, 1.0, 2.0),
        (0.4, 0.8, 0.7, 0.9),
        (30.0, 5.0, 12.0, 40.0),
        (0.05, 3.0, 2.0, 0.6),
    ],
)
def test_a_beta_quotient_is_the_density_of_a_ratio(arguments):
    a0, b0, a1, b1 = arguments
    x = np.array([1e-4, 0.05, 0.5, 0.9, 0.999, 1.001, 1.2, 3.0, 50.0])

    def density(x):  # the integral of y f(x y) g(y) over y
        def log_integrand(v):  # with y = min(1, 1 / x) / (1 + exp(-v))
            log_t, log1m_t = -np.logaddexp(0, -v), -np.logaddexp(0, v)
            log1m_zt = np.log(-np.expm1(log_t - abs(np.log(x))))
            p, q = (b1, b0) if x <= 1 else (b0, b1)
            return (a0 + a1) * log_t + p * log1m_t + (q - 1) * log1m_zt

        grid = np.linspace(-300, 300, 60001)
        peak = grid[np.argmax(log_integrand(grid))]
        top = log_integrand(peak)
        integral = sum(
            integrate.quad(lambda v: np.exp(log_integrand(v) - top), *ends, limit=500)[
                0
            ]
            for ends in ((-300, peak), (peak, 300))
        )
        log_norm = special.betaln(a0, b0) + special.betaln(a1, b1)
        power = a0 - 1 if x <= 1 else -a1 - 1
        return np.log(integral) + top + power * np.log(x) - log_norm

    wide = tf.constant(arguments, tf.float64)
    expected = [density(point) for point in x]
    log_prob = ppl.BetaQuotient(*wide, name="x").log_prob(x)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-7, atol=1e-7)
    narrow = ppl.BetaQuotient(*tf.cast(wide, tf.float32), name="x").log_prob(x)
    np.testing.assert_allclose(narrow, expected, rtol=1e-5, atol=2e-5)


def test_a_beta_quotients_gradients_are_its_differences():
    arguments = tf.constant([2.0, 1.5, 3.0, 1.8, 0.97], tf.float64)

    def log_prob(parts):
        *concentrations, x = tf.unstack(parts)
        return ppl.BetaQuotient(*concentrations, name="x").log_prob(x)

    for x in (0.97, 1.0, 1.1):
        point = tf.concat([arguments[:4], [tf.constant(x, tf.float64)]], 0)
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = log_prob(point)
        steps = 1e-5 * np.eye(5)
        if x == 1.0:  # it is not smooth there: the derivative is that from below
            steps[4, 4] = 1e-7
            below = (value - log_prob(point - steps[4])) / 1e-7
        difference = [(log_prob(point + s) - log_prob(point - s)) / 2e-5 for s in steps]
        if x == 1.0:
            difference[4] = below
        np.testing.assert_allclose(tape.gradient(value, point), difference, atol=1e-5)


def test_a_noncentral_chi2_has_its_gradient_near_a_noncentrality_of_0():
    x, df = np.array([1e-6, 0.05, 2.0, 300.0]), 3.0
    for nc in (0.0, 1e-12, 1e-6):
        with tf.GradientTape() as tape:
            given = tf.constant([nc] * 4, tf.float64)
            tape.watch(given)
            y = ppl.NoncentralChi2(
                tf.constant(df, tf.float64), given, value=x, name="y"
            )
            log_prob = y.log_prob()
        # By the series, with t = nc x / 4: log(1 + t / (df / 2) + ...) - nc / 2.
        slope = x / (2 * df) - 0.5 - nc * x**2 / (2 * df**2 * (df + 2))
        expected = stats.chi2.logpdf(x, df) + nc * (x / (2 * df) - 0.5)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-9)
        np.testing.assert_allclose(tape.gradient(log_prob, given), slope, rtol=1e-7)
