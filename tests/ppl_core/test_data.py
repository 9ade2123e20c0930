"""Data become tensors of the variable's dtype, or are refused with index and value."""

import datetime
import fractions

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray as xr

import ppl_core as ppl
from ppl_core import data


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.0, 1.0, np.nan], r"given nan at \(2,\), wanted whole numbers"),
        (np.array([[0.0], [0.7]]), r"given 0\.7 at \(1, 0\)"),
        (np.array([2.0**33 + 1]), r"given 8589934593\.0 at \(0,\)"),
        (np.array([2**33 + 1]), r"given 8589934593 at \(0,\)"),
        (tf.constant([0.0, 0.5]), r"given 0\.5 at \(1,\)"),
        (pd.Series([0.0, np.inf]), r"given inf at \(1,\)"),
    ],
)
def test_numbers_that_whole_numbers_cannot_hold_are_refused(value, message):
    with pytest.raises(ValueError, match=f"x: {message}"):
        data.to_tensor(value, tf.int32, "x")


def test_whole_floats_are_whole_numbers():
    for value in ([0.0, 3.0], np.array([0.0, 3.0]), tf.constant([0.0, 3.0])):
        whole = data.to_tensor(value, tf.int32, "x")
        assert whole.dtype == tf.int32 and whole.numpy().tolist() == [0, 3]


def test_missing_entries_are_refused_and_complete_containers_are_arrays():
    masked = np.ma.masked_array([[1.0, 2.0]], [[False, True]])
    with pytest.raises(ValueError, match=r"x: .* 1 masked .* the first at \(0, 1\)"):
        data.to_tensor(masked, tf.float32, "x")
    for column in (pd.Series([1.0, None]), pd.Series([1, None], dtype="Int64")):
        with pytest.raises(ValueError, match=r"x: .* 1 missing .* the first at \(1,\)"):
            data.to_tensor(column, tf.float32, "x")
    whole = np.ma.masked_array([1.0, 2.0])
    for value in (whole, pd.Series([1.0, 2.0]), pd.Series([1, 2], dtype="Int64")):
        tensor = data.to_tensor(value, tf.float32, "x")
        assert tensor.dtype == tf.float32 and tensor.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("value", [[0.0, np.nan], [0.0, 0.7]])
def test_labels_that_are_no_labels_never_reach_a_density(value):
    def model():
        p = ppl.Beta(1.0, 1.0, name="p")
        ppl.Bernoulli(probs=p, sample_shape=2, name="y")

    value = np.array(value)
    with pytest.raises(ValueError, match=r"Bernoulli\(name='y'\): given .* at \(1,\)"):
        ppl.make_log_joint_fn(model)(p=0.5, y=value)
    with pytest.raises(ValueError, match=r"Bernoulli\(name='y'\): given .* at \(1,\)"):
        ppl.unconstrain(model, observed={"y": value})
    with pytest.raises(ValueError, match=r"Bernoulli\(name='y'\): given .* at \(1,\)"):
        with ppl.condition(y=value):
            model()


@pytest.mark.parametrize("shape", [2.5, [2.0], -1, [3, -2]])
def test_a_sample_shape_that_is_no_shape_is_refused(shape):
    with pytest.raises(ValueError, match="sample_shape: given"):
        ppl.Normal(0.0, 1.0, sample_shape=shape, value=[0.0, 0.0])


def test_a_masked_nan_has_no_part_in_value_and_gradient():
    y = np.array([0.5, np.nan, -1.0], np.float32)

    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.mask(~np.isnan(y)):
            ppl.Normal(mu, 1.0, sample_shape=3, name="y")

    posterior = ppl.unconstrain(model, observed={"y": y})
    log_prob, grad = posterior.log_prob_and_grad(tf.constant([[0.25]]))
    # Three normal log densities at 0.25: the prior's and those of 0.5 and -1.
    expected = -0.5 * (0.25**2 + 0.25**2 + 1.25**2) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(log_prob, [expected], rtol=1e-6)
    np.testing.assert_allclose(grad, [[-0.25 + 0.25 - 1.25]], rtol=1e-6)


def test_a_masked_row_of_an_event_has_no_part_in_the_gradient():
    rows = np.array([[1.0, 2.0], [np.nan, 0.0]], np.float32)
    loc = tf.constant([0.0, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(loc)
        with ppl.mask([True, False]):
            x = ppl.MultivariateNormalDiag(loc, sample_shape=2, value=rows, name="x")
        log_prob = tf.reduce_sum(x.log_prob())
    np.testing.assert_allclose(log_prob, -2.5 - np.log(2 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(log_prob, loc), [1.0, 2.0])


@pytest.mark.parametrize("tracer", [ppl.mask, ppl.scale])
def test_a_weight_that_would_count_an_entry_several_times_is_refused(tracer):
    weight = [True, True] if tracer is ppl.mask else [1.0, 1.0]
    with pytest.raises(ValueError, match=r"Normal\(name='x'\): given a log_prob_"):
        with tracer(weight):
            x = ppl.Normal(0.0, 1.0, value=0.0, name="x")
        x.log_prob()


@pytest.mark.parametrize("tracer", [ppl.mask, ppl.scale])
@pytest.mark.parametrize("given", [True, False])
def test_a_weight_of_another_length_is_refused(tracer, given):
    weight = np.ones(2, bool) if tracer is ppl.mask else [1.0, 1.0]
    value = {"value": [0.0, 1.0, np.nan][: 3 if tracer is ppl.mask else 2] + [0.5]}
    words = r"Normal\(name='x'\): given a log_prob_.* of shape \(2,\), .* \([34],\)"
    with pytest.raises(ValueError, match=words), tracer(weight):
        if given and tracer is ppl.mask:
            ppl.Normal(0.0, 1.0, sample_shape=4, name="x", **value)
        else:
            ppl.Normal(0.0, 1.0, sample_shape=3, name="x").log_prob()


NO_NUMBERS = {
    "none": ([1.0, None], r"given None at \(1,\), wanted numbers"),
    "none in rows": ([[1.0, 2.0], [3.0, None]], r"given None at \(1, 1\), wanted"),
    "words": (["a", "b"], r"given 'a' at \(0,\), wanted numbers"),
    "one word": ("abc", "given 'abc', wanted numbers"),
    "numbers as words": (np.array(["1", "2"]), r"given '1' at \(0,\), wanted"),
    "complex": ([1.0, 2j], r"given 2j at \(1,\), wanted numbers"),
    "a complex tensor": (tf.constant([1j, 2j]), "a EagerTensor of complex128, wanted"),
    "ragged": ([[1.0], [1.0, 2.0]], r"different lengths, such as \[1.0\] at \(0,\)"),
    "ragged arrays": ([np.ones(1), np.ones(2)], "given rows of different lengths"),
    "a ragged tensor": (tf.ragged.constant([[1.0], []]), "given a RaggedTensor of"),
    "objects": (np.array([1.0, {}], object), r"given {} at \(1,\), wanted numbers"),
    "dates": (np.array(["2020-01-01"] * 2, "M8[D]"), r"date\(2020.* at \(0,\), wanted"),
    "a date": ([datetime.date(2020, 1, 1), 1.0], r"date\(2020, 1, 1\) at \(0,\)"),
    "pandas dates": (pd.date_range("2020", periods=2).to_series(), "wanted numbers"),
    "pandas words": (pd.Series(["a", "b"]), r"given 'a' at \(0,\), wanted numbers"),
    "a dictionary": ({"a": 1.0}, r"given {'a': 1.0}, wanted numbers"),
    "a set": ({1.0, 2.0}, r"given {1.0, 2.0}, wanted numbers"),
}


@pytest.mark.parametrize("dtype", [tf.float32, tf.int32, tf.bool], ids=str)
@pytest.mark.parametrize("case", NO_NUMBERS)
def test_what_is_no_array_of_numbers_is_refused_by_name(case, dtype):
    value, message = NO_NUMBERS[case]
    with pytest.raises(ValueError, match=f"^x: .*{message}"):
        data.to_tensor(value, dtype, "x")


def test_no_variable_takes_what_is_no_array_of_numbers():
    def program():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        ppl.Normal(mu, 1.0, sample_shape=2, name="y")

    def conditioned():
        with ppl.condition(y=["a", "b"]):
            program()

    def intervened():
        with ppl.intervene(y=["a", "b"]):
            program()

    calls = {
        r"Normal\(name='y'\): given None at": lambda: ppl.posterior(
            program, observed={"y": [1.0, None]}
        ),
        r"Normal\(name='y'\): given 'a' at": conditioned,
        r"Normal\(name='y'\): given 'a' at \(0,\)": intervened,
        r"Normal\(name='mu'\): given 'b', wanted": lambda: ppl.make_log_joint_fn(
            program
        )(mu="b", y=[0.0, 1.0]),
        r"values of 'mu': given None at \(1,\), wanted": lambda: ppl.make_log_joint_fn(
            program, batch_ndims=1
        )(mu=[1.0, None], y=[[0.0, 1.0]] * 2),
        r"draws of 'mu': given 'a' at \(0,\), wanted": lambda: ppl.posterior_predictive(
            program, draws={"mu": ["a"]}, seed=(0, 1)
        ),
        r"deterministic\(name='d'\): given None at \(1,\)": lambda: ppl.deterministic(
            [1.0, None], "d"
        ),
        r"factor\(name='f'\): given 'a', wanted numbers": lambda: ppl.factor("a", "f"),
    }
    for words, call in calls.items():
        with pytest.raises(ValueError, match=words):
            call()


def test_objects_that_are_numbers_are_numbers():
    floats = np.array([1.0, np.float32(0.5), fractions.Fraction(1, 4), True], object)
    tensor = data.to_tensor(floats, tf.float32, "x")
    assert tensor.dtype == tf.float32 and tensor.numpy().tolist() == [1, 0.5, 0.25, 1]
    wholes = pd.Series([1, 2], dtype=object)
    assert data.to_tensor(wholes, tf.int32, "x").numpy().tolist() == [1, 2]


def test_a_pointwise_likelihood_lacks_the_scale_of_a_minibatch():
    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.scale(10.0):
            ppl.Normal(mu, 1.0, sample_shape=2, name="y")

    log_likelihood = ppl.make_log_likelihood_fn(model, observed={"y": [0.0, 1.0]})
    expected = np.array([0.0, -0.5]) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(log_likelihood(mu=0.0)["y"], expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.bool, tf.uint8])
def test_tensors_of_whole_numbers_are_data_of_floating_variables(dtype):
    value = tf.cast([0, 1], dtype)
    for make in (
        lambda value: ppl.Normal(0.0, 1.0, sample_shape=2, value=value, name="x"),
        lambda value: ppl.Poisson(2.0, sample_shape=2, value=value, name="x"),
        lambda value: ppl.Binomial(3.0, probs=0.5, sample_shape=2, value=value),
    ):
        expected = make(np.float32([0, 1])).log_prob()
        np.testing.assert_array_equal(make(value).log_prob(), expected)


COORDS = {"school": ["a", "b"], "year": [2001, 2002]}
TABLE = np.array([[1.0, 2.0], [3.0, 4.0]])


def labelled(value, dims=("school", "year")):
    with ppl.coords(**COORDS):
        return ppl.Normal(0.0, 1.0, dims=dims, value=value, name="y")


LABELLED = {
    "arrays": (TABLE, ("school", "year")),
    "dims of its own": (xr.DataArray(TABLE), ("school", "year")),
    "dims": (xr.DataArray(TABLE, dims=("school", "year")), ("school", "year")),
    "labels": (xr.DataArray(TABLE, COORDS, ("school", "year")), ("school", "year")),
    "series": (pd.Series([1.0, 2.0], index=["a", "b"]), "school"),
    "series of rows": (pd.Series([1.0, 2.0], index=[7, 3]), "school"),
    "frame": (pd.DataFrame(TABLE, ["a", "b"], [2001, 2002]), ("school", "year")),
}


@pytest.mark.parametrize("case", LABELLED)
def test_data_in_the_order_of_the_labels_are_taken_by_position(case):
    value, dims = LABELLED[case]
    np.testing.assert_array_equal(labelled(value, dims), np.asarray(value))


OUT_OF_ORDER = {
    "dims": (
        xr.DataArray(TABLE, dims=("year", "school")),
        r"given the dimensions \('year', 'school'\), wanted \('school', 'year'\)",
    ),
    "labels": (
        xr.DataArray(TABLE, COORDS, ("school", "year"))[:, ::-1],
        r"given 'year' in the order \[2002, 2001\], wanted .* \[2001, 2002\]",
    ),
    "frame": (pd.DataFrame(TABLE, ["b", "a"]), r"given 'school' in the order"),
    "columns": (pd.DataFrame(TABLE, columns=[2002, 2001]), r"given 'year' in the"),
}


@pytest.mark.parametrize("case", OUT_OF_ORDER)
def test_data_in_another_order_than_the_labels_are_refused(case):
    value, message = OUT_OF_ORDER[case]
    with pytest.raises(ValueError, match=rf"^Normal\(name='y'\): {message}"):
        labelled(value)


def test_rows_of_a_sorted_frame_are_no_labels():
    frame = pd.DataFrame({"y": [3.0, 1.0, 2.0]}).sort_values("y")
    with ppl.plate("row", np.arange(3)):
        y = ppl.Normal(0.0, 1.0, value=frame["y"], name="y")
    np.testing.assert_array_equal(y, [1.0, 2.0, 3.0])


def test_no_data_stand_under_a_mask_of_none():
    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        with ppl.mask(np.zeros(0, bool), "y"):
            ppl.Normal(mu * np.zeros(0), 1.0, name="y")

    posterior = ppl.posterior(model, observed={"y": np.zeros(0)})
    log_prob, grad = posterior.log_prob_and_grad([[0.5], [1.0]])
    np.testing.assert_allclose(log_prob, -0.5 * np.log(2 * np.pi) - [0.125, 0.5])
    np.testing.assert_allclose(grad, [[-0.5], [-1.0]])


@pytest.mark.parametrize("value", [[True, False], tf.constant([True, False])])
def test_booleans_are_whole_numbers(value):
    y = ppl.Categorical(probs=[0.7, 0.3], sample_shape=2, value=value, name="y")
    assert y.dtype == tf.int32
    np.testing.assert_allclose(y.log_prob(), np.log([0.3, 0.7]), rtol=1e-6)


def test_a_posterior_refuses_counts_that_its_dtype_rounds():
    def model():
        ppl.Poisson(ppl.HalfNormal(1e7, name="rate"), sample_shape=2, name="y")

    observed = {"y": np.array([1234567, 2**24 + 1])}
    with pytest.raises(ValueError, match=r"name='y'\): given 16777217 at \(1,\)"):
        ppl.posterior(model, observed=observed, dtype=tf.float32)
    assert ppl.posterior(model, observed=observed).source.observed_data()["y"][1] == (
        2**24 + 1
    )
