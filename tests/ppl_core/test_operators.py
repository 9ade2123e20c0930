"""Indices and matrix products of random variables, against NumPy's."""

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)
GROUP = np.array([0, 1, 1, 2, -1])
X = np.random.default_rng(0).normal(size=(5, 4))


def matrix():
    return ppl.Normal(0.0, 1.0, sample_shape=(3, 4), value=MATRIX, name="m")


def vector():
    return ppl.Normal(0.0, 1.0, sample_shape=4, value=MATRIX[1], name="w")


KEYS = {
    "array": GROUP,
    "list": [0, 2],
    "two dimensions": GROUP.reshape(5, 1),
    "after a slice": (slice(None), GROUP),
    "before a slice": (GROUP, slice(1, 3)),
    "after an ellipsis": (..., GROUP),
    "several": (GROUP, GROUP),
    "several that broadcast": (GROUP[:, None], GROUP[None]),
    "booleans": np.array([True, False, True]),
    "booleans of all entries": MATRIX > 3,
    "booleans after a slice": (slice(None), np.array([True, False, True, False])),
    "a number": 1,
    "numbers": (1, -1),
    "a new axis": (slice(None), None, 1),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("compiled", [False, True])
def test_an_index_is_numpys(key, compiled):
    take = tf.function(lambda: matrix()[key], jit_compile=True)
    if compiled and key is KEYS["booleans of all entries"]:
        pytest.skip("XLA has no booleans of all entries: their number is a shape")
    result = take() if compiled else matrix()[key]
    np.testing.assert_array_equal(result, MATRIX[key])


def test_an_index_that_only_a_function_knows():
    take = tf.function(lambda key: matrix()[key])
    np.testing.assert_array_equal(take(tf.constant(GROUP)), MATRIX[GROUP])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (np.array([0, 3]), r"m.*given the index 3, wanted one from -3 to 2"),
        (np.array([0, -4]), r"m.*given the index -4"),
        ((slice(None), [4]), r"given the index 4, wanted one from -4 to 3"),
        (np.array([0.5]), "given an index of float64, wanted whole numbers"),
        ((np.array([True, False]),), r"booleans of shape \(2,\) .*wanted \(3,\)"),
    ],
)
def test_an_index_outside_is_refused(key, message):
    with pytest.raises(IndexError, match=message):
        matrix()[key]


@pytest.mark.parametrize("key", [(GROUP, 0), (slice(None), GROUP, GROUP)])
def test_arrays_among_numbers_and_slices_are_refused(key):
    with pytest.raises(TypeError, match="wanted one array beside slices"):
        matrix()[key]


def test_the_gradient_of_an_index_adds_up():
    m = matrix()
    with tf.GradientTape() as tape:
        tape.watch(m)
        total = tf.reduce_sum(m[GROUP])
    expected = np.array([1.0, 2.0, 2.0])[:, None] * np.ones(4)
    np.testing.assert_array_equal(
        tf.convert_to_tensor(tape.gradient(total, m)), expected
    )


@pytest.mark.parametrize(
    "product",
    [
        lambda v, m: X @ v,
        lambda v, m: v @ X.T,
        lambda v, m: v @ v,
        lambda v, m: m @ v,
        lambda v, m: m @ X.T,
        lambda v, m: X @ tf.transpose(tf.convert_to_tensor(m)).numpy(),
        lambda v, m: v @ np.ones(4, int),
    ],
)
def test_a_matrix_product_is_numpys(product):
    expected = product(MATRIX[1], MATRIX)
    np.testing.assert_allclose(product(vector(), matrix()), expected, rtol=1e-5)


def test_a_regression_written_as_with_numpy():
    def program():
        w = ppl.Normal(0.0, 1.0, sample_shape=4, name="w")
        offset = ppl.Normal(0.0, 1.0, sample_shape=3, name="offset")
        ppl.Normal(X @ w + offset[np.abs(GROUP)], 1.0, name="y")

    w, offset, y = np.ones(4), np.array([0.5, -0.5, 1.0]), np.zeros(5)
    log_joint = ppl.make_log_joint_fn(program, batch_ndims=1)
    values = {"w": [w, w], "offset": [offset, -offset], "y": [y, y]}
    values = {name: np.float32(value) for name, value in values.items()}
    expected = [
        -0.5 * (np.sum(w**2) + np.sum(o**2) + np.sum((X @ w + o[np.abs(GROUP)]) ** 2))
        - 6 * np.log(2 * np.pi)
        for o in (offset, -offset)
    ]
    np.testing.assert_allclose(log_joint(**values), expected, rtol=1e-5)


def test_variables_within_an_index():
    row = ppl.Categorical(logits=[0.0] * 3, sample_shape=2, value=[2, 0], name="row")
    m, rows = matrix(), np.array([2, 0])
    np.testing.assert_array_equal(m[row], MATRIX[rows])
    np.testing.assert_array_equal(m[row, row], MATRIX[rows, rows])
    np.testing.assert_array_equal(m[:, row], MATRIX[:, rows])
    np.testing.assert_array_equal(m[np.array([0, 1]), row.value], MATRIX[[0, 1], rows])
