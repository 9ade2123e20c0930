"""Programs whose literals and data are float32 have posteriors in float64."""

import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import ppl_core as ppl
from ppl_core.precision import cast, in_dtype

IDENTITY = tf.linalg.LinearOperatorIdentity(2)
NOISE = tfd.MultivariateNormalDiag([0.0, 0.0], [1.0, 1.0])
KERNEL = tfp.math.psd_kernels.ExponentiatedQuadratic(1.0, 2.0)
POINTS = np.float32([[1.0], [2.0]])

CALLS = {
    "whole numbers": lambda: ppl.Normal(0, 1),
    "whole and floating": lambda: ppl.StudentT(3, 0, 1.0),
    "no arguments": lambda: ppl.Uniform(),
    "a dtype": lambda: ppl.SphericalUniform(3),
    "flat": lambda: ppl.Flat(value=1.0),
    "a list": lambda: ppl.Normal([0.0, 1.0], 1.0),
    "a list of tensors": lambda: ppl.Normal([tf.constant(0.0), 1.0], 1.0),
    "an array": lambda: ppl.MultivariateNormalTriL([0.0, 0.0], np.eye(2, dtype="f")),
    "a dimension": lambda: ppl.LKJ(3, 1),
    "a tensor": lambda: ppl.Gamma(tf.constant(2.0), 1.0),
    "sample": lambda: ppl.Sample(tfd.Normal(0.0, 1.0), 3),
    "independent": lambda: ppl.Independent(tfd.Gamma([1.0, 2.0], 1.0), 1),
    "mixture": lambda: ppl.MixtureSameFamily(
        tfd.Categorical(probs=[0.5, 0.5]), tfd.Normal([0.0, 1.0], 1.0)
    ),
    "transformed": lambda: ppl.TransformedDistribution(
        tfd.Normal(0.0, 1.0), tfb.Chain([tfb.Shift([1.0, 2.0]), tfb.Exp()])
    ),
    "markov model": lambda: ppl.HiddenMarkovModel(
        tfd.Categorical(probs=[0.5, 0.5]),
        tfd.Categorical(probs=[[0.5, 0.5], [0.5, 0.5]]),
        tfd.Normal([0.0, 1.0], 1.0),
        4,
    ),
    "state space": lambda: ppl.LinearGaussianStateSpaceModel(
        3, IDENTITY, NOISE, IDENTITY, NOISE, NOISE
    ),
    "kernel": lambda: ppl.GaussianProcess(KERNEL, POINTS),
    "inverse gaussian": lambda: ppl.InverseGaussian(2.0, 1.0),
    "continuous bernoulli": lambda: ppl.ContinuousBernoulli(probs=0.3),
    "bernoulli": lambda: ppl.Bernoulli(probs=0.3),
    "poisson": lambda: ppl.Poisson(3),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_variable_has_the_posteriors_dtype(name):
    with in_dtype(tf.float64):
        variable = CALLS[name]()
        assert variable.dtype == tf.float64 or not variable.dtype.is_floating
        assert variable.log_prob().dtype == tf.float64
        assert np.isfinite(variable.log_prob()).all()


@pytest.mark.parametrize("name", CALLS)
def test_in_float32_nothing_changes(name):
    plain = CALLS[name]()
    with in_dtype(tf.float32):
        cast_one = CALLS[name]()
    assert cast_one.distribution.dtype == plain.distribution.dtype
    value = plain.value
    np.testing.assert_array_equal(cast_one.log_prob(value), plain.log_prob(value))


def test_a_number_that_float32_cannot_hold_is_kept():
    def program(x):
        mu = ppl.Normal(0.1, 1.0, name="mu")
        ppl.Normal(mu * x, 0.3, name="y")

    x, y = np.array([0.7, 1e-9]), np.array([0.2, 0.1])
    posterior = ppl.unconstrain(program, x, observed={"y": y})
    mu = 1 / 3
    expected = stats.norm.logpdf(mu, 0.1) + stats.norm.logpdf(y, mu * x, 0.3).sum()
    np.testing.assert_allclose(posterior.log_prob([[mu]]), [expected], rtol=1e-14)


def test_float32_tensors_meet_variables_of_a_float64_posterior():
    """As arguments, on either side of an operator, and as parameters."""

    def program(x):
        mu = ppl.Normal(tf.zeros(2), 1.0, name="mu")
        y = tf.constant([1.0, 2.0]) * mu + mu * tf.constant([3.0, 0.0])
        ppl.Normal(y + x, tf.ones(2), name="y")

    for x in (tf.ones(2), np.ones(2, np.float32), np.ones(2, int)):
        posterior = ppl.unconstrain(program, x, observed={"y": [0.0, 1.0]})
        value = posterior.log_prob([[0.5, -0.5]])
        expected = stats.norm.logpdf([0.5, -0.5]).sum()
        expected += stats.norm.logpdf([0.0, 1.0], [3.0, 0.0]).sum()
        np.testing.assert_allclose(value, [expected], rtol=1e-14)


def test_tensors_that_keep_float32_are_refused_with_what_to_do():
    def program():
        mu = ppl.Normal(0.0, 1.0, sample_shape=2, name="mu")
        ppl.Normal(2.0 * mu + tf.zeros(2), 1.0, name="y")

    with pytest.raises(Exception, match="float32") as caught:
        ppl.unconstrain(program, observed={"y": [0.0, 1.0]})
    assert "dtype=tf.float32" in caught.value.__notes__[0]
    posterior = ppl.unconstrain(program, observed={"y": [0.0, 1.0]}, dtype=tf.float32)
    assert posterior.log_prob([[0.0, 0.0]]).dtype == tf.float64


class _Stubborn(tfd.Normal):
    """Float32 whatever it is given."""

    def __init__(self, loc):
        super().__init__(tf.cast(loc, tf.float32), 1.0)


def test_a_distribution_that_stays_float32_is_refused_by_name():
    make = ppl.make_random_variable(_Stubborn)
    with pytest.raises(ValueError, match="Stubborn.*'x'.*float32, wanted float64"):
        ppl.unconstrain(lambda: make(0.0, name="x"))


def test_what_is_no_number_is_left_alone():
    for part in (None, True, "a", 3, [1, 2], {"a": 1}, np.arange(3), len):
        assert cast(part, tf.float64) is part


def test_a_program_in_float64_is_sampled_in_float64():
    from experiments import inference

    def program():
        ppl.Normal(1.0, 1e-9, name="x")  # as wide as float32 cannot tell

    posterior = ppl.unconstrain(program)
    settings = inference.SamplerSettings(step_size=1e-9, num_results=50, num_chains=2)
    samples = inference.sample(
        posterior.log_prob_and_grad, start=np.ones([2, 1]), settings=settings, seed=1
    )
    assert samples.draws.dtype == np.float64
    assert 5e-10 < samples.draws.std() < 2e-9 and samples.diverged.sum() == 0


def use_numpy(a):
    return np.exp(a)


def use_math(a):
    return math.exp(a)


def use_numpy_of_a_tensor(a):
    return np.exp(2.0 * a)


def branch(a):
    return a if a > 0 else -a


@pytest.mark.parametrize("use", [use_numpy, use_math, use_numpy_of_a_tensor, branch])
def test_numbers_of_latents_are_refused_with_what_to_use(use):
    def program():
        ppl.Normal(use(ppl.Normal(0.0, 1.0, name="a")), 1.0, name="y")

    with pytest.raises(TypeError) as caught:
        ppl.posterior(program, observed={"y": 1.0})
    message = str(caught.value)
    assert "program" in message and "tf.exp" in message and "tf.where" in message


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        (("a", 0.0, 1.0), {}, r"Normal\(name=None\): given 'a' .*wanted name='a'"),
        ((), {"mu": 0.0, "name": "a"}, r"Normal\(name='a'\): .*\['loc', 'scale'\]"),
        ((0.0, 1.0), {"sd": 0.0, "name": "a"}, "unexpected.*'sd'.*'loc', 'scale'"),
    ],
)
def test_wrong_arguments_are_refused_by_the_variables_name(args, kwargs, words):
    with pytest.raises(TypeError, match=words):
        ppl.Normal(*args, **kwargs)


def test_data_without_names_are_refused():
    def program():
        ppl.Normal(ppl.Normal(0.0, 1.0, name="a"), 1.0, name="y", sample_shape=2)

    with pytest.raises(TypeError, match="observed: given ndarray, wanted values by"):
        ppl.posterior(program, observed=np.zeros(2))


N = np.array([1, 2, 3])
WHOLE = {
    "arrays": N,
    "series": pd.Series(N, index=[7, 8, 9]),
    "tensors": tf.constant(N),
    "bytes": N.astype(np.uint8),
}


@pytest.mark.parametrize("n", WHOLE.values(), ids=WHOLE)
def test_arguments_of_whole_numbers_are_those_of_fractions(n):
    y = ppl.Normal(n, n, value=[0.5, 1.5, 2.5], name="y")
    expected = stats.norm.logpdf([0.5, 1.5, 2.5], N, N)
    np.testing.assert_allclose(y.log_prob(), expected, rtol=1e-6)
    k = ppl.Poisson(n, value=[0, 1, 5], name="k")
    np.testing.assert_allclose(
        k.log_prob(), stats.poisson.logpmf([0, 1, 5], N), rtol=1e-6
    )
    one = ppl.Binomial(np.int64(4), probs=0.3, value=2, name="one")
    np.testing.assert_allclose(one.log_prob(), stats.binom.logpmf(2, 4, 0.3), 1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_pandas_arguments_in_a_posterior(dtype):
    frame = pd.DataFrame({"x": [0.5, 1.5], "n": [1, 2]})

    def program():
        ppl.Gamma(frame["n"], 3.0, name="latent")
        ppl.Normal(frame["x"], frame["n"], name="y")
        ppl.Poisson(frame["n"], name="k")

    data = {"y": [0.0, 1.0], "k": [1, 2]}
    posterior = ppl.posterior(program, observed=data, dtype=dtype)
    point = posterior.unconstrain({"latent": [[0.5, 0.25]]})
    assert point.dtype == dtype
    expected = stats.gamma.logpdf([0.5, 0.25], [1, 2], scale=1 / 3).sum()
    expected += np.log(-np.expm1([-0.5, -0.25])).sum()  # of softplus, to 0.5 and 0.25
    expected += stats.norm.logpdf([0.0, 1.0], frame["x"], frame["n"]).sum()
    expected += stats.poisson.logpmf([1, 2], [1, 2]).sum()
    np.testing.assert_allclose(posterior.log_prob(point), [expected], rtol=1e-6)


def test_whole_numbers_stay_where_a_distribution_returns_them():
    values = ppl.FiniteDiscrete(N, probs=[0.1, 0.2, 0.7], value=3, name="values")
    assert values.dtype == tf.int64
    np.testing.assert_allclose(values.log_prob(), np.log(0.7), rtol=1e-6)
    assert ppl.Deterministic(N, name="same").dtype == tf.int64


@pytest.mark.parametrize("loc", [0, np.int64(0), np.array(0), tf.constant(0), 0.0])
@pytest.mark.parametrize("rate", [2.0, np.float64(2.0)])
def test_an_inflated_distribution_has_the_dtype_of_the_one_inside(loc, rate):
    share = np.float64(0.3)
    for probs in (0.3, share, tf.constant(share)):
        y = ppl.Inflated(
            tfd.Poisson(rate),
            inflated_loc_probs=probs,
            inflated_loc=loc,
            sample_shape=2,
            value=[0, 2],
        )
        assert y.dtype == (tf.float64 if isinstance(rate, np.float64) else tf.float32)
        expected = 0.7 * stats.poisson.pmf([0, 2], 2.0) + [0.3, 0.0]
        np.testing.assert_allclose(y.log_prob(), np.log(expected), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", np.float32, tf.float32])
def test_a_posteriors_dtype_may_be_numpys(dtype):
    def program():
        ppl.Normal(ppl.Normal(0.0, 1.0, name="mu"), 1.0, name="y")

    posterior = ppl.posterior(program, observed={"y": 0.0}, dtype=dtype)
    assert posterior.dtype is tf.float32
    shards = [ppl.Shard((), {"y": 0.0})] * 2
    assert ppl.unconstrain_shards(program, shards, dtype=dtype).dtype is tf.float32
