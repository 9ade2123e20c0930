"""Data outside a support are refused; other values there have a log prob of -inf."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from ppl_core import regions, supports
from tests.ppl_core.support_cases import CASES

WRONG = [(name, value) for name, (_, _, values) in CASES.items() for value in values]


def test_every_rule_has_a_case():
    kinds = {kind.__name__.strip("_") for kind in regions.SUPPORTS | supports._WRAPPERS}
    # A network, and what has a test of its own below.
    assert kinds - set(CASES) == {"PixelCNN", "Sample"}


@pytest.mark.parametrize("name", CASES)
def test_a_value_inside_has_a_finite_log_prob(name):
    arguments, inside, _ = CASES[name]
    variable = getattr(ppl, name)(**arguments, value=inside, name="x")
    assert np.isfinite(variable.log_prob()).all()
    assert np.isfinite(variable.log_prob(variable.value)).all()


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_data_outside_are_refused_with_index_and_value(name, wrong):
    arguments, inside, _ = CASES[name]
    with pytest.raises(
        ValueError, match=rf"^{name}\(name='x'\): given .* at \(1,.*\), wanted .*"
    ):
        getattr(ppl, name)(**arguments, sample_shape=2, value=[inside, wrong], name="x")


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_a_point_outside_has_no_density(name, wrong):
    arguments, inside, _ = CASES[name]

    def model():
        getattr(ppl, name)(**arguments, sample_shape=2, name="x")

    log_joint = ppl.make_log_joint_fn(model)
    assert np.isfinite(log_joint(x=[inside, inside]))
    if (name, wrong) == ("Zipf", 1.5):  # whose values are int32
        with pytest.raises(ValueError, match="given 1.5"):
            log_joint(x=[inside, wrong])
        return
    assert log_joint(x=[inside, wrong]) == -np.inf
    traced = tf.function(lambda x: log_joint(x=x), autograph=False)
    assert traced(tf.constant([inside, wrong])) == -np.inf


_SHIFTED = tfb.Chain([tfb.Shift(2.3), tfb.Scale(0.2)])
NARROW = {
    "Uniform": tfd.Uniform(2.1, 2.3),
    "transformed": tfd.TransformedDistribution(tfd.Beta(2.0, 3.0), _SHIFTED),
}


@pytest.mark.parametrize("name", NARROW)
def test_of_a_support_between_two_whole_numbers_the_upper_has_all_mass(name):
    inner = NARROW[name]
    variable = ppl.QuantizedDistribution(inner, value=3.0, name="q")
    assert variable.log_prob() == variable.log_prob(3.0) == 0.0
    for wrong in (2.0, 4.0):
        assert variable.log_prob(wrong) == -np.inf
        with pytest.raises(ValueError, match=f"'q'.*given {wrong} at .*wanted whole"):
            ppl.QuantizedDistribution(inner, value=wrong, name="q")


def test_data_outside_a_random_bound_have_no_density():
    def model():
        high = ppl.Exponential(1.0, name="high")
        ppl.Uniform(0.0, high, sample_shape=2, name="x")

    posterior = ppl.unconstrain(model, observed={"x": [0.5, 1.0]})
    vectors = posterior.unconstrain({"high": np.float32([0.7, 2.0])})
    assert posterior.log_prob(vectors)[0] == -np.inf
    assert np.isfinite(posterior.log_prob(vectors)[1])


def test_nan_and_masked_entries_and_wrapped_distributions():
    with pytest.raises(ValueError, match=r"Normal\(name='x'\): given nan at \(1,\)"):
        ppl.Normal(0.0, 1.0, sample_shape=2, value=[0.0, np.nan], name="x")
    with ppl.mask([True, False]):
        x = ppl.Exponential(1.0, sample_shape=2, value=[1.0, -1.0], name="x")
    assert x.log_prob().numpy().tolist() == [-1.0, 0.0]
    rows = ppl.Independent(tfd.Exponential([1.0, 1.0]), 1, name="rows")
    assert rows.log_prob([[1.0, -1.0], [1.0, 1.0]]).numpy().tolist() == [-np.inf, -2.0]
    with pytest.raises(ValueError, match=r"given -1\.0 at \(1,\)"):
        ppl.Sample(tfd.Exponential(1.0), 2, value=[1.0, -1.0], name="x")


def test_a_component_counts_only_inside_its_own_support():
    # At -1 the exponential has no density; TFP's is exp(1).
    def log_prob(rate):
        x = ppl.Mixture(
            tfd.Categorical(probs=[0.5, 0.5]),
            [tfd.Exponential(rate), tfd.Normal(0.0, 1.0)],
            value=-1.0,
            name="x",
        )
        return x.log_prob()

    expected = np.log(0.5) + stats.norm.logpdf(-1.0)
    rate = tf.constant(1.0)
    for compute in (log_prob, tf.function(log_prob)):
        with tf.GradientTape() as tape:
            tape.watch(rate)
            actual = compute(rate)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
        assert tape.gradient(actual, rate) == 0.0


def test_states_that_cannot_show_an_observation_do_not_count():
    chain = ppl.HiddenMarkovModel(
        tfd.Categorical(probs=[0.5, 0.5]),
        tfd.Categorical(probs=[[0.9, 0.1], [0.1, 0.9]]),
        tfd.Uniform([0.0, 1.0], [1.0, 3.0]),
        2,
        value=[0.5, 1.5],
        name="x",
    )
    # .5 comes from the first state, with density 1, and 1.5 from the second, with 1/2.
    np.testing.assert_allclose(chain.log_prob(), np.log(0.5 * 0.1 * 0.5), rtol=1e-6)


def test_a_batch_of_samples():
    given = tfd.Gamma(2.0, [1.0, 2.0])
    inside, outside = (
        [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]],
        [[1.0, 2.0, 3.0], [1.0, -1.0, 1]],
    )
    x = ppl.Sample(given, 3, value=inside, name="x")
    expected = stats.gamma.logpdf(inside, 2.0, scale=[[1.0], [0.5]]).sum(-1)
    np.testing.assert_allclose(x.log_prob(), expected, rtol=1e-5)
    assert np.isneginf(x.log_prob(outside)).tolist() == [False, True]
    with pytest.raises(ValueError, match=r"given -1.0 at \(1, 1\), wanted numbers, 0"):
        ppl.Sample(given, 3, value=outside, name="x")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "JointDistributionSequential",
            lambda: [tfd.Gamma(2.0, 1.0), tfd.Normal(0.0, 1.0)],
        ),
        (
            "JointDistributionNamed",
            lambda: dict(a=tfd.Gamma(2.0, 1.0), b=tfd.Normal(0.0, 1.0)),
        ),
        (
            "JointDistributionSequentialAutoBatched",
            lambda: [tfd.Gamma(2.0, 1.0), tfd.Normal(0.0, 1.0)],
        ),
    ],
)
def test_parts_of_a_joint_distribution(name, parts):
    def values(first):
        is_named = isinstance(parts(), dict)
        return dict(a=first, b=0.5) if is_named else [first, 0.5]

    x = getattr(ppl, name)(parts(), value=values(1.0), name="x")
    expected = stats.gamma.logpdf(1.0, 2.0) + stats.norm.logpdf(0.5)
    np.testing.assert_allclose(x.log_prob(), expected, rtol=1e-5)
    wrong = tf.nest.map_structure(tf.constant, values(-1.0))
    assert x.log_prob(wrong) == -np.inf
    with pytest.raises(
        ValueError, match=r"name='x'\), part .*: given -1.0 at \(\), wan"
    ):
        getattr(ppl, name)(parts(), value=values(-1.0), name="x")


def test_a_transformation_that_is_not_one_to_one():
    given = tfd.Normal(1.0, 1.0), tfp.bijectors.AbsoluteValue()
    x = ppl.TransformedDistribution(*given, value=2.0, name="x")
    expected = np.logaddexp(*stats.norm.logpdf([2.0, -2.0], 1.0))
    np.testing.assert_allclose(x.log_prob(), expected, rtol=1e-6)
    with pytest.raises(
        ValueError, match="given -2.0 at .*, wanted values of AbsoluteV"
    ):
        ppl.TransformedDistribution(*given, value=-2.0, name="x")


def test_a_factor_may_be_any_number():
    for value in (-np.inf, np.inf):
        assert ppl.factor(value, "x").log_prob() == value
    assert ppl.deterministic(np.nan, "x").log_prob() == 0.0


def test_infinite_numbers():
    with pytest.raises(ValueError, match=r"given inf at \(\), wanted finite numbers"):
        ppl.Normal(0.0, 1.0, value=np.inf, name="x")
    log_prob = tf.function(lambda x: ppl.Logistic(0.0, [1.0, 1.0], value=x).log_prob())
    # TFP's is NaN at -inf.
    assert log_prob(tf.constant([-np.inf, np.nan])).numpy().tolist() == [-np.inf] * 2
    assert np.isfinite(log_prob(tf.constant([0.0, 0.0]))).all()


def test_one_value_for_a_batch_lies_inside_some():
    x = ppl.Uniform([0.0, 0.0], [1.0, 2.0], name="x")
    np.testing.assert_allclose(x.log_prob(1.5), [-np.inf, -np.log(2.0)], rtol=1e-6)


def test_what_float32_rounds_is_inside_in_float64():
    parts = np.float32(np.random.default_rng(0).dirichlet(np.ones(1000)))
    direction = np.float32([1.0, 2.0, 3.0]) / np.float32(14.0) ** 0.5
    factor = np.float32([[1.0, 0.0], [0.3, (1 - 0.3**2) ** 0.5]])
    matrix = factor @ factor.T + np.float32([[0.0, 1e-7], [0.0, 0.0]])

    def model():
        ppl.Normal(0.0, 1.0, name="z")
        ppl.Dirichlet(np.ones(1000), name="parts")
        ppl.SphericalUniform(3, name="direction")
        ppl.LKJ(2, 1.0, name="matrix")
        ppl.WishartTriL(3.0, np.eye(2), name="scatter")

    observed = dict(parts=parts, direction=direction, matrix=matrix, scatter=matrix)
    posterior = ppl.posterior(model, observed=observed)
    assert np.isfinite(posterior.log_prob(np.zeros([1, 1]))).all()
    with pytest.raises(
        ValueError, match=r"SphericalUniform\(name='direction'\): given"
    ):
        ppl.posterior(model, observed=observed | {"direction": 1.01 * direction})


def test_counts_that_float32_does_not_hold_are_refused():
    with pytest.raises(
        ValueError, match=r"given 16777217 at \(\), wanted whole numbers that float32"
    ):
        ppl.Poisson(1e7, value=16777217, name="x")
    x = ppl.Poisson(1e7, value=np.array([16777216, 5]), sample_shape=2, name="x")
    assert x.numpy().tolist() == [16777216.0, 5.0]
    with pytest.raises(ValueError, match="given 16777217"):
        x.log_prob(np.array([16777217, 5]))

    def model():
        ppl.Poisson(ppl.Gamma(2.0, 1.0, name="rate"), name="x")

    posterior = ppl.posterior(model, observed={"x": 16777217})
    assert posterior.source.observed_data()["x"] == 16777217


def test_every_shard_of_the_data_is_checked():
    def model():
        rate = ppl.Exponential(1.0, name="rate")
        ppl.Poisson(rate, sample_shape=2, name="y")

    shards = [ppl.Shard((), {"y": [1.0, 2.0]}), ppl.Shard((), {"y": [0.0, 1.5]})]
    with pytest.raises(ValueError, match=r"Poisson\(name='y'\): given 1\.5 at \(1,\)"):
        ppl.unconstrain_shards(model, shards)


def test_latent_variables_of_each_shard_are_refused():
    def model(x):
        ppl.Normal(ppl.Normal(0.0, 1.0, sample_shape=len(x), name="z"), 1.0, name="y")

    shards = [ppl.Shard((np.ones(3),), {"y": np.ones(3)}) for _ in range(2)]
    with pytest.raises(ValueError, match="latent variable 'z', whose shape"):
        ppl.unconstrain_shards(model, shards)


def test_data_of_a_flow_are_not_inverted_to_be_checked():
    class Flow(tfb.Shift):
        """One of a user's own, which counts its calls."""

        calls = 0

        def _inverse(self, y):
            Flow.calls += 1
            return super()._inverse(y)

    flow = tfb.Chain([tfb.Exp(), Flow(1.0)])
    x = ppl.TransformedDistribution(tfd.Normal(0.0, 1.0), flow, value=3.0, name="x")
    assert Flow.calls == 0
    expected = stats.norm.logpdf(np.log(3.0) - 1.0) - np.log(3.0)
    np.testing.assert_allclose(x.log_prob(), expected, rtol=1e-6)
