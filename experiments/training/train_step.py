"""One training step as functions of plain tensors, which the engines share."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.training.checks import (
    check_bool,
    check_choice,
    check_count,
    check_number,
)
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

COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How a step is computed, the same on every engine.

    Raises ValueError for a value that no step can be computed with.
    """

    clip_norm: float | None = None  # bounds the norm of all weights' gradient
    # The decay of the EMA of weights that evaluation uses.  It is lower in the first
    # steps, so that the EMA forgets the initial weights (`train_step.ema_decay_at`).
    ema_decay: float | None = None
    num_microbatches: int = 1  # that run one after another; gradients are added
    compute_dtype: str = "float32"  # or "bfloat16": in the loss
    jit_compile: bool = False

    def __post_init__(self) -> None:
        check_number("clip_norm", self.clip_norm, above=0, optional=True)
        check_number("ema_decay", self.ema_decay, at_least=0, below=1, optional=True)
        check_count("num_microbatches", self.num_microbatches)
        check_bool("jit_compile", self.jit_compile)
        check_choice("compute_dtype", self.compute_dtype, COMPUTE_DTYPES)


class LossAndGradients(NamedTuple):
    """Sums over some examples, divided by the size of the global batch."""

    metrics: dict[str, tf.Tensor]  # loss and the model's metrics: scalars, float32
    grads: dict[str, tf.Tensor]  # by weight, float32; empty where not asked for
    # For `update_state`, float32 sums; empty without state or without gradients.
    statistics: dict[str, tf.Tensor] = {}


def check_batch_size(
    batch_size: int, topology: Topology, num_microbatches: int
) -> None:
    """Raises ValueError unless a batch divides over devices and microbatches."""
    check_count("batch_size", batch_size)
    divisor = topology.size("batch") * num_microbatches
    if batch_size % divisor:
        raise ValueError(
            f"batch_size: given {batch_size}, wanted a multiple of {divisor}: mesh "
            f"{topology}, {num_microbatches} microbatches"
        )


def check_batch(
    batch: Mapping[str, np.ndarray], *, num_shards: int, num_microbatches: int
) -> int:
    """The number of examples in the batch.

    Raises ValueError if arrays differ in it, and if it does not divide over the shards
    and their microbatches.
    """
    sizes = {name: np.shape(array)[0] for name, array in batch.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"batch: wanted as many examples in every array, got {sizes}")
    (size,) = set(sizes.values())
    if size == 0 or size % (num_shards * num_microbatches):
        raise ValueError(
            f"batch: given {size} examples, wanted a multiple of "
            f"{num_shards * num_microbatches}: {num_shards} devices, "
            f"{num_microbatches} microbatches"
        )
    return size


def step_seed(seed: int, step_index: int) -> np.ndarray:
    """[2] int32: the seed of a step's random numbers."""
    words = [seed & 0xFFFFFFFF, step_index & 0xFFFFFFFF]
    return np.array(words, np.uint32).view(np.int32)


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
    """Loss, metrics and, if asked for, gradients of some examples.

    weights: and the state, by name.
    num_examples: in the global batch; all results but the statistics are divided by it.
    """
    dtype = tf.as_dtype(settings.compute_dtype)
    state = {name: weights[name] for name in model.state}
    weights = {name: weights[name] for name in model.weights}
    rng = rng._replace(num_examples=num_examples)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        if gradients:
            tape.watch(weights)
        cast = {
            name: tf.cast(array, dtype) if array.dtype.is_floating else array
            for name, array in batch.items()
        }
        low = {name: tf.cast(weight, dtype) for name, weight in weights.items()}
        nats, metrics, *rest = model.loss(low | state, cast, rng)
        totals = _totals(model, nats, metrics, batch, num_examples)
    statistics = _statistics(model, rest)
    if not gradients:
        return LossAndGradients(totals, {})
    grads = tape.gradient(totals["loss"], weights)
    unused = [name for name, grad in grads.items() if grad is None]
    if unused:
        raise ValueError(f"{model.name}: the loss does not depend on weights {unused}")
    grads = {name: tf.convert_to_tensor(grad) for name, grad in grads.items()}
    return LossAndGradients(totals, grads, statistics)


def accumulate_gradients(
    compute: Callable[[Tensors, tf.Tensor], LossAndGradients],
    batch: Tensors,
    first_example: tf.Tensor,
    num_microbatches: int,
) -> LossAndGradients:
    """The sum of `compute(microbatch, index of its first example)` over microbatches.

    They run one after another, so that the memory of one is enough.
    """
    if num_microbatches == 1:
        return compute(batch, first_example)
    split = {
        name: tf.reshape(array, (num_microbatches, -1, *array.shape[1:]))
        for name, array in batch.items()
    }
    size = next(iter(split.values())).shape[1]

    def one(index: tf.Tensor) -> LossAndGradients:
        microbatch = {name: array[index] for name, array in split.items()}
        return compute(microbatch, first_example + index * size)

    def body(
        index: tf.Tensor, total: LossAndGradients
    ) -> tuple[tf.Tensor, LossAndGradients]:
        return index + 1, tf.nest.map_structure(tf.add, total, one(index))

    _, total = tf.while_loop(
        lambda index, _: index < num_microbatches,
        body,
        (tf.constant(1), one(tf.constant(0))),
        parallel_iterations=1,
        maximum_iterations=num_microbatches - 1,
    )
    return total


def apply_gradients(
    optimizer: Optimizer, settings: StepSettings, variables: Tensors, grads: Tensors
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Every variable after a step, by name, and the norm of the gradients."""
    grads, norm = _clipped(settings, grads)
    step = tf.cast(variables[STEP], tf.float32)
    after = {STEP: variables[STEP] + 1}
    for name, grad in grads.items():
        weight, names = _weight_and_slots(optimizer, variables, name)
        slots = {slot: variables[full] for slot, full in names.items()}
        own_step = _own_step(optimizer, name, step)
        weight, slots = optimizer.update(own_step, weight, grad, slots)
        after[weight_name(name)] = weight
        after.update({full: slots[slot] for slot, full in names.items()})
        if settings.ema_decay is not None:
            average = variables[ema_name(name)]
            step_size = 1 - ema_decay_at(settings.ema_decay, own_step)
            after[ema_name(name)] = average + step_size * (weight - average)
    return after, norm


def _weight_and_slots[Variable](
    optimizer: Optimizer, variables: Mapping[str, Variable], name: str
) -> tuple[Variable, dict[str, str]]:
    """A weight, and the variable names of its slots."""
    weight = variables[weight_name(name)]
    return weight, {s: slot_name(name, s) for s in optimizer.slots(weight.shape)}


def _own_step(optimizer: Optimizer, name: str, step: tf.Tensor) -> tf.Tensor:
    """The steps since a weight is trainable, float32; 0 before."""
    for pattern, begin in optimizer.trainable_from:
        if re.fullmatch(pattern, name):
            return tf.maximum(step - begin, 0.0)
    return step


def ema_decay_at(decay: float, step: tf.Tensor) -> tf.Tensor:
    """The decay of the weights' EMA at a step, a scalar: at most `decay`.

    It is min(decay, (1 + step) / (10 + step)), as in tf.train.ExponentialMovingAverage
    with `num_updates`: the initial random weights are soon forgotten.

    step: the number of steps taken before, float32.
    """
    return tf.minimum(decay, (1 + step) / (10 + step))


def next_state(
    model: Model, inputs: Tensors, statistics: Tensors
) -> dict[str, tf.Tensor]:
    """The state's variables after a step, by name; {} for a model without state.

    inputs: the weights and the state that the loss was given.
    statistics: of the whole batch.
    """
    if model.update_state is None:
        return {}
    after = model.update_state({name: inputs[name] for name in model.state}, statistics)
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
    variables: Mapping[str, tf.Variable],
    grads: Tensors,
) -> tf.Tensor:
    """Updates the variables by `optimizer.apply_in_place`; returns the gradient norm.

    variables: all of them, by name, on the device on which this is called.
    """
    grads, norm = _clipped(settings, grads)
    step = tf.cast(variables[STEP].read_value(), tf.float32)
    variables[STEP].assign_add(1)
    for name, grad in grads.items():
        weight, names = _weight_and_slots(optimizer, variables, name)
        slots = {slot: variables[full] for slot, full in names.items()}
        own_step = _own_step(optimizer, name, step)
        optimizer.apply_in_place(own_step, weight, grad, slots)
        if settings.ema_decay is not None:
            average = variables[ema_name(name)]
            difference = weight.read_value() - average.read_value()
            step_size = 1 - ema_decay_at(settings.ema_decay, own_step)
            average.assign_add(step_size * difference)
    return norm


def _clipped(
    settings: StepSettings, grads: Tensors
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """The clipped gradients, and the norm that they had before."""
    squares = [tf.reduce_sum(grad * grad) for grad in grads.values()]
    norm = tf.sqrt(tf.add_n(squares))
    if settings.clip_norm is None:
        return dict(grads), norm
    scale = tf.minimum(1.0, settings.clip_norm / norm)
    return {name: grad * scale for name, grad in grads.items()}, norm


def _statistics(model: Model, rest: list[Tensors]) -> dict[str, tf.Tensor]:
    """The statistics that the loss of a model with state returns third."""
    if len(rest) != bool(model.state):
        raise ValueError(
            f"{model.name}: the loss returned {2 + len(rest)} values, wanted nats, "
            f"metrics{' and statistics: it has state' if model.state else ''}"
        )
    (statistics,) = rest or ({},)
    return {name: tf.cast(v, tf.float32) for name, v in statistics.items()}


def _totals(
    model: Model, nats: tf.Tensor, metrics: Tensors, batch: Tensors, num_examples: int
) -> dict[str, tf.Tensor]:
    size = next(iter(batch.values())).shape[0]
    per_example = {"loss": nats, **metrics}
    if taken := {"loss", "gradient_norm"} & metrics.keys():
        raise ValueError(f"{model.name}: metrics: given {taken}, which the loop adds")
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
