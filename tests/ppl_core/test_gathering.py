"""Entries by known indices, and their gradients, against TensorFlow's own."""

import math

import numpy as np
import pytest
import tensorflow as tf

import ppl_core as ppl
from ppl_core import gathering

RANDOM = np.random.default_rng(0)
# Indices into 12 entries: uneven groups, of which some are empty; one group; a
# permutation; more dimensions than one.
PLACES = {
    "uneven": np.minimum(RANDOM.geometric(0.3, 200) - 1, 9),
    "one group": np.full(77, 4),
    "a permutation": RANDOM.permutation(12),
    "in order": np.repeat(np.arange(12), 8),
    "two dimensions": RANDOM.integers(0, 12, (5, 9)),
    "one": np.array([11]),
}


def weighted(take, weights):
    """A sum of the entries' squares, so that the gradient depends on the entries."""

    def total(value):
        return tf.reduce_sum(weights * tf.square(take(value)))

    return total


def gradients(total, value):
    """The gradient, and the gradient of a sum over it: the Hessian's products."""
    with tf.GradientTape() as outer:
        outer.watch(value)
        with tf.GradientTape() as inner:
            inner.watch(value)
            result = total(value)
        first = inner.gradient(result, value)
        first = tf.convert_to_tensor(first)
        product = tf.reduce_sum(tf.sin(first))
    return result, first, tf.convert_to_tensor(outer.gradient(product, value))


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("batch", [False, True])
def test_entries_and_gradients_of_both_orders_are_tensorflows(places, axis, batch):
    shape = [(12, 3), (3, 12)][axis]
    value = tf.constant(RANDOM.normal(size=(2, *shape) if batch else shape))
    taken_shape = shape[:axis] + places.shape + shape[axis + 1 :]
    weights = tf.constant(RANDOM.normal(size=taken_shape))

    def both(value):
        ours = weighted(lambda v: gathering.take(v, places, axis), weights)
        theirs = weighted(lambda v: tf.gather(v, places, axis=axis), weights)
        return gradients(ours, value), gradients(theirs, value)

    if batch:
        compute = tf.function(lambda value: tf.vectorized_map(both, value))
    else:
        compute = tf.function(both, jit_compile=True)
    for one, other in zip(*compute(value), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_sum_of_many_entries_keeps_the_dtypes_precision(dtype):
    entries = RANDOM.random(100_000)
    groups = RANDOM.integers(0, 3, 100_000)
    value = tf.zeros([3], dtype)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(value)
            taken = gathering.take(value, groups, 0)
            total = tf.reduce_sum(taken * tf.constant(entries, dtype))
        return tape.gradient(total, value)

    exact = [math.fsum(entries[groups == group]) for group in range(3)]
    # Sums of sums of 8 need seven roundings, not tens of thousands.
    epsilon = np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(gradient(), exact, rtol=8 * epsilon)


def operations(graph):
    names = [node.op for node in graph.as_graph_def().node]
    for function in graph.as_graph_def().library.function:
        names += [node.op for node in function.node_def]
    return set(names)


def gradient_of_index(size, key):
    @tf.function
    def gradient(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            taken = ppl.Normal(0.0, 1.0, sample_shape=size, value=value, name="x")[key]
            total = tf.reduce_sum(tf.square(taken))
        return tf.convert_to_tensor(tape.gradient(total, value))

    return gradient.get_concrete_function(tf.TensorSpec([size], tf.float32))


def test_known_indices_need_no_scatter_and_few_of_many_entries_no_tables():
    adds = {"UnsortedSegmentSum", "ScatterNd", "TensorScatterAdd"}
    groups = np.array([0, 1, 1, 2, -1, 2, 0])
    dense = gradient_of_index(3, groups)
    np.testing.assert_array_equal(dense(tf.constant([1.0, 2.0, 3.0])), [4, 8, 18])
    assert not operations(dense.graph) & adds
    assert operations(gradient_of_index(1000, groups).graph) & adds


def test_the_entries_of_a_batch_share_their_indices():
    value = tf.constant(RANDOM.normal(size=(50, 4, 3)))
    places = np.array([[0, 2], [1, 1]])
    for axis in (0, 1, -1):

        @tf.function
        def taken(value, axis=axis):
            return tf.vectorized_map(lambda v: tf.gather(v, places, axis=axis), value)

        result = taken(value)
        at = axis + 1 if axis >= 0 else axis
        np.testing.assert_array_equal(result, np.take(value, places, axis=at))
        traced = taken.get_concrete_function(value)
        assert "Tile" not in operations(traced.graph)


def test_indices_of_each_entry_of_a_batch_are_its_own():
    value = tf.constant(RANDOM.normal(size=(5, 4)))
    places = tf.constant(RANDOM.integers(0, 4, (5, 7)))
    one_value = value[0]

    @tf.function
    def taken():
        own = tf.vectorized_map(lambda pair: tf.gather(*pair), (value, places))
        of_one = tf.vectorized_map(lambda part: tf.gather(one_value, part), places)
        return own, of_one

    own, of_one = (part.numpy() for part in taken())
    np.testing.assert_array_equal(
        own, np.take_along_axis(value.numpy(), places.numpy(), 1)
    )
    np.testing.assert_array_equal(of_one, one_value.numpy()[places])


@pytest.mark.parametrize("size", [3, 20])
def test_tables_hold_each_entry_once_and_a_row_for_each_group(size):
    groups = np.minimum(RANDOM.geometric(0.1, 500) - 1, 2)
    tables = gathering.sum_tables(groups, size)
    members = [{number} for number in range(len(groups))]
    for table in tables:
        assert table.shape[1] <= gathering.MAX_TERMS
        members.append(set())  # of the zero
        assert sum(len(members[i]) for i in table.ravel()) == len(groups)
        members = [set().union(*(members[i] for i in row)) for row in table]
    assert members == [set(np.flatnonzero(groups == group)) for group in range(size)]


def test_a_gradient_through_an_index_of_minibatches_is_left_to_tensorflow():
    value = tf.constant(RANDOM.normal(size=(6,)))

    @tf.function
    def gradient(rows):
        with tf.GradientTape() as tape:
            tape.watch(value)
            total = tf.reduce_sum((1.0 * value)[rows])
        return tf.convert_to_tensor(tape.gradient(total, value))

    rows = tf.constant([0, 0, 5])
    np.testing.assert_array_equal(gradient(rows), [2, 0, 0, 0, 0, 1])
