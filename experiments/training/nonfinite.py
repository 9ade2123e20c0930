"""Where NaN or infinity in a step came from."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from experiments.cluster import processes
from experiments.records import checkpoint
from experiments.training import train_step
from experiments.training.checkpoints import Checkpoints, not_finite, restore
from experiments.training.engine import Engine
from experiments.training.interrupts import Signals
from experiments.training.model import Tensors
from experiments.training.prng import BatchRng
from experiments.training.state import loss_inputs
from experiments.training.task import Batch


def explanation(
    engine: Engine,
    training_batch: Callable[[int], Batch],
    checkpoints: Checkpoints,
    step: int,
    metrics: Mapping[str, float],
    seed: int,
    signals: Signals,
) -> str:
    """What is known of a step, from 0, with these metrics.

    When the loss is seen, the step has already spoilt the weights, and gradient
    clipping spreads NaN to all of them.  So the steps from the last checkpoint on are
    repeated up to this one, and its gradients are computed and checked one by one.
    """
    path = checkpoint.latest(checkpoints.folder)
    text = (
        f"step {step + 1}: the loss is {metrics['loss']}, the gradient's norm "
        f"{metrics['gradient_norm']}; the last good checkpoint is {path}"
    )
    if path is None:
        return text
    for repeated in range(restore(engine, checkpoints, path), step):
        if signals.received and processes.current().count == 1:
            return f"{text}; stopped before its origin was found"
        engine.step(training_batch(repeated), repeated, seed)
    arrays = engine.read_variables()
    if names := not_finite(arrays):
        return f"{text}; before the step {names} not finite"
    batch = {name: tf.constant(array) for name, array in training_batch(step).items()}
    inputs = {
        name: tf.constant(arrays[variable])
        for name, variable in loss_inputs(engine.model, ema=False).items()
    }
    with tf.device("CPU:0"):
        grads = _gradients(engine, inputs, batch, train_step.step_seed(seed, step))
    if names := not_finite({name: grad.numpy() for name, grad in grads.items()}):
        return f"{text}; in the gradient, {names} not finite"
    return f"{text}; repeated on one device, every gradient is finite"


def _gradients(
    engine: Engine, inputs: Tensors, batch: Tensors, step_seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    size = next(iter(batch.values())).shape[0]
    first = processes.current().index * size

    # A graph: eagerly, weights of a branch that is not taken would have no gradient.
    @tf.function(autograph=False)
    def compute(inputs: Tensors, batch: Tensors) -> dict[str, tf.Tensor]:
        return train_step.loss_and_gradients(
            engine.model,
            engine.settings,
            inputs,
            batch,
            BatchRng(tf.constant(step_seed), tf.constant(first)),
            num_examples=size,
            gradients=True,
        ).grads

    return compute(inputs, batch)
