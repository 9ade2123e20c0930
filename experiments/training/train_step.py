"""A step's arithmetic as functions of plain tensors: what the engines share."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.training.checks import check_count
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.state import (
    STEP,
    ema_name,
    slot_name,
    state_name,
    weight_name,
)
from experiments.training.topology import Topology


class LossAndGradients(NamedTuple):
    """Over examples, each divided by the number in the global batch: they add up."""

    metrics: dict[str, tf.Tensor]  # loss and the model's numbers: scalars, float32
    grads: dict[str, tf.Tensor]  # by weight, float32; empty where not asked for
    # For `update_state`, float32 sums; empty without state or without gradients.
    statistics: dict[str, tf.Tensor] = {}


def check_batch_size(
    batch_size: int, topology: Topology, num_microbatches: int
) -> None:
    """Raises ValueError unless a global batch divides over the devices and parts."""
    check_count("batch_size", batch_size)
    if batch_size % (topology.size("batch") * num_microbatches):
        raise ValueError(
            f"batch_size: {batch_size} examples do not divide over topology {topology} "
            f"in {num_microbatches} parts each"
        )


def check_batch(
    batch: Mapping[str, np.ndarray], *, num_shards: int, num_microbatches: int
) -> int:
    """The number of examples, which are to be cut over devices and into parts.

    Raises ValueError where arrays differ in it or it does not divide.
    """
    sizes = {name: np.shape(array)[0] for name, array in batch.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"batch: wanted as many examples in every array, got {sizes}")
    (size,) = set(sizes.values())
    if size == 0 or size % (num_shards * num_microbatches):
        raise ValueError(
            f"batch: {size} examples do not divide over {num_shards} devices "
            f"in {num_microbatches} parts each"
        )
    return size


def step_seed(seed: int, number: int) -> np.ndarray:
    """[2] int32: what a step's draws are made of."""
    return np.array([seed & 0xFFFFFFFF, number & 0xFFFFFFFF], np.uint32).view(np.int32)


def loss_and_gradients(
    model: Model,
    settings: StepSettings,
    weights: Tensors,
    batch: Tensors,
    rng: BatchRng,
    *,
    num_examples: int,
    gradients: bool,
) -> LossAndGradients:
    """The loss, the model's numbers and, if asked for, the gradients of some examples.

    weights: and the state beside them.
    num_examples: of the global batch, by which all but statistics is divided.
    """
    dtype = tf.as_dtype(settings.compute_dtype)
    state = {name: weights[name] for name in model.state}
    weights = {name: weights[name] for name in model.weights}
    rng = rng._replace(num_examples=num_examples)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        if gradients:
            tape.watch(weights)
        nats, numbers, *more = model.loss(
            {name: tf.cast(weight, dtype) for name, weight in weights.items()} | state,
            {
                name: tf.cast(array, dtype) if array.dtype.is_floating else array
                for name, array in batch.items()
            },
            rng,
        )
        stats = _stats(model, nats, numbers, batch, num_examples)
    statistics = _statistics(model, more)
    if not gradients:
        return LossAndGradients(stats, {})
    grads = tape.gradient(stats["loss"], weights)
    idle = [name for name, grad in grads.items() if grad is None]
    if idle:
        raise ValueError(f"{model.name}: the loss does not depend on weights {idle}")
    grads = {name: tf.convert_to_tensor(grad) for name, grad in grads.items()}
    return LossAndGradients(stats, grads, statistics)


def accumulate_gradients(
    compute: Callable[[Tensors, tf.Tensor], LossAndGradients],
    batch: Tensors,
    first: tf.Tensor,
    parts: int,
) -> LossAndGradients:
    """`compute(part of the batch, number of its first example)`, summed over parts.

    One part after another, so that the memory of one is enough.
    """
    if parts == 1:
        return compute(batch, first)
    cut = {
        name: tf.reshape(array, (parts, array.shape[0] // parts, *array.shape[1:]))
        for name, array in batch.items()
    }
    size = next(iter(cut.values())).shape[1]

    def one(part: tf.Tensor) -> LossAndGradients:
        return compute({name: a[part] for name, a in cut.items()}, first + part * size)

    def body(
        part: tf.Tensor, total: LossAndGradients
    ) -> tuple[tf.Tensor, LossAndGradients]:
        return part + 1, tf.nest.map_structure(tf.add, total, one(part))

    _, total = tf.while_loop(
        lambda part, _: part < parts,
        body,
        (tf.constant(1), one(tf.constant(0))),
        parallel_iterations=1,
        maximum_iterations=parts - 1,
    )
    return total


def apply_gradients(
    optimizer: Optimizer,
    settings: StepSettings,
    kept: Tensors,
    grads: Tensors,
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Every variable after a step, by name, and the norm of the gradients before it.

    kept: every variable before it, by name.
    """
    grads, norm = _clipped(settings, grads)
    step = tf.cast(kept[STEP], tf.float32)
    after = {STEP: kept[STEP] + 1}
    for name, grad in grads.items():
        weight = kept[weight_name(name)]
        names = {slot: slot_name(name, slot) for slot in optimizer.slots(weight.shape)}
        slots = {slot: kept[full] for slot, full in names.items()}
        own = _own_step(optimizer, name, step)
        weight, slots = optimizer.update(own, weight, grad, slots)
        after[weight_name(name)] = weight
        after.update({full: slots[slot] for slot, full in names.items()})
        if settings.ema_decay is not None:
            average = kept[ema_name(name)]
            share = 1 - ema_decay_at(settings.ema_decay, own)
            after[ema_name(name)] = average + share * (weight - average)
    return after, norm


def _own_step(optimizer: Optimizer, name: str, step: tf.Tensor) -> tf.Tensor:
    """The step of a weight's own training, float32: 0 until it begins."""
    for pattern, begin in optimizer.trainable_from:
        if re.fullmatch(pattern, name):
            return tf.maximum(step - begin, 0.0)
    return step


def ema_decay_at(decay: float, step: tf.Tensor) -> tf.Tensor:
    """What is kept of the weights' average at a step, a scalar: at most `decay`.

    (1 + step) / (10 + step) where that is less, as in TensorFlow's own average with
    `num_updates`: the random weights before the first step are soon forgotten, and the
    average is of a tenth of the steps so far until that is the longer time.

    step: how many were taken before, float32.
    """
    return tf.minimum(decay, (1 + step) / (10 + step))


def next_state(
    model: Model, given: Tensors, statistics: Tensors
) -> dict[str, tf.Tensor]:
    """The state's variables after a step, by name; empty for a model without.

    given: what the loss was given, the state among it.
    statistics: of the whole batch.
    """
    if model.update_state is None:
        return {}
    after = model.update_state({name: given[name] for name in model.state}, statistics)
    if after.keys() != model.state.keys():
        raise ValueError(
            f"{model.name}: update_state gave {sorted(after)}, "
            f"wanted {sorted(model.state)}"
        )
    return {state_name(name): after[name] for name in model.state}


def applies_in_place(optimizer: Optimizer, settings: StepSettings) -> bool:
    """Whether the optimizer's own kernel is used: it has one, and XLA is off.

    XLA fuses an update into one pass by itself.
    """
    return optimizer.apply_in_place is not None and not settings.jit_compile


def apply_gradients_in_place(
    optimizer: Optimizer,
    settings: StepSettings,
    held: Mapping[str, tf.Variable],
    grads: Tensors,
) -> tf.Tensor:
    """Updates the variables by `optimizer.apply_in_place`; returns the gradient norm.

    held: every variable, by name, on the device that this is called on.
    """
    if optimizer.apply_in_place is None:
        raise ValueError(
            "optimizer: given one without apply_in_place, wanted one with it"
        )
    grads, norm = _clipped(settings, grads)
    step = tf.cast(held[STEP].read_value(), tf.float32)
    held[STEP].assign_add(1)
    for name, grad in grads.items():
        weight = held[weight_name(name)]
        slots = optimizer.slots(weight.shape)
        own = _own_step(optimizer, name, step)
        optimizer.apply_in_place(
            own, weight, grad, {slot: held[slot_name(name, slot)] for slot in slots}
        )
        if settings.ema_decay is not None:
            average = held[ema_name(name)]
            difference = weight.read_value() - average.read_value()
            share = 1 - ema_decay_at(settings.ema_decay, own)
            average.assign_add(share * difference)
    return norm


def _clipped(
    settings: StepSettings, grads: Tensors
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """The gradients, and their norm before."""
    squares = [tf.reduce_sum(grad * grad) for grad in grads.values()]
    norm = tf.sqrt(tf.add_n(squares))
    if settings.clip_norm is None:
        return dict(grads), norm
    scale = tf.minimum(1.0, settings.clip_norm / norm)
    return {name: grad * scale for name, grad in grads.items()}, norm


def _statistics(model: Model, more: list[Tensors]) -> dict[str, tf.Tensor]:
    """What the loss returned third."""
    if len(more) != bool(model.state):
        raise ValueError(
            f"{model.name}: the loss returned {2 + len(more)} values, wanted nats, "
            f"numbers{' and statistics: it has state' if model.state else ''}"
        )
    (found,) = more or ({},)
    return {name: tf.cast(value, tf.float32) for name, value in found.items()}


def _stats(
    model: Model, nats: tf.Tensor, numbers: Tensors, batch: Tensors, num_examples: int
) -> dict[str, tf.Tensor]:
    size = next(iter(batch.values())).shape[0]
    per_example = {"loss": nats, **numbers}
    if "loss" in numbers or "gradient_norm" in numbers:
        raise ValueError(f"{model.name}: numbers named loss or gradient_norm: taken")
    for name, value in per_example.items():
        if value.shape != (size,):
            raise ValueError(
                f"{model.name}: {name} has shape {value.shape}, wanted one for each of "
                f"the batch's {size} examples"
            )
    return {
        name: tf.reduce_sum(tf.cast(value, tf.float32)) / num_examples
        for name, value in per_example.items()
    }
