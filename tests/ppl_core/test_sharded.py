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
        pytest.param((2, 4, 6, 8), 1, 2, 3, marks=pytest.mark.slow),
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
        pytest.param((2, 4, 6, 8), ("CPU:0", None), marks=pytest.mark.slow),
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


@pytest.mark.slow
def test_a_point_given_as_a_list_is_not_rounded(whole):
    points = [[0.3, -0.2], [0.1, 0.7]]  # which float32 does not hold
    log_prob = ppl.unconstrain_shards(regression, shards(5)).log_prob
    expected = whole.log_prob(points)
    np.testing.assert_allclose(log_prob(points), expected, rtol=1e-13)
    np.testing.assert_allclose(log_prob(points[0]), expected[0], rtol=1e-13)
    with pytest.raises(ValueError, match="^regression: vectors: given 'a', wanted"):
        log_prob("a")


def test_an_unknown_device_is_an_error():
    with pytest.raises(ValueError, match="given 'CPU:77', wanted one of .*CPU:0"):
        ppl.unconstrain_shards(regression, shards(5, devices=("CPU:0", "CPU:77")))


def test_latent_values_equal_those_of_the_whole_data(whole):
    parts = ppl.unconstrain_shards(regression, shards(3))
    assert parts.names == whole.names and parts.dim == whole.dim
    for name, value in parts.constrain(tf.constant(VECTORS)).items():
        expected = whole.constrain(tf.constant(VECTORS))[name]
        np.testing.assert_allclose(value, expected)


@pytest.mark.slow
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


def test_a_program_may_count_the_rows_of_its_shard():
    """The same number in each of these shards, on no tensor of which it depends."""

    def program(x):
        slope = ppl.Normal(0.0, 2.0, name="slope")
        ppl.factor(-slope * len(x), "rows")
        ppl.Normal(slope * x, 1.0, name="y")

    points, parts = (
        [[0.3], [-1.0]],
        [ppl.Shard((X[i : i + 2],), {"y": Y[i : i + 2]}) for i in (0, 2)],
    )
    in_parts = ppl.unconstrain_shards(program, parts).log_prob(points)
    whole = ppl.posterior(program, X[:4], observed={"y": Y[:4]}).log_prob(points)
    np.testing.assert_allclose(in_parts, whole, rtol=1e-6)


PRIORS = {  # of x[rows] and a number of the shard's own
    "location": lambda x, own: ppl.Normal(own, 1.0, name="u"),
    "scale": lambda x, own: ppl.Normal(0.0, 2.0 + own, name="u"),
    "bound": lambda x, own: ppl.Uniform(0.0, 2.0 + own, name="u"),
    "mean of rows": lambda x, own: ppl.Normal(tf.reduce_mean(x), 1.0, name="u"),
    "rows": lambda x, own: ppl.Normal(0.0, 1.0 / len(x), name="u"),
}


@pytest.mark.parametrize("prior", PRIORS)
def test_a_prior_that_differs_between_shards_is_refused(prior):
    def program(x, own):
        ppl.Normal(PRIORS[prior](x, own) * x, 1.0, name="y")

    def parts(first, second):
        data = ((X[:2], Y[:2], first), (X[2:4], Y[2:4], second))
        return [ppl.Shard((x, own), {"y": y}) for x, y, own in data]

    with pytest.raises(
        ValueError, match="^program: given latent variable 'u', whose p"
    ):
        ppl.unconstrain_shards(program, parts(-1.0, 1.0))
    if prior in ("mean of rows", "rows"):
        return
    in_parts = ppl.unconstrain_shards(program, parts(1.0, 1.0))
    whole = ppl.posterior(program, X[:4], 1.0, observed={"y": Y[:4]})
    expected = whole.log_prob([[0.3], [-1.0]])
    np.testing.assert_allclose(in_parts.log_prob([[0.3], [-1.0]]), expected, rtol=1e-6)


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


LOW = np.array([0.5, 1.0, 2.0, 0.0, 3.0, 1.5, 0.7, 0.2, 1.0, 0.5])
HIGH = np.array([0.5, 3.0, np.inf, 1.0, 3.0, 1.5, 0.7, 0.2, 4.0, 9.0])


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dtype"), [(2, tf.float64), (5, tf.float32)])
def test_censored_data_in_shards_equal_the_whole(size, dtype):
    """Of two rows, some shards have exact entries alone, and some have none."""

    def program(x):
        slope = ppl.Normal(0.0, 1.0, name="slope")
        shape = ppl.HalfNormal(1.0, name="shape")
        ppl.Weibull(1.0 + shape, tf.exp(slope * x), name="y")

    x = np.linspace(-1.0, 1.0, 10)
    points = [[0.3, -0.2], [-1.0, 0.5], [2.0, 0.5]]
    whole = ppl.posterior(
        program, x, observed={"y": ppl.Interval(LOW, HIGH)}, dtype=dtype
    )
    shards = [
        ppl.Shard(
            (x[i : i + size],), {"y": ppl.Interval(LOW[i:][:size], HIGH[i:][:size])}
        )
        for i in range(0, 10, size)
    ]
    in_parts = ppl.unconstrain_shards(program, shards, dtype=dtype)
    for part, expected in zip(
        in_parts.log_prob_and_grad(points), whole.log_prob_and_grad(points), strict=True
    ):
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(
            part, expected, rtol=1e-10 if dtype == tf.float64 else 1e-4
        )


@pytest.mark.slow
def test_censored_data_under_a_mask_and_beside_other_data_in_shards():
    def program(counted):
        rate = ppl.Gamma(2.0, 1.0, name="rate")
        with ppl.mask(counted):
            ppl.Exponential(2 * rate, sample_shape=2, name="n")
        ppl.Exponential(rate, sample_shape=2, name="y")

    low, high = np.array([1, 2, -3, 3]), np.array([1, 4, -1, 3])
    counted = np.array([True, True, False, False])
    y = np.array([0.1, 0.5, 0.3, 1.0])
    shards = [
        ppl.Shard(
            (counted[i : i + 2],),
            {"n": ppl.Interval(low[i : i + 2], high[i : i + 2]), "y": y[i : i + 2]},
        )
        for i in (0, 2)
    ]
    points = np.array([[0.3], [-2.0]])
    log_prob, grad = ppl.unconstrain_shards(program, shards).log_prob_and_grad(points)

    def by_hand(u):
        rate = np.log1p(np.exp(u))
        data = (
            np.log(2 * rate) - 2 * rate + np.log(np.exp(-4 * rate) - np.exp(-8 * rate))
        )
        data += 4 * np.log(rate) - rate * y.sum()
        return data + stats.gamma.logpdf(rate, 2) - np.log1p(np.exp(-u))

    expected = [by_hand(u) for u in points[:, 0]]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-9)
    slopes = [(by_hand(u + 1e-5) - by_hand(u - 1e-5)) / 2e-5 for u in points[:, 0]]
    np.testing.assert_allclose(grad[:, 0], slopes, rtol=1e-6)


def test_a_wrong_interval_of_any_shard_is_refused_by_name():
    def program():
        ppl.Exponential(ppl.Gamma(2.0, 1.0, name="rate"), sample_shape=1, name="y")

    data = [ppl.Interval([1.0], [2.0]), ppl.Interval([-2.0], [-1.0])]
    with pytest.raises(
        ValueError, match=r"'y'\): given -2.0 to -1.0 at \(0,\), wanted"
    ):
        ppl.unconstrain_shards(program, [ppl.Shard((), {"y": part}) for part in data])


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
