"""Steps of an optimizer on weights by name: functions from a state to the next one."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from experiments.training.optimizers import Optimizer

Weights = Mapping[str, tf.Tensor]
Slots = Mapping[str, Mapping[str, tf.Tensor]]  # what the optimizer remembers of each


class Descent(NamedTuple):
    """The weights between two steps, and what the optimizer remembers of each."""

    step: tf.Tensor  # scalar int32, the steps taken
    weights: Weights
    slots: Slots


def begin(optimizer: Optimizer, weights: Weights) -> Descent:
    """The state before the first step."""
    return Descent(tf.constant(0), dict(weights), first_slots(optimizer, weights))


def first_slots(optimizer: Optimizer, weights: Weights) -> Slots:
    """What the optimizer remembers before the first step: zeros."""
    return {
        name: {
            slot: tf.zeros([weight.shape[axis] for axis in spec.axes], weight.dtype)
            for slot, spec in optimizer.slots(tuple(weight.shape)).items()
        }
        for name, weight in weights.items()
    }


def update(
    optimizer: Optimizer,
    step: tf.Tensor,
    weights: Weights,
    grads: Weights,
    slots: Slots,
) -> tuple[dict[str, tf.Tensor], Slots]:
    """The weights and the slots after one step along their gradients.

    step: scalar, the steps taken before.
    """
    updated = {
        name: optimizer.update(
            tf.cast(step, weight.dtype), weight, grads[name], slots[name]
        )
        for name, weight in weights.items()
    }
    return (
        {name: weight for name, (weight, _) in updated.items()},
        {name: own for name, (_, own) in updated.items()},
    )


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
        moved = update(optimizer, state.step, state.weights, grads, state.slots)
        return left - 1, Descent(state.step + 1, *moved)

    return tf.while_loop(
        lambda left, _: left > 0,
        one_step,
        (tf.constant(num_steps), state),
        parallel_iterations=1,
    )[1]
