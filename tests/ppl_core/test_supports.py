"""Data outside a support are refused; other values there have a log prob of -inf."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from ppl_core import supports

# Constructor: its arguments, a value inside, and values outside (for events, one each).
CASES = {
    "Bates": (dict(total_count=3.0, low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "Bernoulli": (dict(probs=0.3), 1, [2, -1]),
    "Beta": (dict(concentration1=2.0, concentration0=2.0), 0.5, [-0.1, 1.1]),
    "BetaBinomial": (
        dict(total_count=5.0, concentration1=2.0, concentration0=1.5),
        2.0,
        [-1.0, 6.0, 1.5],
    ),
    "Binomial": (dict(total_count=5.0, probs=0.3), 2.0, [-1.0, 6.0, 1.5]),
    "Categorical": (dict(logits=[0.0, 0.0]), 1, [-1, 2]),
    "Chi": (dict(df=3.0), 1.0, [-1.0]),
    "Chi2": (dict(df=3.0), 1.0, [-1.0]),
    "ContinuousBernoulli": (dict(probs=0.3), 0.5, [-0.1, 1.1]),
    "Dirichlet": (
        dict(concentration=[1.0, 2.0]),
        [0.5, 0.5],
        [[0.7, 0.7], [1.5, -0.5]],
    ),
    "DirichletMultinomial": (
        dict(total_count=4.0, concentration=[1.0, 2.0]),
        [1.0, 3.0],
        [[1.0, 1.0], [5.0, -1.0], [1.5, 2.5]],
    ),
    "Exponential": (dict(rate=1.0), 1.0, [-1.0]),
    "FlatDirichlet": (dict(concentration_shape=[2]), [0.5, 0.5], [[0.7, 0.7]]),
    "Gamma": (dict(concentration=2.0, rate=1.0), 1.0, [-1.0]),
    "GammaGamma": (
        dict(concentration=2.0, mixing_concentration=3.0, mixing_rate=1.5),
        1.0,
        [-1.0],
    ),
    "GeneralizedPareto": (dict(loc=1.0, scale=1.0, concentration=0.2), 2.0, [0.5]),
    "Geometric": (dict(probs=0.3), 2.0, [-1.0, 1.5]),
    "HalfCauchy": (dict(loc=1.0, scale=1.0), 2.0, [0.5]),
    "HalfFlat": ({}, 1.0, [-1.0]),
    "HalfNormal": (dict(scale=1.0), 1.0, [-1.0]),
    "HalfStudentT": (dict(df=3.0, loc=1.0, scale=1.0), 2.0, [0.5]),
    "InverseGamma": (dict(concentration=2.0, scale=1.0), 1.0, [-1.0]),
    "InverseGaussian": (dict(loc=1.0, concentration=1.0), 1.0, [-1.0]),
    "Kumaraswamy": (dict(concentration1=2.0, concentration0=2.0), 0.5, [-0.1, 1.1]),
    "LogLogistic": (dict(loc=0.0, scale=1.0), 1.0, [-1.0]),
    "LogNormal": (dict(loc=0.0, scale=1.0), 1.0, [-1.0]),
    "LogitNormal": (dict(loc=0.0, scale=1.0), 0.5, [-0.1, 1.1]),
    "Multinomial": (
        dict(total_count=4.0, probs=[0.5, 0.5]),
        [1.0, 3.0],
        [[1.0, 1.0], [5.0, -1.0], [1.5, 2.5]],
    ),
    "NegativeBinomial": (dict(total_count=3.0, probs=0.5), 2.0, [-1.0, 1.5]),
    "NoncentralChi2": (dict(df=3.0, noncentrality=1.0), 1.0, [-1.0]),
    "OneHotCategorical": (dict(logits=[0.0, 0.0]), [0, 1], [[1, 1], [0, 0], [2, -1]]),
    "OrderedLogistic": (dict(cutpoints=[-1.0, 1.0], loc=0.0), 2, [-1, 3]),
    "PERT": (dict(low=0.0, peak=1.0, high=2.0), 1.0, [-0.1, 2.1]),
    "Pareto": (dict(concentration=2.0, scale=1.0), 2.0, [0.5]),
    "Poisson": (dict(rate=1.0), 2.0, [-1.0, 1.5]),
    "ProbitBernoulli": (dict(probs=0.3), 1, [2, -1]),
    "RelaxedBernoulli": (dict(temperature=0.5, probs=0.3), 0.5, [-0.1, 1.1]),
    "RelaxedOneHotCategorical": (
        dict(temperature=0.5, logits=[0.0, 0.0]),
        [0.5, 0.5],
        [[0.7, 0.7], [1.5, -0.5]],
    ),
    "Skellam": (dict(rate1=1.0, rate2=1.0), -2.0, [1.5]),
    "StoppingRatioLogistic": (dict(cutpoints=[-1.0, 1.0], loc=0.0), 2, [-1, 3]),
    "Triangular": (dict(low=0.0, peak=1.0, high=2.0), 1.0, [-0.1, 2.1]),
    "TruncatedCauchy": (dict(loc=0.0, scale=1.0, low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "TruncatedNormal": (dict(loc=0.0, scale=1.0, low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "Uniform": (dict(low=0.0, high=2.0), 1.0, [-0.1, 2.1]),
    "Weibull": (dict(concentration=2.0, scale=1.0), 1.0, [-1.0]),
    "ZeroInflatedNegativeBinomial": (
        dict(total_count=3.0, probs=0.5, inflated_loc_probs=0.2),
        2.0,
        [-1.0, 1.5],
    ),
    "Zipf": (dict(power=2.0), 2.0, [0.0, 1.5]),
}
WRONG = [(name, value) for name, (_, _, values) in CASES.items() for value in values]


def test_every_rule_has_a_case():
    without = {kind.__name__ for kind in supports._SUPPORTS} - set(CASES)
    # Two whose arguments are tensors of a quadrature or a quotient.
    assert without == {"BetaQuotient", "PoissonLogNormalQuadratureCompound"}


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
        ValueError, match=rf"{name}\(name='x'\): given .* at \(1,\), wan"
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
