"""Data in shards: their posterior equals that of the whole data."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl


def regression(x):
    slope = ppl.Normal(0.0, 2.0, name="slope")
    spread = ppl.Exponential(1.0, name="spread")
    return ppl.Normal(slope * x, spread, name="y")


X = np.linspace(-1.0, 1.0, 11, dtype=np.float32)
Y = np.sin(3 * X).astype(np.float32)
VECTORS = np.array([[0.3, -0.2], [1.0, 0.5], [-2.0, 0.1]], np.float32)


def shards(*cuts, devices=(None,)):
    parts = zip(
        np.split(X, cuts), np.split(Y, cuts), itertools.cycle(devices), strict=False
    )
    return [
        ppl.Shard(args=(part,), observed={"y": y}, device=device)
        for part, y, device in parts
    ]


@pytest.fixture(scope="module")
def whole():
    return ppl.unconstrain(regression, X, observed={"y": Y})


@pytest.mark.parametrize(
    ("cuts", "streams", "shards_per_call", "chains"),
    [  # of five shards, every way to share them out
        ((), 1, 1, 3),
        ((), 2, 2, 1),
        ((5,), 2, 1, 1),
        ((5,), 1, 2, 3),
        ((2, 4, 6, 8), 1, 1, 1),
        ((2, 4, 6, 8), 1, 2, 3),
        ((2, 4, 6, 8), 1, 16, 1),
        ((2, 4, 6, 8), 2, 1, 3),
        ((2, 4, 6, 8), 2, 2, 1),
        ((2, 4, 6, 8), 2, 16, 3),
    ],
)
def test_log_prob_and_gradient_equal_those_of_the_whole_data(
    whole, cuts, streams, shards_per_call, chains
):
    parts = ppl.unconstrain_shards(
        regression, shards(*cuts), num_streams=streams, shards_per_call=shards_per_call
    )
    vectors = tf.constant(VECTORS[:chains])
    log_prob, grad = parts.log_prob_and_grad(vectors)
    expected = whole.log_prob_and_grad(vectors)
    np.testing.assert_allclose(log_prob, expected[0], rtol=1e-6)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-5)
    np.testing.assert_allclose(parts.log_prob(vectors), expected[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("cuts", "devices"),
    [
        ((), ("CPU:0",)),
        ((2, 4, 6, 8), ("CPU:0",)),
        ((2, 4, 6, 8), ("CPU:0", None)),
    ],
)
def test_shards_with_a_device_equal_shards_without(whole, cuts, devices):
    """What several devices do is in tests/experiments/nuts/test_devices.py."""
    parts = ppl.unconstrain_shards(regression, shards(*cuts, devices=devices))
    vectors = tf.constant(VECTORS)
    log_prob, grad = tf.function(parts.log_prob_and_grad, autograph=False)(vectors)
    expected = whole.log_prob_and_grad(vectors)
    np.testing.assert_allclose(log_prob, expected[0], rtol=1e-6)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-5)


def test_an_unknown_device_is_an_error():
    with pytest.raises(ValueError, match="given 'CPU:77', wanted one of .*CPU:0"):
        ppl.unconstrain_shards(regression, shards(5, devices=("CPU:0", "CPU:77")))


def test_latent_values_equal_those_of_the_whole_data(whole):
    parts = ppl.unconstrain_shards(regression, shards(3))
    assert parts.names == whole.names and parts.dim == whole.dim
    for name, value in parts.constrain(tf.constant(VECTORS)).items():
        expected = whole.constrain(tf.constant(VECTORS))[name]
        np.testing.assert_allclose(value, expected)


def test_shards_of_one_shape_share_a_trace():
    runs = []

    def counted(x):
        runs.append(1)
        return regression(x)

    def traces(num):
        runs.clear()
        size = 12 // num
        shards_of_ones = [
            ppl.Shard((np.ones(size, np.float32),), {"y": np.ones(size, np.float32)})
            for _ in range(num)
        ]
        posterior = ppl.unconstrain_shards(counted, shards_of_ones)
        runs.clear()  # each shard's data were checked by a run of their own
        posterior.log_prob_and_grad(tf.constant(VECTORS[:1]))
        return len(runs)

    assert traces(12) == traces(3)


def test_no_shard_is_an_error():
    with pytest.raises(ValueError, match="no shard"):
        ppl.unconstrain_shards(regression, [])


@pytest.mark.parametrize("num_streams, shards_per_call", [(0, 1), (1, 0)])
def test_zero_streams_or_shards_per_call_are_an_error(num_streams, shards_per_call):
    with pytest.raises(ValueError, match="wanted at least 1 of each"):
        ppl.unconstrain_shards(
            regression,
            shards(5),
            num_streams=num_streams,
            shards_per_call=shards_per_call,
        )


def test_an_infinite_gradient_of_one_shard_does_not_affect_the_others():
    def rooted(x):
        slope = ppl.Normal(0.0, 1.0, name="slope")
        return ppl.Normal(tf.sqrt(tf.abs(slope)) * x, 1.0, name="y")

    vectors = tf.constant([[0.0], [0.5]])  # the root's slope at 0 is infinite
    whole = ppl.unconstrain(rooted, X, observed={"y": Y})
    parts = ppl.unconstrain_shards(rooted, shards(3, 6))
    log_prob, _ = parts.log_prob_and_grad(vectors)
    expected = whole.log_prob_and_grad(vectors)[0]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6)


def test_terms_that_do_not_depend_on_the_rows_count_once():
    """Those of rows may be data, factors of the arguments, or set by the program."""

    def program(x):
        mu = ppl.Normal(0.0, 1.0, name="mu")
        ppl.factor(-3.0 * mu**2, "penalty")
        ppl.Normal(mu, 1.0, value=0.3, name="pseudo_observation")
        ppl.factor(-tf.reduce_sum((x - mu) ** 2), "likelihood")
        ppl.Normal(mu, 1.0, value=x, sample_shape=2, name="given")
        ppl.Normal(mu, 1.0, sample_shape=2, name="y")

    def whole():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        ppl.factor(-3.0 * mu**2, "penalty")
        ppl.Normal(mu, 1.0, value=0.3, name="pseudo_observation")
        ppl.factor(-tf.reduce_sum((x - mu) ** 2), "likelihood")
        ppl.Normal(mu, 1.0, value=x, sample_shape=6, name="given")
        ppl.Normal(mu, 1.0, sample_shape=6, name="y")

    x, y = np.arange(6.0), np.arange(6.0)[::-1]
    shards = [
        ppl.Shard((x[i : i + 2],), {"y": y[i : i + 2].copy()}) for i in range(0, 6, 2)
    ]
    in_parts = ppl.unconstrain_shards(program, shards)
    at_once = ppl.unconstrain(whole, observed={"y": y.copy()})
    points = tf.constant([[0.5], [-1.0]])
    for part, expected in zip(
        in_parts.log_prob_and_grad(points),
        at_once.log_prob_and_grad(points),
        strict=True,
    ):
        np.testing.assert_allclose(part, expected, rtol=1e-10)


def test_a_sum_over_a_variable_of_all_shards_is_refused():
    def program():
        z = tf.cast(ppl.Bernoulli(probs=0.3, name="z"), tf.float32)
        mu = ppl.Normal(0.0, 1.0, name="mu")
        ppl.Normal(mu + z, 1.0, sample_shape=2, name="y")

    shards = [ppl.Shard((), {"y": [0.0, 1.0]}), ppl.Shard((), {"y": [2.0, 1.0]})]
    plain = ppl.unconstrain_shards(ppl.mutilate(program, z=1), shards)
    expected = stats.norm.logpdf(0.1) + stats.norm.logpdf([0, 1, 2, 1], 1.1).sum()
    np.testing.assert_allclose(plain.log_prob([[0.1]]), [expected], rtol=1e-6)
    with pytest.raises(ValueError, match="'y' in shards and summed over"):
        ppl.unconstrain_shards(ppl.marginalize(program, "z"), shards)
