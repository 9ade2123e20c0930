"""Ordinary mistakes: one line that names the variable, what was given, and wanted."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl

tfb, tfd = tfp.bijectors, tfp.distributions
Y = [0.0, 1.0, 2.0]


def model():
    a = ppl.Normal(0.0, 1.0, name="a")
    b = ppl.Normal(0.0, 1.0, sample_shape=2, name="b")
    ppl.Normal(a + b[0] * np.arange(3.0), 1.0, name="y")


def one_value():
    return ppl.Normal(0.0, 1.0, value=1.0, name="a")


def vector():
    return ppl.Normal(0.0, 1.0, sample_shape=3, value=Y, name="a")


def in_block(block, value=0.0):
    with block:
        return ppl.Normal(0.0, 1.0, value=value, name="a").log_prob()


def predict(draws):
    return ppl.posterior_predictive(model, draws=draws, seed=(0, 1))


DATA_AS_OBSERVED = (
    r"Normal\(name='y'\): given \[0.0, 1.0, 2.0\] as observed, .* `value`"
)
MISTAKES = {
    # Arguments of constructors.
    "data as observed": (
        lambda: ppl.Normal(0.0, 1.0, observed=Y, name="y"),
        TypeError,
        DATA_AS_OBSERVED,
    ),
    "data as observed in a posterior": (
        lambda: ppl.posterior(lambda: ppl.Normal(0.0, 1.0, observed=Y, name="y")),
        TypeError,
        DATA_AS_OBSERVED,
    ),
    "observed without data": (
        lambda: ppl.Normal(0.0, 1.0, observed=True, name="y"),
        ValueError,
        r"'y'\): given observed=True without a value",
    ),
    "observed without data in a posterior": (
        lambda: ppl.posterior(lambda: ppl.Normal(0.0, 1.0, observed=True, name="y")),
        ValueError,
        r"'y'\): given observed=True without a value",
    ),
    "a number as name": (
        lambda: ppl.Normal(0.0, 1.0, name=3),
        TypeError,
        r"Normal\(name=3\): given the name 3, wanted a string",
    ),
    "a factor the wrong way round": (
        lambda: ppl.factor("penalty", 1.0),
        TypeError,
        "given the name 1.0, wanted a string",
    ),
    "too many by position": (
        lambda: ppl.HalfNormal(0.0, 1.0, name="tau"),
        TypeError,
        r"HalfNormal\(name='tau'\): given 2 .* by position, wanted at most 1, \['s",
    ),
    "a switch by position": (
        lambda: ppl.Exponential(1.0, 2.0, name="e"),
        TypeError,
        r"given 2 arguments by position, wanted at most 1, \['rate'\]",
    ),
    "shapes": (
        lambda: ppl.Normal([0.0, 1.0], [1.0, 2.0, 3.0], name="a"),
        ValueError,
        r"^Normal\(name='a'\): .*loc.shape=\(2,\), scale.shape=\(3,\)",
    ),
    "shapes of bounds": (
        lambda: ppl.Uniform([0.0, 1.0], [1.0, 2.0, 3.0], name="u"),
        ValueError,
        r"^Uniform\(name='u'\): ",
    ),
    "none": (
        lambda: ppl.Normal(None, 1.0, name="a"),
        TypeError,
        r"^Normal\(name='a'\): given None for 'loc', wanted numbers",
    ),
    "none in a list": (
        lambda: ppl.Normal([1.0, None], 1.0, name="a"),
        ValueError,
        r"^Normal\(name='a'\): loc: given None at \(1,\), wanted numbers",
    ),
    "ragged": (
        lambda: ppl.Normal(0.0, [[1.0], [1.0, 2.0]], name="a"),
        ValueError,
        r"^Normal\(name='a'\): scale: given rows of different lengths",
    ),
    "complex": (
        lambda: ppl.Normal(1j, 1.0, name="a"),
        TypeError,
        r"^Normal\(name='a'\): ",
    ),
    "words": (
        lambda: ppl.Normal(pd.Series(["u", "v"]), 1.0, name="a"),
        ValueError,
        r"^Normal\(name='a'\): loc: given 'u' at \(0,\), wanted numbers",
    ),
    "two parametrizations": (
        lambda: ppl.Bernoulli(logits=0.0, probs=0.5, name="z"),
        ValueError,
        r"^Bernoulli\(name='z'\): ",
    ),
    "a vector as triangle": (
        lambda: ppl.MultivariateNormalTriL([0.0, 0.0], [1.0, 1.0], name="v"),
        ValueError,
        r"^MultivariateNormalTriL\(name='v'\): .*at least 2 dimensions",
    ),
    "sizes of events": (
        lambda: ppl.MultivariateNormalTriL([0.0, 0.0], np.eye(3), name="v"),
        ValueError,
        r"^MultivariateNormalTriL\(name='v'\): ",
    ),
    "a word as seed": (
        lambda: ppl.Normal(0.0, 1.0, seed="a", name="x"),
        ValueError,
        r"'x'\): given the seed 'a', wanted a whole number, or two of int32",
    ),
    "a fraction as seed": (
        lambda: ppl.Normal(0.0, 1.0, seed=tf.constant([1.0, 2.0]), name="x"),
        ValueError,
        r"'x'\): given a seed of float32 and shape \(2,\), wanted a whole",
    ),
    "a seed of draws": (
        lambda: one_value().sample(seed="a"),
        ValueError,
        r"'a'\).sample: given the seed 'a', wanted",
    ),
    "less than no sample": (
        lambda: one_value().sample(-1),
        ValueError,
        r"'a'\).sample: sample_shape: given -1, wanted whole numbers, 0 or more",
    ),
    "no sample shape": (
        lambda: ppl.Normal(0.0, 1.0, sample_shape=None, name="x"),
        ValueError,
        r"'x'\): sample_shape: given None, wanted whole numbers",
    ),
    "a number as dims": (
        lambda: ppl.Normal(0.0, 1.0, dims=3, name="x"),
        TypeError,
        r"Normal\(name='x'\): given dims 3, wanted names of dimensions",
    ),
    "numbers as dims": (
        lambda: ppl.deterministic(tf.zeros(2), "d", dims=[3]),
        TypeError,
        r"deterministic\(name='d'\): given dims \[3\], wanted names",
    ),
    "a bijector's class": (
        lambda: ppl.Normal(0.0, 1.0, bijector=tfb.Exp, name="x"),
        TypeError,
        r"'x'\): given the class Exp as bijector, wanted an instance, such as tfb.Exp",
    ),
    "a bijector's name": (
        lambda: ppl.Normal(0.0, 1.0, bijector="exp", name="x"),
        TypeError,
        r"'x'\): given 'exp' as bijector, wanted an instance",
    ),
    "a class as a part": (
        lambda: ppl.TransformedDistribution(tfd.Normal(0.0, 1.0), tfb.Exp, name="t"),
        TypeError,
        r"'t'\): given the class Exp as bijector, wanted an instance",
    ),
    "a variable as a part": (
        lambda: ppl.Independent(one_value(), 0, name="t"),
        TypeError,
        r"'t'\): given Normal\(name='a'\) as distribution, wanted .*`.distribution`",
    ),
    "a number as a part": (
        lambda: ppl.MixtureSameFamily(3.0, tfd.Normal([0.0, 1.0], 1.0), name="t"),
        TypeError,
        r"'t'\): given 3.0 as mixture_distribution, wanted a distribution",
    ),
    "an inflated category": (
        lambda: ppl.Inflated(
            tfd.Categorical(probs=[0.2, 0.8]), inflated_loc_probs=0.3, name="i"
        ),
        ValueError,
        r"'i'\): given a distribution of int32, wanted one of fractions",
    ),
    "a scale option of words": (
        lambda: ppl.Normal(
            0.0, 1.0, value=0.0, log_prob_scale="a", name="x"
        ).log_prob(),
        TypeError,
        r"'x'\): given a log_prob_scale of string, wanted numbers",
    ),
    "a mask option of numbers": (
        lambda: ppl.Normal(0.0, 1.0, value=0.0, log_prob_mask=1.0, name="x").log_prob(),
        TypeError,
        r"'x'\): given a log_prob_mask of float32, wanted booleans",
    ),
    # NumPy's methods.
    "sum": (
        lambda: vector().sum(),
        AttributeError,
        r"'a'\): given .sum, .*tf.reduce_sum",
    ),
    "transpose": (
        lambda: vector().transpose(),
        AttributeError,
        r"'a'\): given .transpose, wanted tf.transpose",
    ),
    "dot": (
        lambda: vector().dot(Y),
        AttributeError,
        r"'a'\): given .dot, wanted x @ y",
    ),
    "rsample": (lambda: vector().rsample(), AttributeError, "no attribute 'rsample'"),
    # Values given to a density.
    "a word": (
        lambda: one_value().log_prob("x"),
        ValueError,
        r"'a'\): given 'x', wanted numbers",
    ),
    "a longer value": (
        lambda: ppl.Normal([0.0, 1.0], 1.0, value=[0.0, 1.0], name="a").log_prob(Y),
        ValueError,
        r"'a'\): given a value of shape \(3,\), wanted one that broadcasts with \(2,\)",
    ),
    # Weights.
    "a scale of none": (
        lambda: in_block(ppl.scale(None)),
        ValueError,
        "scale: the factor: given None, wanted numbers",
    ),
    "a scale of words": (
        lambda: in_block(ppl.scale([1.0, "a"])),
        ValueError,
        r"scale: the factor: given 'a' at \(1,\), wanted numbers",
    ),
    "a scale of nan": (
        lambda: in_block(ppl.scale(np.nan)),
        ValueError,
        "scale: given nan as the factor",
    ),
    "a total of words": (
        lambda: in_block(ppl.plate("i", 3, total="9"), Y),
        ValueError,
        "plate 'i': given the total '9', wanted at least its 3 entries",
    ),
    "a plate without a name": (
        lambda: in_block(ppl.plate(3, 3), Y),
        TypeError,
        "plate: given the name 3, wanted a string",
    ),
    "an intervention by an interval": (
        lambda: ppl.mutilate(model, a=ppl.Interval(0.0, 1.0))(),
        ValueError,
        r"intervene: given .* an Interval for \['a'\], wanted a value",
    ),
    "bounds of words": (
        lambda: ppl.Interval("a", 1.0),
        ValueError,
        "Interval: the lower bound: given 'a', wanted numbers",
    ),
    "bounds under a mask": (
        lambda: ppl.Interval([0.0, 1.0], np.ma.array([1.0, 2.0], mask=[True, False])),
        ValueError,
        "Interval: the upper bound: given data with 1 masked entries",
    ),
    "bounds of two shapes": (
        lambda: ppl.Interval([0.0, 1.0], [1.0, 2.0, 3.0]),
        ValueError,
        r"Interval: given bounds of shapes \(2,\) and \(3,\), wanted shapes",
    ),
    # Names and programs.
    "a number as a name": (
        lambda: in_block(ppl.block(3)),
        TypeError,
        "block: given 3, wanted names of variables",
    ),
    "an alignment of a list": (
        lambda: ppl.align(["a"], {"a": 1.0}),
        TypeError,
        r"align: the alignment: given \['a'\], wanted values by name",
    ),
    "an alignment with a list": (
        lambda: ppl.align({"a": "b"}, ["b"]),
        TypeError,
        r"align: the variables: given \['b'\], wanted values by name",
    ),
    "an alignment to a list": (
        lambda: ppl.align({"a": ["b"]}, {"b": 1.0}),
        TypeError,
        r"align: given \['b'\], wanted a name among the variables",
    ),
    "a replay of a list": (
        lambda: in_block(ppl.replay(["a"])),
        TypeError,
        r"replay: given \['a'\], wanted values by name",
    ),
    "observed as a list": (
        lambda: ppl.describe(model, observed=["y"]),
        TypeError,
        r"model: observed: given \['y'\], wanted values by name",
    ),
    "a density of a list": (
        lambda: ppl.make_log_joint_fn(model, observed=[1.0])(),
        TypeError,
        r"model: observed: given \[1.0\], wanted values by name",
    ),
    "what a program returns": (
        lambda: ppl.posterior(model(), observed={"y": Y}),
        TypeError,
        "given None as a program, wanted a function that makes random variables",
    ),
    "a prior's value": (
        lambda: ppl.lift(lambda sigma: ppl.Normal(0.0, sigma, name="y"), sigma=3.0),
        TypeError,
        "lift: given 3.0 for 'sigma', wanted a function of name=",
    ),
    "a word as a share": (
        lambda: ppl.reparam(model, "a", centered="b"),
        ValueError,
        "reparam: given centered='b', wanted a number from 0 to 1",
    ),
    # Draws.
    "draws of one number": (
        lambda: predict({"a": 1.0, "b": [[0.0, 1.0]]}),
        ValueError,
        "posterior_predictive: given one number for 'a', wanted draws",
    ),
    "no draws": (lambda: predict(None), TypeError, "given NoneType as draws"),
    "half a draw": (
        lambda: ppl.prior_predictive(model, num_draws=2.5, seed=(0, 1)),
        ValueError,
        "prior_predictive: given num_draws=2.5, wanted a whole number",
    ),
    "less than no draw": (
        lambda: ppl.prior_predictive(model, num_draws=-1, seed=(0, 1)),
        ValueError,
        "given num_draws=-1",
    ),
    "batch dimensions": (
        lambda: ppl.make_log_joint_fn(model, batch_ndims="1")(a=[1.0]),
        ValueError,
        "batch_ndims: given '1', wanted a whole number, 0 or more",
    ),
    "ragged design": (
        lambda: ppl.DesignMatrix([[1.0], [1.0, 2.0]]),
        ValueError,
        "DesignMatrix: given rows of different lengths",
    ),
    "one shard": (
        lambda: ppl.unconstrain_shards(model, ppl.Shard((), {"y": Y})),
        TypeError,
        "unconstrain_shards: given a Shard, wanted a list of Shards",
    ),
    "pairs as shards": (
        lambda: ppl.unconstrain_shards(model, [((), {"y": Y})]),
        TypeError,
        "unconstrain_shards: given a tuple, wanted Shards",
    ),
    "shards without data": (
        lambda: ppl.unconstrain_shards(model, [ppl.Shard((), {"y": None})] * 2),
        ValueError,
        "unconstrain_shards: given None for 'y', wanted data",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named(case):
    call, error, message = MISTAKES[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def posterior():
    return ppl.posterior(model, observed={"y": Y})


WRONG_POINTS = {
    "draws in a list": (
        lambda p: p.source.log_likelihood([1.0]),
        TypeError,
        r"^model: draws: given \[1.0\], wanted values by name",
    ),
    "draws of another variable": (
        lambda p: p.source.log_likelihood({"c": [1.0]}),
        ValueError,
        r"^model: no random variable is named \['c'\]",
    ),
    "words": (
        lambda p: p.log_prob("a"),
        ValueError,
        "^model: vectors: given 'a', want",
    ),
    "complex": (
        lambda p: p.log_prob(np.zeros((1, 3), complex)),
        ValueError,
        r"^model: vectors: given 0j at \(0, 0\), wanted numbers",
    ),
    "ragged": (
        lambda p: p.log_prob([[0.0, 0.0, 0.0], [0.0]]),
        ValueError,
        "^model: vectors: given rows of different lengths",
    ),
    "none": (lambda p: p.log_prob(None), ValueError, "^model: vectors: given None"),
    "no values": (
        lambda p: p.unconstrain(None),
        TypeError,
        "given NoneType, wanted val",
    ),
    "one number": (
        lambda p: p.unconstrain({"a": 1.0, "b": [[0.0, 1.0]]}),
        ValueError,
        r"values of first dimensions {'a': \(\), 'b': \(1,\)}",
    ),
    "different numbers": (
        lambda p: p.unconstrain({"a": [1.0, 2.0], "b": [[0.0, 1.0]]}),
        ValueError,
        r"values of first dimensions {'a': \(2,\), 'b': \(1,\)}",
    ),
}


@pytest.mark.parametrize("case", WRONG_POINTS)
def test_a_wrong_point_of_a_posterior_is_named(case, posterior):
    call, error, message = WRONG_POINTS[case]
    with pytest.raises(error, match=message):
        call(posterior)


def test_literals_beside_a_variable_have_its_dtype():
    def program():
        b = ppl.Normal(0.0, 1.0, sample_shape=2, name="b")
        logits = tf.concat([b, [0.0]], 0) + tf.stack([0.5, b[0], 0.0])
        ppl.Multinomial(10.0, logits=logits + tf.stack([b[0], 1.0, 2.0]), name="n")
        ppl.Normal(tf.stack([ppl.Normal(0.0, 1.0, name="m"), 2.0]), 1.0, name="y")

    observed = {"n": [3.0, 4.0, 3.0], "y": [0.0, 0.0]}
    posterior = ppl.posterior(program, observed=observed)
    b, m = np.array([0.3, -0.7]), 0.4
    logits = np.array([b[0] + 0.5 + b[0], b[1] + b[0] + 1.0, 2.0])
    probs = np.exp(logits) / np.exp(logits).sum()
    expected = stats.norm.logpdf([*b, m]).sum()
    expected += stats.multinomial.logpmf([3, 4, 3], 10, probs)
    expected += stats.norm.logpdf([0.0, 0.0], [m, 2.0]).sum()
    np.testing.assert_allclose(posterior.log_prob([*b, m]), expected, rtol=1e-12)
    assert tf.concat([tf.ones(2), tf.zeros(1)], 0).numpy().tolist() == [1.0, 1.0, 0.0]
    assert tf.concat([[1.0], [2.0]], 0).numpy().tolist() == [1.0, 2.0]


BIJECTORS = {
    "too few dimensions": (
        tfb.Ascending(),
        (),
        r"Ascending .* shape \(\), wanted one of 1",
    ),
    "a matrix's": (tfb.FillTriangular(), 3, r"shape \(3,\), wanted one of 2 or more"),
    "even": (tfb.Square(), 2, "Square .* takes -1.42 to 2.02 and back to 1.42, wanted"),
    "two values": (tfb.AbsoluteValue(), (), "takes 1.42 to 1.42 and back to -1.42"),
    "of a part of R": (tfb.Invert(tfb.Exp()), (), "takes -1.42 to nan and back to nan"),
}


@pytest.mark.parametrize("case", BIJECTORS)
def test_a_bijector_that_is_not_one_to_one_from_all_of_the_line_is_refused(case):
    bijector, shape, message = BIJECTORS[case]

    def program():
        ppl.Normal(0.0, 1.0, sample_shape=shape, bijector=bijector, name="x")

    with pytest.raises(ValueError, match=rf"^Normal\(name='x'\): given .*{message}"):
        ppl.posterior(program)


def test_a_bijector_may_depend_on_another_variable():
    def program():
        low = ppl.Normal(0.0, 1.0, name="low")
        ppl.Normal(0.0, 1.0, bijector=tfb.Shift(low)(tfb.Exp()), name="x")

    log_prob = ppl.posterior(program).log_prob([[0.5, 0.3]])
    wanted = stats.norm.logpdf([0.5, 0.5 + np.exp(0.3)]).sum() + 0.3
    np.testing.assert_allclose(log_prob, [wanted])
