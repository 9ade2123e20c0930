"""The loop's gradient against that of the same steps written out."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.programs.checkpointed_loop import checkpointed_loop

MATRIX = np.random.default_rng(0).standard_normal([3, 3]) / 2
START = np.array([0.5, -1.0, 2.0])


def step(parameters, state, index):
    turned = tf.tanh(tf.linalg.matvec(parameters["matrix"], state["x"]))
    return {
        "x": turned + parameters["shift"] / tf.cast(index + 1, tf.float64),
        "sum": state["sum"] + tf.reduce_sum(turned**2),
    }


def values_and_gradients(loop, num_steps, *, compiled):
    @tf.function(autograph=False, jit_compile=compiled)
    def call(matrix, shift, x):
        with tf.GradientTape() as tape:
            tape.watch([matrix, shift, x])
            last = loop(
                step,
                {"matrix": matrix, "shift": shift},
                {"x": x, "sum": tf.zeros([], tf.float64)},
                num_steps,
            )
            value = last["sum"] + tf.reduce_sum(tf.sin(last["x"]))
        return value, tape.gradient(value, [matrix, shift, x])

    return tf.nest.flatten(
        call(tf.constant(MATRIX), tf.constant(0.3, tf.float64), START)
    )


def written_out(step, parameters, state, num_steps):
    for index in range(num_steps):
        state = step(parameters, state, tf.constant(index))
    return state


@pytest.mark.parametrize("num_steps", [1, 2, 4, 7])  # 7: the last segment is shorter
def test_values_and_gradients_are_those_of_the_steps_written_out(num_steps):
    expected = values_and_gradients(written_out, num_steps, compiled=False)
    found = values_and_gradients(checkpointed_loop, num_steps, compiled=False)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-12)


def test_xla_compiles_the_loop_and_its_gradient():
    expected = values_and_gradients(written_out, 7, compiled=False)
    found = values_and_gradients(checkpointed_loop, 7, compiled=True)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-10)


def test_a_loop_without_a_step_is_refused():
    with pytest.raises(ValueError, match="num_steps: given 0, wanted a whole number"):
        checkpointed_loop(step, {}, {}, 0)
