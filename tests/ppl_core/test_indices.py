"""Indices of random variables and of tensors made from them, against NumPy's."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import ppl_core as ppl

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)
CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
GROUP = np.array([0, 1, 1, 2, -1])


def matrix():
    return ppl.Normal(0.0, 1.0, sample_shape=(3, 4), value=MATRIX, name="m")


KEYS = {
    "array": GROUP,
    "list": [0, 2],
    "two dimensions": GROUP.reshape(5, 1),
    "after a slice": (slice(None), GROUP),
    "before a slice": (GROUP, slice(1, 3)),
    "after an ellipsis": (..., GROUP),
    "several": (GROUP, GROUP),
    "several that broadcast": (GROUP[:, None], GROUP[None]),
    "a number after an array": (GROUP, 1),
    "a number before an array": (-1, GROUP),
    "booleans": np.array([True, False, True]),
    "booleans of all entries": MATRIX > 3,
    "booleans after a slice": (slice(None), np.array([True, False, True, False])),
    "a number": 1,
    "numbers": (1, -1),
    "a new axis": (slice(None), None, 1),
    "a new axis before an array": (None, GROUP),
    "a new axis after an array": (GROUP, None),
    "a new axis between arrays": (GROUP, None, GROUP),
    "new axes beside a number": (None, 1, None, GROUP),
    "a new axis and an ellipsis": (None, ..., GROUP),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("compiled", [False, True])
def test_an_index_is_numpys(key, compiled):
    take = tf.function(lambda: matrix()[key], jit_compile=True)
    if compiled and key is KEYS["booleans of all entries"]:
        pytest.skip("XLA has no booleans of all entries: their number is a shape")
    result = take() if compiled else matrix()[key]
    np.testing.assert_array_equal(result, MATRIX[key])


CUBE_KEYS = [
    (slice(None), GROUP, GROUP),
    (slice(None), GROUP, 1),
    (slice(None), 1, GROUP),
    (0, slice(None), GROUP),  # apart, so the arrays' dimensions come first
    ([1, 0], slice(1, 3), [2, 3]),
    (..., GROUP, slice(None, None, 2)),
    (slice(None, None, -1), GROUP.reshape(5, 1), GROUP),
    ([0, 1], [2, 1], [3, 3]),
    (slice(None), GROUP, None, GROUP),
    (0, None, GROUP, slice(1, 3)),
    (slice(None), None, slice(1, 3), GROUP),
    (GROUP[:2] % 2, None, GROUP[:2], None, slice(2)),
    (slice(None), [True, False, True], 2),
]


@pytest.mark.parametrize("key", CUBE_KEYS, ids=str)
def test_an_index_of_three_dimensions_is_numpys(key):
    cube = ppl.Normal(0.0, 1.0, sample_shape=(2, 3, 4), value=CUBE, name="c")
    for source in (cube, 1.0 * cube, cube[:]):
        np.testing.assert_array_equal(source[key], CUBE[key])


def test_a_tensor_made_from_variables_takes_arrays_and_variables():
    theta = 1.0 + 2.0 * matrix()
    expected = 1.0 + 2.0 * MATRIX
    row = ppl.Categorical(logits=[0.0] * 3, sample_shape=2, value=[2, 0], name="row")
    np.testing.assert_array_equal(theta[GROUP], expected[GROUP])
    np.testing.assert_array_equal(theta[:, GROUP], expected[:, GROUP])
    np.testing.assert_array_equal(theta[row], expected[[2, 0]])
    np.testing.assert_array_equal(theta[theta > 5.0], expected[expected > 5.0])
    np.testing.assert_array_equal(theta[0, 1], expected[0, 1])
    np.testing.assert_array_equal(theta[[0, 1]], expected[0, 1])  # as TensorFlow's

    def of_one(scale):
        return (scale * matrix())[GROUP]

    mapped = tf.vectorized_map(of_one, tf.constant([1.0, 2.0]))
    np.testing.assert_array_equal(mapped, [MATRIX[GROUP], 2 * MATRIX[GROUP]])


def test_an_index_that_only_a_function_knows():
    take = tf.function(lambda key: matrix()[key])
    np.testing.assert_array_equal(take(tf.constant(GROUP)), MATRIX[GROUP])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (np.array([0, 3]), r"'m'.*given the index 3, wanted one from -3 to 2"),
        (np.array([0, -4]), r"'m'.*given the index -4"),
        ((slice(None), [4]), r"given the index 4, wanted one from -4 to 3"),
        (3, r"'m'.*given the index 3, wanted one from -3 to 2"),
        ((0, -5), r"'m'.*given the index -5, wanted one from -4 to 3"),
        (tf.constant(3), r"'m'.*given the index 3"),
        ((0, 0, 0), r"'m'.*given 3 indices, wanted at most 2 for the shape \(3, 4\)"),
        ("a", "'m'.*given the index 'a', wanted whole numbers"),
        (0.5, "'m'.*given the index 0.5, wanted whole numbers"),
        (tf.constant(1.0), "'m'.*given an index of float32, wanted whole numbers"),
        (np.array([0.5]), "given an index of float64, wanted whole numbers"),
        ((np.array([True, False]),), r"booleans of shape \(2,\) .*wanted \(3,\)"),
        (([0, 1], [0, 1, 2]), r"arrays of shapes \[\(2,\), \(3,\)\]"),
        ((..., ...), "several ellipses"),
    ],
    ids=str,
)
def test_what_is_no_index_is_refused_by_name(key, message):
    with pytest.raises(IndexError, match=message):
        matrix()[key]


def test_the_gradient_of_an_index_adds_up():
    m = matrix()
    with tf.GradientTape() as tape:
        tape.watch(m)
        total = tf.reduce_sum(m[GROUP]) + tf.reduce_sum(m[GROUP, 0])
    expected = np.array([1.0, 2.0, 2.0])[:, None] * np.ones(4)
    expected[:, 0] *= 2
    np.testing.assert_array_equal(
        tf.convert_to_tensor(tape.gradient(total, m)), expected
    )


def test_variables_within_an_index():
    row = ppl.Categorical(logits=[0.0] * 3, sample_shape=2, value=[2, 0], name="row")
    m, rows = matrix(), np.array([2, 0])
    np.testing.assert_array_equal(m[row], MATRIX[rows])
    np.testing.assert_array_equal(m[row, row], MATRIX[rows, rows])
    np.testing.assert_array_equal(m[:, row], MATRIX[:, rows])
    np.testing.assert_array_equal(m[np.array([0, 1]), row.value], MATRIX[[0, 1], rows])


def test_a_column_of_a_data_frame_is_an_index():
    frame = pd.DataFrame({"group": [2, 0, 1], "name": ["u", "v", "w"]})
    group = frame.group.to_numpy()
    for source in (matrix(), 1.0 * matrix()):
        np.testing.assert_array_equal(source[frame.group], MATRIX[group])
        np.testing.assert_array_equal(source[:, frame.group], MATRIX[:, group])
        np.testing.assert_array_equal(source[frame.index, 1], MATRIX[:, 1])
        np.testing.assert_array_equal(source[frame.group > 0], MATRIX[group > 0])
    with pytest.raises(IndexError, match="'m'.*given an index of .*, wanted whole"):
        matrix()[frame.name]


def test_a_range_is_an_index_as_of_numpys():
    x = ppl.Normal(0.0, 1.0, sample_shape=[3, 2], name="x")
    for given in (x, 1.0 * x):
        for key in (range(2), (range(2), 1), (slice(None), range(0)), range(-1, 1)):
            np.testing.assert_array_equal(given[key], x.numpy()[key])
    with pytest.raises(IndexError, match="'x'.*given the index 3, wanted one from -3"):
        x[range(4)]
