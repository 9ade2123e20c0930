"""Arguments that a distribution does not allow are refused, or have no density."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from ppl_core import arguments, distributions
from tests.ppl_core.support_cases import OWN, WRAPPED

_EYE = [[1.0, 0.0], [0.0, 1.0]]
_LOC_SCALE = dict(loc=0.0, scale=1.0)
_PROCESS = dict(
    kernel=tfp.math.psd_kernels.ExponentiatedQuadratic(),
    index_points=[[0.0], [1.0]],
    observation_noise_variance=0.1,
)
# Constructors of all numbers, which the cases of supports lack: all their arguments.
REAL = {
    "Cauchy": _LOC_SCALE,
    "DoublesidedMaxwell": _LOC_SCALE,
    "ExpGamma": dict(concentration=2.0, rate=1.0),
    "ExpInverseGamma": dict(concentration=2.0, scale=1.0),
    "ExponentiallyModifiedGaussian": dict(loc=0.0, scale=1.0, rate=1.0),
    "GaussianProcess": _PROCESS,
    "GeneralizedNormal": dict(loc=0.0, scale=1.0, power=2.0),
    "Gumbel": _LOC_SCALE,
    "Horseshoe": dict(scale=1.0),
    "JohnsonSU": dict(skewness=0.5, tailweight=1.0, loc=0.0, scale=1.0),
    "LambertWNormal": dict(loc=0.0, scale=1.0, tailweight=0.1),
    "Laplace": _LOC_SCALE,
    "Logistic": _LOC_SCALE,
    "MatrixTLinearOperator": dict(
        df=3.0,
        loc=np.zeros([2, 2], np.float32),
        scale_row=tf.linalg.LinearOperatorIdentity(2),
        scale_column=tf.linalg.LinearOperatorIdentity(2),
    ),
    "Moyal": _LOC_SCALE,
    "MultivariateNormalDiag": dict(loc=[0.0, 0.0], scale_diag=[1.0, 2.0]),
    "MultivariateNormalDiagPlusLowRank": dict(
        loc=[0.0, 0.0], scale_diag=[1.0, 2.0], scale_perturb_factor=[[0.5], [0.2]]
    ),
    "MultivariateNormalDiagPlusLowRankCovariance": dict(
        loc=[0.0, 0.0], cov_diag_factor=[1.0, 2.0], cov_perturb_factor=[[0.5], [0.2]]
    ),
    "MultivariateNormalFullCovariance": dict(
        loc=[0.0, 0.0], covariance_matrix=[[2.0, 0.5], [0.5, 1.0]]
    ),
    "MultivariateNormalTriL": dict(loc=[0.0, 0.0], scale_tril=[[1.0, 0.0], [0.5, 2.0]]),
    "MultivariateStudentTLinearOperator": dict(
        df=3.0, loc=[0.0, 0.0], scale=tf.linalg.LinearOperatorIdentity(2)
    ),
    "Normal": _LOC_SCALE,
    "NormalInverseGaussian": dict(loc=0.0, scale=1.0, tailweight=2.0, skewness=0.5),
    "SigmoidBeta": dict(concentration1=2.0, concentration0=1.5),
    "SinhArcsinh": dict(loc=0.0, scale=1.0, skewness=0.2, tailweight=1.5),
    "StudentT": dict(df=3.0, loc=0.0, scale=1.0),
    "StudentTProcess": dict(df=3.0, **_PROCESS),
    "TwoPieceNormal": dict(loc=0.0, scale=1.0, skewness=1.5),
    "TwoPieceStudentT": dict(df=3.0, loc=0.0, scale=1.0, skewness=1.5),
    "VonMises": dict(loc=0.0, concentration=2.0),
}
# Those of supports with their other ways to give an argument.
OTHERS = {
    "Bernoulli": dict(probs=0.3),
    "Categorical": dict(probs=[0.3, 0.7]),
    "ContinuousBernoulli": dict(probs=0.3),
    "ExpRelaxedOneHotCategorical": dict(temperature=0.5, probs=[0.3, 0.7]),
    "OneHotCategorical": dict(probs=[0.3, 0.7]),
    "RelaxedOneHotCategorical": dict(temperature=0.5, probs=[0.3, 0.7]),
}
GOOD = {
    name: OTHERS.get(name, given)
    for name, given in ({name: case[0] for name, case in OWN.items()} | REAL).items()
    if name != "HalfFlat"
}
_NAN = float("nan")
# By what a rule wants: what it refuses.
BAD = {
    "numbers above 0": [-1.0, 0.0, _NAN, np.inf],
    "numbers above 0, or inf": [-1.0, 0.0, _NAN, -np.inf],
    "numbers above 1": [1.0, -1.0, _NAN],
    "numbers above 2": [2.0, _NAN, np.inf],
    "numbers, 0 or more": [-1.0, _NAN],
    "finite numbers": [np.inf, _NAN],
    "numbers": [_NAN],
    "numbers other than 0": [[1.0, 0.0], [_NAN, 1.0]],
    "numbers from 0 to 1": [1.5, -0.1, _NAN],
    "whole numbers, 0 or more": [10.5, -1.0, _NAN],
    "whole numbers, 1 or more": [1.5, 0.0],
    "parts, 0 or more, that add up to 1": [[0.5, 0.6], [1.5, -0.5], [_NAN, 1.0]],
    "unit vectors": [[3.0, 4.0], [0.0, 0.0]],
    "numbers in ascending order": [[1.0, 0.0], [1.0, 1.0]],
    "lower triangular matrices without a 0 on the diagonal": [
        [[1.0, 0.0], [0.5, 0.0]],
        [[1.0, 0.5], [0.5, 1.0]],
    ],
    "positive definite matrices": [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.4, 1.0]]],
}
CHECKED = [
    (name, argument, rule.words)
    for name, given in GOOD.items()
    if inspect.isclass(getattr(tfd, name, None))
    for argument, rule in arguments.rules_of(getattr(tfd, name)).of_names.items()
    if argument in given
]


def values(name, argument, words):
    given = GOOD[name][argument]
    for bad in BAD[words.split(" (")[0]]:  # without what to use for inf
        is_vector = np.ndim(given) == 1 and np.ndim(bad) == 0
        yield ([1.0] * (len(given) - 1) + [bad]) if is_vector else bad


@pytest.mark.parametrize(("name", "argument", "words"), CHECKED)
def test_a_bad_argument_is_refused_by_name_and_value(name, argument, words):
    good = GOOD[name]
    for bad in values(name, argument, words):
        for given in (bad, np.array(bad)):
            with pytest.raises(ValueError) as error:
                getattr(ppl, name)(**good | {argument: given}, name="x")
            text = str(error.value)
            assert text.startswith(f"{name}(name='x'): given {argument} ")
            assert text.endswith(f", wanted {words}")
            assert "\n" not in text


@pytest.mark.parametrize("name", GOOD)
def test_good_arguments_are_taken(name):
    arguments.check(getattr(tfd, name), GOOD[name], "x")


def test_every_class_of_numbers_is_tested():
    # Their parts are distributions or operators, which have tests of their own.
    parts = set(WRAPPED) | {
        "GaussianProcessRegressionModel",
        "LambertWDistribution",
        "LinearGaussianStateSpaceModel",
        "MatrixNormalLinearOperator",
        "MultivariateNormalLinearOperator",
        "PixelCNN",
        "Sample",
        "StudentTProcessRegressionModel",
        "VariationalGaussianProcess",
    }
    names = {
        name
        for name in distributions.__all__
        if inspect.isclass(getattr(tfd, name, None))
    }
    joint = {name for name in names if name.startswith("JointDistribution")}
    assert names - parts - joint == set(GOOD)


def test_arguments_that_must_fit_each_other():
    for name in ("Uniform", "Bates", "TruncatedNormal", "TruncatedCauchy"):
        given = GOOD[name] | dict(low=2.0, high=1.0)
        with pytest.raises(ValueError, match=f"{name}.*low 2.0, high 1.0, wanted low"):
            getattr(ppl, name)(**given, name="x")
    for name in ("PERT", "Triangular"):
        with pytest.raises(ValueError, match="peak 3.0, high 2.0, wanted peak up to"):
            getattr(ppl, name)(**GOOD[name] | dict(peak=3.0), name="x")
    with pytest.raises(ValueError, match=r"low 1.0 at \(1,\), high 1.0 at \(1,\)"):
        ppl.Uniform(np.zeros(2) + [0.0, 1.0], 1.0, name="x")
    with pytest.raises(ValueError, match="wanted a skewness between"):
        ppl.NormalInverseGaussian(0.0, 1.0, 2.0, 2.5, name="x")
    with pytest.raises(ValueError, match="given df 0.5.*wanted a df above"):
        ppl.WishartTriL(0.5, _EYE, name="x")
    with pytest.raises(ValueError, match="low 3.0, high 1.0, wanted low up to high"):
        ppl.QuantizedDistribution(tfd.Normal(0.0, 1.0), 3.0, 1.0, name="x")


def test_distributions_inside_others_are_looked_into():
    good = tfd.Categorical(probs=[0.5, 0.5])
    rows = tfd.Categorical(probs=[[0.9, 0.1], [0.5, 0.6]])
    with pytest.raises(
        ValueError,
        match=r"HiddenMarkovModel\(name='x'\), Categorical: given probs .* at \(1,\)",
    ):
        ppl.HiddenMarkovModel(good, rows, tfd.Normal([0.0, 1.0], 1.0), 3, name="x")
    with pytest.raises(ValueError, match="Sample.*, Normal: given scale -1.0, wanted"):
        ppl.Sample(tfd.Normal(0.0, -1.0), 3, name="x")
    with pytest.raises(ValueError, match="LinearOperatorDiag: given diag 0.0 at"):
        ppl.MultivariateNormalLinearOperator(
            scale=tf.linalg.LinearOperatorDiag([1.0, 0.0]), name="x"
        )
    with pytest.raises(ValueError, match="Named.*, Normal: given scale 0.0, wanted"):
        ppl.JointDistributionNamed(dict(a=tfd.Normal(0.0, 0.0)), name="x")
    with pytest.raises(ValueError, match="Mixture.*, Gamma: given concentration 0.0"):
        ppl.Mixture(good, [tfd.Gamma(0.0, 1.0), tfd.Normal(0.0, 1.0)], name="x")


def test_nan_is_refused_of_other_ways_to_give_an_argument():
    for name, given in (
        ("Bernoulli", dict(logits=_NAN)),
        ("Categorical", dict(logits=[0.0, _NAN])),
        ("Poisson", dict(log_rate=_NAN)),
    ):
        with pytest.raises(
            ValueError, match=f"{name}.*: given .* nan.*, wanted numbers"
        ):
            getattr(ppl, name)(**given, name="x")


def test_a_constructor_from_a_function_and_one_without_a_name():
    constructor = ppl.make_random_variable(lambda scale: tfd.Normal(0.0, scale))
    with pytest.raises(ValueError, match="given scale -1.0, wanted numbers above 0"):
        constructor(-1.0, name="x")
    with pytest.raises(ValueError, match=r"^Normal\(name=None\): given scale -1.0"):
        ppl.Normal(0.0, -1.0)
    # By position, with the index of an array's entry.
    with pytest.raises(ValueError, match=r"given scale -2.0 at \(1, 0\), wanted"):
        ppl.Normal(0.0, np.array([[1.0], [-2.0]]), name="x")


def test_a_posterior_of_a_program_with_a_bad_literal_is_refused():
    def model():
        ppl.Normal(ppl.Normal(0.0, 1.0, name="mu"), -1.0, name="y")

    with pytest.raises(ValueError, match=r"Normal\(name='y'\): given scale -1.0"):
        ppl.posterior(model, observed={"y": 1.0})


def test_what_a_density_allows_at_an_edge_is_taken():
    # Zero probabilities and rates, and a negative diagonal: |det| is what counts.
    assert float(ppl.Poisson(0.0, value=0.0, name="x").log_prob()) == 0.0
    assert float(ppl.Bernoulli(probs=1.0, value=1, name="x").log_prob()) == 0.0
    x = ppl.MultivariateNormalDiag(scale_diag=[-1.0, 2.0], value=[0.0, 0.0], name="x")
    np.testing.assert_allclose(x.log_prob(), -np.log(4 * np.pi), rtol=1e-6)
    thirds = np.full(3, np.float32(1) / np.float32(3))  # they add up to 1 + 3e-8
    assert np.isfinite(ppl.Categorical(probs=thirds, value=1, name="x").log_prob())


# By hand in NumPy, these are what TFP makes of each: finite, and no densities.
@pytest.mark.parametrize(
    ("name", "good", "bad", "value"),
    [
        ("Bernoulli", dict(probs=0.5), dict(probs=1.5), 1),
        ("Binomial", dict(total_count=2.0, probs=0.5), dict(probs=1.5), 2.0),
        ("Geometric", dict(probs=0.5), dict(probs=1.5), 0.0),
        ("Poisson", dict(rate=1.0), dict(rate=-1.0), 0.0),
        ("Categorical", dict(probs=[0.5, 0.5]), dict(probs=[0.5, 0.6]), 1),
        (
            "Gamma",
            dict(concentration=2.0, rate=1.0),
            dict(concentration=-0.5),
            1.0,
        ),
        ("Chi2", dict(df=3.0), dict(df=-1.5), 1.0),
        ("StudentT", dict(df=3.0, loc=0.0, scale=1.0), dict(scale=-1.0), 1.0),
        ("Gumbel", dict(loc=0.0, scale=1.0), dict(scale=-1.0), 1.0),
        (
            "Dirichlet",
            dict(concentration=[1.0, 2.0]),
            dict(concentration=[-0.5, 2.0]),
            [0.5, 0.5],
        ),
    ],
)
def test_tensors_that_are_no_arguments_have_no_density(name, good, bad, value):
    def log_prob(given):
        tensors = {key: tf.convert_to_tensor(part) for key, part in given.items()}
        return getattr(ppl, name)(**tensors, value=value, name="x").log_prob()

    traced = tf.function(log_prob)
    for compute in (log_prob, traced):
        assert np.isfinite(compute(good))
        assert compute(good | bad) == -np.inf


def test_a_latent_argument_keeps_chains_inside():
    def model():
        p = ppl.Normal(0.5, 1.0, name="p")
        ppl.Bernoulli(probs=p, name="y")

    posterior = ppl.posterior(model, observed={"y": 1})
    log_prob = posterior.log_prob(np.array([[0.5], [1.5], [-0.5]]))
    expected = -0.5 * np.log(2 * np.pi) + np.log(0.5)
    np.testing.assert_allclose(log_prob[0], expected)
    assert np.all(np.asarray(log_prob[1:]) == -np.inf)
