"""Steps of an optimizer on weights by name: functions from a state to the next one."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from experiments.training.optimizers import Optimizer

Weights = Mapping[str, tf.Tensor]


class Descent(NamedTuple):
    """The weights between two steps, and what the optimizer remembers of each."""

    step: tf.Tensor  # scalar int32, the steps taken
    weights: Weights
    slots: Mapping[str, Mapping[str, tf.Tensor]]


def begin(optimizer: Optimizer, weights: Weights) -> Descent:
    """The state before the first step."""
    slots = {
        name: {
            slot: tf.zeros([weight.shape[axis] for axis in spec.axes], weight.dtype)
            for slot, spec in optimizer.slots(tuple(weight.shape)).items()
        }
        for name, weight in weights.items()
    }
    return Descent(tf.constant(0), dict(weights), slots)


def descend(
    optimizer: Optimizer,
    gradient: Callable[[Weights, tf.Tensor], Weights],
    state: Descent,
    num_steps: int,
) -> Descent:
    """The state after `num_steps` more steps, as one loop that XLA can compile.

    gradient: (weights, scalar int32 number of the step) -> the gradient of each weight.
    """

    def one_step(left: tf.Tensor, state: Descent) -> tuple[tf.Tensor, Descent]:
        grads = gradient(state.weights, state.step)
        step = tf.cast(state.step, tf.float32)
        updated = {
            name: optimizer.update(step, weight, grads[name], state.slots[name])
            for name, weight in state.weights.items()
        }
        return left - 1, Descent(
            step=state.step + 1,
            weights={name: weight for name, (weight, _) in updated.items()},
            slots={name: slots for name, (_, slots) in updated.items()},
        )

    return tf.while_loop(
        lambda left, _: left > 0,
        one_step,
        (tf.constant(num_steps), state),
        parallel_iterations=1,
    )[1]
