"""What engines compute alike: shards of a batch, gradients, and the update."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from experiments.training import train_step
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.train_step import StepSettings


def shard_batch(
    batch: Mapping[str, np.ndarray],
    devices: Sequence[str],
    *,
    num_microbatches: int = 1,
) -> list[dict[str, tf.Tensor]]:
    """The examples of each device, on the device.

    Raises ValueError for a batch that does not divide.
    """
    size = train_step.check_batch(
        batch, num_shards=len(devices), num_microbatches=num_microbatches
    )
    size //= len(devices)
    shards = []
    for i, device in enumerate(devices):
        own = slice(i * size, (i + 1) * size)
        with tf.device(device):
            # The identity moves integers too, which otherwise stay on the host.
            shards.append({n: tf.identity(array[own]) for n, array in batch.items()})
    return shards


def loss_and_gradients(
    model: Model,
    settings: StepSettings,
    weights: Tensors,
    batch: Tensors,
    seed: tf.Tensor,
    first_example: tf.Tensor,
    *,
    num_replicas: int = 1,
    gradients: bool,
) -> train_step.LossAndGradients:
    """The contribution of one replica's examples, in microbatches, to the global batch.

    weights: and the state beside them.
    first_example: its number in the global batch.
    """
    size = next(iter(batch.values())).shape[0]
    return train_step.accumulate_gradients(
        lambda part, first: train_step.loss_and_gradients(
            model,
            settings,
            weights,
            part,
            BatchRng(seed, first, training=gradients),
            num_examples=size * num_replicas,
            gradients=gradients,
        ),
        batch,
        first_example,
        settings.num_microbatches,
    )


def update_variables(
    optimizer: Optimizer,
    settings: StepSettings,
    variables: Mapping[str, tf.Variable],
    grads: Tensors,
    *,
    next_state: Tensors,
    apply_gradients: Callable | None = None,
) -> tf.Tensor:
    """Assigns every variable its value after a step; returns the gradient norm.

    variables: by name, on the device that this is called on.
    next_state: new values of the model's state, by variable name.
    apply_gradients: what is called for `train_step.apply_gradients`, without the first
      two arguments.
    """
    if train_step.applies_in_place(optimizer, settings):
        values = next_state
        norm = train_step.apply_gradients_in_place(
            optimizer, settings, variables, grads
        )
    else:
        before = {name: variable.read_value() for name, variable in variables.items()}
        plain = functools.partial(train_step.apply_gradients, optimizer, settings)
        values, norm = (apply_gradients or plain)(before, grads)
        values = {**values, **next_state}
    for name, value in values.items():
        if name in variables:
            variables[name].assign(value)
    return norm
