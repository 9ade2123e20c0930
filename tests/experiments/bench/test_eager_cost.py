"""What the table of eager costs compares is alike, and its differences are right."""

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.bench import eager_cost
from experiments.bench.eager_cost import Case


def test_the_least_random_variable_is_that_of_the_package() -> None:
    least = eager_cost.least_constructor()
    given = dict(value=tf.constant(0.5), name="x")
    np.testing.assert_allclose(
        least(1.0, 2.0, **given).log_prob(), ppl.Normal(1.0, 2.0, **given).log_prob()
    )
    seed = tf.constant([0, 1])
    drawn = least(1.0, 2.0, name="x", seed=seed)
    assert drawn.value == ppl.Normal(1.0, 2.0, name="x", seed=seed).value


def test_plain_operators_are_tensorflows_for_the_block_only() -> None:
    whole, array = tf.constant(2), np.array([0.5, 1.5])
    ours = whole * array  # in NumPy's common dtype
    with eager_cost.plain_operators():
        theirs = whole * tf.constant([1, 2])
        assert tf.Tensor.__mul__ is eager_cost.operators.TENSORFLOWS["__mul__"]
    np.testing.assert_array_equal(theirs, [2, 4])
    np.testing.assert_array_equal(whole * array, ours)


def test_differences_are_taken_round_by_round() -> None:
    made = {"TFP": Case(lambda: None), "ours": Case(lambda: None, "TFP")}
    times = {"TFP": [100.0, 200.0, 300.0], "ours": [110.0, 230.0, 320.0]}
    lines = eager_cost.markdown(made, times).splitlines()
    assert lines[-2:] == [
        "| TFP | 200 (100 to 300) |  |",
        "| ours | 230 (110 to 320) | 20 (10 to 30) |",
    ]
