"""Log probabilities of intervals of continuous numbers, and their gradients."""

import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl
from ppl_core import masses
from tests.ppl_core.constructors.cases import CASES
from tests.ppl_core.constructors.table import PAGE
from tests.ppl_core.masses.search import make_distribution, search

tfb, tfd = tfp.bijectors, tfp.distributions
INF = np.inf
NAMES = """
Bates Beta Cauchy Chi Chi2 ContinuousBernoulli DoublesidedMaxwell ExpGamma
ExpInverseGamma Exponential ExponentiallyModifiedGaussian Gamma GammaGamma
GeneralizedExtremeValue GeneralizedNormal GeneralizedPareto Gumbel HalfCauchy HalfNormal
HalfStudentT InverseGamma InverseGaussian JohnsonSU Kumaraswamy LambertWDistribution
LambertWNormal Laplace LogLogistic LogNormal Logistic LogitNormal Moyal NoncentralChi2
Normal PERT Pareto RelaxedBernoulli SigmoidBeta SinhArcsinh StudentT Triangular
TruncatedCauchy TruncatedNormal TwoPieceNormal TwoPieceStudentT Uniform VonMises Weibull
""".split()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_intervals_against_the_integral_of_the_density(name):
    slow = ("LambertWDistribution", "LambertWNormal", "NoncentralChi2")
    with np.errstate(all="ignore"):  # the search looks at overflows as well
        rows = search(name, CASES[name], 7 if name in slow else 1)
    if name == "SinhArcsinh":  # whose density overflows beyond
        rows = [row for row in rows if abs(row.arguments["skewness"]) < 320]
        rows = [row for row in rows if row.arguments["tailweight"] < 200]
    assert not [row for row in rows if row.wrong]


def constant(x):
    return tf.constant(x, tf.float64)


# Each with SciPy's distribution, and with an argument to differentiate by.
EDGED = {
    "Beta": (dict(concentration1=0.7, concentration0=2.5), (0.0, 1.0)),
    "Chi": (dict(df=3.0), (0.0, INF)),
    "Chi2": (dict(df=3.0), (0.0, INF)),
    "ContinuousBernoulli": (dict(logits=0.7), (0.0, 1.0)),
    "Exponential": (dict(rate=2.0), (0.0, INF)),
    "Gamma": (dict(concentration=0.7, rate=2.0), (0.0, INF)),
    "GammaGamma": (
        dict(concentration=2.0, mixing_concentration=3.0, mixing_rate=1.5),
        (0.0, INF),
    ),
    "GeneralizedPareto": (dict(loc=0.0, scale=1.5, concentration=-0.75), (0.0, 2.0)),
    "HalfCauchy": (dict(loc=0.0, scale=1.5), (0.0, INF)),
    "HalfNormal": (dict(scale=1.5), (0.0, INF)),
    "HalfStudentT": (dict(df=3.0, loc=0.0, scale=1.5), (0.0, INF)),
    "InverseGamma": (dict(concentration=2.0, scale=3.0), (0.0, INF)),
    "InverseGaussian": (dict(loc=1.0, concentration=3.0), (0.0, INF)),
    "Kumaraswamy": (dict(concentration1=2.0, concentration0=0.7), (0.0, 1.0)),
    "LogLogistic": (dict(loc=0.3, scale=1.0), (0.0, INF)),
    "LogNormal": (dict(loc=0.3, scale=1.0), (0.0, INF)),
    "LogitNormal": (dict(loc=0.3, scale=1.0), (0.0, 1.0)),
    "NoncentralChi2": (dict(df=3.0, noncentrality=1.5), (0.0, INF)),
    "PERT": (dict(low=0.0, peak=0.7, high=1.0), (0.0, 1.0)),
    "Pareto": (dict(concentration=3.0, scale=1.0), (1.0, INF)),
    "RelaxedBernoulli": (dict(temperature=0.5, logits=0.3), (0.0, 1.0)),
    "Triangular": (dict(low=0.0, high=1.0, peak=0.7), (0.0, 1.0)),
    "TruncatedCauchy": (dict(loc=0.3, scale=1.2, low=0.0, high=1.0), (0.0, 1.0)),
    "TruncatedNormal": (dict(loc=0.3, scale=1.2, low=0.0, high=1.0), (0.0, 1.0)),
    "Uniform": (dict(low=0.0, high=1.0), (0.0, 1.0)),
    "Weibull": (dict(concentration=1.5, scale=2.0), (0.0, INF)),
}


def mass_and_grads(name, arguments, low, high, dtype=tf.float64):
    """Of each interval by itself, since each has arguments of its own."""
    size = len(low)
    tensors = {key: tf.fill([size], constant(part)) for key, part in arguments.items()}
    tensors = {key: tf.cast(part, dtype) for key, part in tensors.items()}
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        data = ppl.Interval(low, high)
        log_prob = getattr(ppl, name)(**tensors, value=data, name="y").log_prob()
    grads = tape.gradient(log_prob, tensors, unconnected_gradients="zero")
    assert log_prob.dtype == dtype
    return log_prob.numpy(), {key: grad.numpy() for key, grad in grads.items()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "NoncentralChi2" else name
        for name in EDGED
    ],
)
def test_an_end_at_the_edge_of_the_support_is_no_end(name):
    arguments, (low, high) = EDGED[name]
    inside = low + 0.4 if high < INF else low + 1.3
    lows, highs = [low, low - 1.0, -INF], [inside] * 3
    if high < INF:
        lows, highs = lows + [inside] * 3, highs + [high, high + 1.0, INF]
    value, grads = mass_and_grads(name, arguments, lows, highs)
    below, above = value[0], value[3] if high < INF else np.log(-np.expm1(value[0]))
    np.testing.assert_allclose(value[:3], below, rtol=1e-13)
    np.testing.assert_allclose(value[3:], above, rtol=1e-13)
    assert np.isclose(np.exp(below) + np.exp(above), 1.0, rtol=1e-12)
    for grad in grads.values():
        assert np.isfinite(grad).all()
    # Of an interval that lies around the whole support.
    value, grads = mass_and_grads(name, arguments, [low - 1.0], [high + 1.0])
    np.testing.assert_allclose(value, 0.0, atol=1e-13)
    assert all(np.all(abs(grad) < 1e-12) for grad in grads.values())


KINKED = {
    "DoublesidedMaxwell": dict(loc=0.0, scale=1.5),
    "GeneralizedNormal": dict(loc=0.0, scale=1.5, power=1.5),
    "Laplace": dict(loc=0.0, scale=1.5),
    "StudentT": dict(df=3.0, loc=0.0, scale=1.5),
    "TwoPieceNormal": dict(loc=0.0, scale=1.5, skewness=1.5),
    "TwoPieceStudentT": dict(df=3.0, loc=0.0, scale=1.5, skewness=1.5),
}


@pytest.mark.parametrize("name", KINKED)
def test_an_end_at_the_centre_has_its_gradient(name):
    """By the loc, it is the density at the lower end less that at the upper one."""
    lows, highs = np.array([0.0, -2.0, 0.0, -INF]), np.array([2.0, 0.0, INF, 0.0])
    value, grads = mass_and_grads(name, KINKED[name], lows, highs)
    tensors = {key: constant(part) for key, part in KINKED[name].items()}
    ends = np.nan_to_num([lows, highs], posinf=1e9, neginf=-1e9)
    y = getattr(ppl, name)(**tensors, sample_shape=[2, 4], value=ends, name="y")
    densities = np.exp(y.log_prob()) * (abs(ends) < 1e9)
    expected = (densities[0] - densities[1]) / np.exp(value)
    np.testing.assert_allclose(grads["loc"], expected, rtol=1e-10)


# A constructor, its arguments and bounds, with SciPy's value by an accurate tail.
TAILS = [
    ("Weibull", dict(concentration=1.5, scale=1.0), 12.0, INF, -(12.0**1.5)),
    ("Weibull", dict(concentration=1.5, scale=np.exp(0.1)), 12.0, INF,
     -((12.0 * np.exp(-0.1)) ** 1.5)),
    ("Weibull", dict(concentration=1.5, scale=0.127), 2.0, 3.0,
     -((2.0 / 0.127) ** 1.5)),
    ("Gamma", dict(concentration=2.0, rate=np.exp(2.0)), 12.0, INF,
     np.log1p(12 * np.exp(2.0)) - 12 * np.exp(2.0)),
    ("Gumbel", dict(loc=-24.9, scale=1.0), 12.0, INF, -36.9),
    ("Gumbel", dict(loc=24.9, scale=1.0), -INF, 20.0, -np.exp(4.9)),
    ("InverseGaussian", dict(loc=1.0, concentration=3.0), 30.0, INF,
     stats.invgauss.logsf(30.0, 1 / 3, scale=3.0)),
    ("InverseGaussian", dict(loc=1.0, concentration=3.0), -INF, 0.01,
     stats.invgauss.logcdf(0.01, 1 / 3, scale=3.0)),
    ("Moyal", dict(loc=0.0, scale=1.0), 80.0, INF, np.log(2 / np.sqrt(2 * np.pi)) - 40),
    ("LogLogistic", dict(loc=0.0, scale=0.1), 1e9, INF, -10 * np.log(1e9)),
    ("LogLogistic", dict(loc=0.0, scale=1.0), 0.0, 1.0, np.log(0.5)),
    ("StudentT", dict(df=3.0, loc=0.0, scale=1.0), 1e6, INF, stats.t.logsf(1e6, 3.0)),
    ("Beta", dict(concentration1=2.0, concentration0=30.0), 0.9, 1.0,
     stats.beta.logsf(0.9, 2.0, 30.0)),
    ("Normal", dict(loc=0.0, scale=1.0), 1000.0, INF, stats.norm.logsf(1000.0)),
    ("Normal", dict(loc=0.0, scale=1.0), 1.0, 1.0 + 1e-9,
     stats.norm.logpdf(1.0) + np.log((1.0 + 1e-9) - 1.0)),
    ("HalfNormal", dict(scale=1.0), 0.0, 1e-30, np.log(2e-30) + stats.norm.logpdf(0)),
    ("Laplace", dict(loc=0.0, scale=1.0), 800.0, 801.0,
     np.log(0.5) - 800 + np.log(-np.expm1(-1.0))),
    ("Cauchy", dict(loc=0.0, scale=1.0), 1e9, INF, -np.log(np.pi * 1e9)),
    ("RelaxedBernoulli", dict(temperature=20.0, logits=0.3), 0.9, 1.0,
     -np.logaddexp(0.0, 20 * np.log(9.0) - 0.3)),
    ("Kumaraswamy", dict(concentration1=2.0, concentration0=30.0), 0.999999, 1.0,
     30 * np.log(1 - 0.999999**2)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_far_tails_do_not_cancel(dtype):
    for name, arguments, low, high, expected in TAILS:
        value, grads = mass_and_grads(name, arguments, [low], [high], dtype)
        rtol = 1e-9 if dtype == tf.float64 else 1e-5
        np.testing.assert_allclose(value, [expected], rtol=rtol, err_msg=name)
        for key, grad in grads.items():
            assert np.isfinite(grad).all(), (name, key)


def weibull():
    log_scale = ppl.Normal(0.0, 1.0, name="log_scale")
    ppl.Weibull(
        1.5, tf.exp(log_scale), sample_shape=3, name="time",
        value=ppl.Interval([12.0, 0.0, 2.0], [INF, 0.5, 3.0]),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_censored_lifetimes_in_a_posterior(dtype):
    posterior = ppl.posterior(weibull, dtype=dtype)
    log_scale = np.array([-5.0, 0.0, 0.1, 5.0])
    value, grad = posterior.log_prob_and_grad(log_scale[:, None])
    # The hazards up to each time, whose derivatives are -1.5 times themselves.
    up_to = {t: (t * np.exp(-log_scale)) ** 1.5 for t in (0.5, 2.0, 3.0, 12.0)}
    expected = stats.norm.logpdf(log_scale) - up_to[12.0] - up_to[2.0]
    slope = -log_scale + 1.5 * (up_to[12.0] + up_to[2.0])
    for part in (up_to[0.5], up_to[3.0] - up_to[2.0]):
        expected += np.log(-np.expm1(-part))
        slope -= 1.5 * part * np.exp(-part) / -np.expm1(-part)
    rtol = 1e-9 if dtype == tf.float64 else 1e-4
    np.testing.assert_allclose(value, expected, rtol=rtol)
    np.testing.assert_allclose(grad[:, 0], slope, rtol=rtol)


def student():
    scale = ppl.HalfNormal(2.0, name="scale")
    df = ppl.Exponential(0.3, name="df")
    ppl.StudentT(
        df, 0.5, scale, sample_shape=2, name="y",
        value=ppl.Interval([1.0, -INF], [INF, -2.0]),
    )  # fmt: skip


def test_a_student_t_of_latent_scale_and_df_has_its_gradient():
    posterior = ppl.posterior(student)
    u = np.array([0.7, 1.1])
    value, grad = posterior.log_prob_and_grad([u])

    def expected(u):
        scale, df = np.log1p(np.exp(u))
        terms = [
            stats.halfnorm.logpdf(scale, scale=2.0),
            stats.expon.logpdf(df, scale=1 / 0.3),
            stats.t.logsf(1.0, df, 0.5, scale),
            stats.t.logcdf(-2.0, df, 0.5, scale),
            *-np.log1p(np.exp(-u)),
        ]
        return np.sum(terms)

    np.testing.assert_allclose(value, [expected(u)], rtol=1e-9)
    steps = 1e-5 * np.eye(2)
    slopes = [(expected(u + step) - expected(u - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(grad, [slopes], rtol=1e-7)


def test_wrappers_and_mixtures_of_numbers():
    data = ppl.Interval([[0.5, -INF], [1.0, 2.0]], [[2.0, 1.0], [INF, 2.5]])
    loc = constant([0.0, 1.0])
    expected = np.log(
        stats.norm.cdf(data.high, [0, 1]) - stats.norm.cdf(data.low, [0, 1])
    )
    normal = tfd.Normal(loc, constant(1.0))
    for y in (
        ppl.Independent(normal, 0, sample_shape=2, value=data),
        ppl.BatchBroadcast(normal, [2, 2], value=data),
        ppl.BatchReshape(
            tfd.Normal(constant([0.0, 1.0, 0.0, 1.0]), constant(1.0)),
            [2, 2],
            value=data,
        ),
    ):
        np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-12)
    y = ppl.Masked(normal, [True, False], sample_shape=2, value=data)
    np.testing.assert_allclose(y.log_prob(), expected * [1, 0], rtol=1e-12)
    weights = constant([0.3, 0.7])
    y = ppl.MixtureSameFamily(tfd.Categorical(probs=weights), normal, value=DATUM)
    tails = stats.norm.sf(8.0, [0, 1])
    np.testing.assert_allclose(
        y.log_prob(), np.log(np.dot([0.3, 0.7], tails)), rtol=1e-12
    )
    parts = [tfd.Normal(constant(0.0), constant(1.0)), tfd.Exponential(constant(2.0))]
    y = ppl.Mixture(tfd.Categorical(probs=weights), parts, value=DATUM)
    tails = [stats.norm.sf(8.0), np.exp(-16.0)]
    np.testing.assert_allclose(
        y.log_prob(), np.log(np.dot([0.3, 0.7], tails)), rtol=1e-12
    )


DATUM = ppl.Interval(8.0, INF)


@pytest.mark.parametrize(
    "bijector",
    [
        tfb.Exp(),
        tfb.Invert(tfb.Log()),
        tfb.Softplus(hinge_softness=constant(0.5), low=constant(0.1)),
        tfb.Sigmoid(constant(-1.0), constant(3.0)),
        tfb.Chain([tfb.Shift(constant(1.0)), tfb.Scale(constant(-2.0)), tfb.Tanh()]),
        tfb.Chain([tfb.Expm1(), tfb.Scale(log_scale=constant(0.3)), tfb.Sinh()]),
        tfb.NormalCDF(),
    ],
    ids=lambda bijector: bijector.name,
)
def test_a_monotone_function_of_a_normal_variable(bijector):
    normal = tfd.Normal(constant(0.2), constant(1.3))
    low, high = np.sort(bijector.forward(constant([-0.5, 0.7])).numpy())
    lows, highs = [low, -INF, -1e300, high], [high, low, low, INF]
    y = ppl.TransformedDistribution(
        normal, bijector, sample_shape=4, value=ppl.Interval(lows, highs), name="y"
    )
    cdf = stats.norm.cdf([-0.5, 0.7], 0.2, 1.3)
    outer = [cdf[0], 1 - cdf[1]]
    if bijector.forward(constant(0.7)) < bijector.forward(constant(-0.5)):
        outer = outer[::-1]
    expected = np.log([cdf[1] - cdf[0], outer[0], outer[0], outer[1]])
    np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-8)


def test_angles_go_around():
    """Against the sum of the density over a fine grid of angles."""
    lows, highs = np.array([2.0, -7.0, 0.0]), np.array([4.5, -3.0, 6.5])
    y = ppl.VonMises(
        constant(0.5), constant(2.0), sample_shape=3, value=ppl.Interval(lows, highs)
    )
    share = (np.arange(20000) + 0.5) / 20000
    x = lows + (highs - lows) * share[:, None]
    expected = stats.vonmises.pdf(x, 2.0, 0.5).mean(0) * (highs - lows)
    expected[2] = 1.0
    np.testing.assert_allclose(y.log_prob(), np.log(expected), rtol=1e-7, atol=1e-12)


class Own(tfd.Distribution):
    """A distribution of a user's, the standard logistic, with its own tails."""

    def __init__(self):
        super().__init__(
            dtype=tf.float64, reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False, allow_nan_stats=True, parameters={},
        )  # fmt: skip

    def _event_shape(self):
        return tf.TensorShape([])

    def _batch_shape(self):
        return tf.TensorShape([])

    def _log_cdf(self, x):
        return tf.math.log_sigmoid(x)

    def _log_survival_function(self, x):
        return tf.math.log_sigmoid(-x)


def test_a_class_with_its_own_tails():
    span = masses.make(np.array([800.0, 1.0, -INF]), np.array([INF, 2.0, -900.0]))
    expected = [-800.0, np.log(stats.logistic.cdf(2) - stats.logistic.cdf(1)), -900.0]
    np.testing.assert_allclose(masses.log_mass(Own(), span), expected, rtol=1e-12)


def takes_an_interval(name):
    case = CASES[name]
    if case.values.points.ndim > 1:
        return False
    point = case.values.points[:1] if case.arguments else case.values.points[0]
    arguments = {key: np.array(part)[None] for key, part in case.arguments.items()}
    distribution = make_distribution(name, case, arguments, point)
    try:
        masses.log_mass(distribution, masses.make(point, point + 0.1))
    except NotImplementedError:
        return False
    return True


def test_the_page_lists_what_can_be_censored():
    page = PAGE.read_text("utf-8").split("## Censored data")[1].split("## All")[0]
    listed = set(re.findall(r"\w+", page)) & set(CASES)
    assert set(NAMES) <= listed
    # Their cases are vectors; single numbers are tested above.
    wrapped = {"BatchBroadcast", "BatchReshape", "Independent", "Sample"}
    assert {name for name in CASES if takes_an_interval(name)} | wrapped == listed


@pytest.mark.parametrize("noncentrality", [0.0, 1.0])
def test_a_noncentral_chi2_of_few_degrees_keeps_its_right_tail(noncentrality):
    low = np.array([1e-4, 0.05, 0.5, 8.0])
    y = ppl.NoncentralChi2(
        constant(0.1),
        constant(noncentrality),
        sample_shape=4,
        value=ppl.Interval(low, INF),
    )
    oracle = stats.ncx2(0.1, noncentrality) if noncentrality else stats.chi2(0.1)
    np.testing.assert_allclose(y.log_prob(), np.log(oracle.sf(low)), rtol=1e-11)
