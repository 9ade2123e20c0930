"""Training of the baselines in TensorFlow: autodiff, and Adam by the fused kernel."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.bench.problems import AdamSettings, Draws, Training

Arrays = Mapping[str, np.ndarray]


def make_training(
    weights: Arrays,
    adam: AdamSettings,
    loss: Callable[..., tuple[tf.Tensor, Mapping[str, tf.Tensor]]],
    *,
    state: Arrays | None = None,
    draws: Draws = lambda number: {},
) -> Training:
    """Training from these weights and this state.

    loss: of weights, state, examples and a step's draws by name: the mean nats of an
      example, and the state after the step.
    """
    w = {name: tf.Variable(array) for name, array in weights.items()}
    variables = {name: tf.Variable(array) for name, array in (state or {}).items()}
    update = make_adam(w, adam)

    @tf.function
    def step(examples: tf.Tensor, **drawn: tf.Tensor) -> tf.Tensor:
        before = {name: v.read_value() for name, v in variables.items()}
        with tf.GradientTape() as tape:
            nats, after = loss(w, before, examples, **drawn)
        update(tape.gradient(nats, w, unconnected_gradients="zero"))
        for name, value in after.items():
            variables[name].assign(value)
        return nats

    numbers = itertools.count()
    return Training(
        step=lambda examples: float(step(examples, **draws(next(numbers)))),
        weights=lambda: {name: v.numpy() for name, v in (w | variables).items()},
    )


def below(weights: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The weights below a name, such as "layer0", by the rest of their names."""
    prefix = f"{name}/"
    return {
        full.removeprefix(prefix): weight
        for full, weight in weights.items()
        if full.startswith(prefix)
    }


def make_adam(
    weights: Mapping[str, tf.Variable], settings: AdamSettings, *, fused: bool = True
) -> Callable[[Mapping[str, Any]], None]:
    """Creates a function of the gradients, by name, that updates the weights.

    It keeps the moments and the number of updates: Kingma and Ba (2015), algorithm 1.

    fused: by TensorFlow's kernel, which makes one pass over a weight.
    """
    rate, beta1, beta2, epsilon = settings
    slots = {
        name: (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v)))
        for name, v in weights.items()
    }
    updates = tf.Variable(0, dtype=tf.int64)

    def apply(gradients: Mapping[str, Any]) -> None:
        count = tf.cast(updates.assign_add(1), tf.float32)
        power1, power2 = beta1**count, beta2**count
        for name, gradient in gradients.items():
            weight, (mean, square) = weights[name], slots[name]
            grad = tf.convert_to_tensor(gradient)
            if not fused:
                first = mean.assign(beta1 * mean + (1 - beta1) * grad) / (1 - power1)
                second = square.assign(beta2 * square + (1 - beta2) * grad * grad)
                root = tf.sqrt(second / (1 - power2))
                weight.assign_sub(rate * first / (root + epsilon))
                continue
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=power1,
                beta2_power=power2,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                epsilon=epsilon * tf.sqrt(1 - power2),  # as algorithm 1 has it
                grad=grad,
            )

    return apply
