"""Optimizers and learning-rate schedules, as functions of one weight."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.training.checks import check_bool, check_count, check_number

# Step from 0, float32 -> learning rate.  keras.optimizers.schedules has no inverse
# square root, and its warm-up takes a first step of learning rate 0.
Schedule = Callable[[tf.Tensor], tf.Tensor]
Slots = Mapping[str, tf.Tensor]
Updated = tuple[tf.Tensor, dict[str, tf.Tensor]]


class Slot(NamedTuple):
    """A variable that an optimizer has for a weight; it starts at zero."""

    axes: tuple[int, ...]  # the weight's axes that it has; sharded as those are


class Optimizer(NamedTuple):
    """An update of one weight by its gradient."""

    slots: Callable[[tuple[int, ...]], dict[str, Slot]]  # of a weight's shape
    # (step from 0 as float32 scalar, weight, gradient, slots) -> weight, slots
    update: Callable[[tf.Tensor, tf.Tensor, tf.Tensor, Slots], Updated]
    # Updates variables by one kernel, in one pass over memory; None: there is none.
    apply_in_place: (
        Callable[[tf.Tensor, tf.Variable, tf.Tensor, Mapping[str, tf.Variable]], None]
        | None
    ) = None
    # As `Model.trainable_from`: `update` gets the steps since then.
    trainable_from: tuple[tuple[str, int], ...] = ()
    name: str = ""  # with its settings: a run is resumed with no others


def constant_schedule(peak_learning_rate: float, *, warmup_steps: int = 0) -> Schedule:
    """A linear rise to `peak_learning_rate` over `warmup_steps`, then constant."""
    return _checked(_constant, peak_learning_rate, warmup_steps)


def inverse_sqrt_schedule(
    peak_learning_rate: float, *, warmup_steps: int, linear_warmup: bool = True
) -> Schedule:
    """A linear rise to the peak over `warmup_steps`, then a fall as 1 / sqrt(step).

    linear_warmup: False: the peak from the first step on, as in Raffel et al. (2020),
      section 3.1.2; True: as in Vaswani et al. (2017), equation 3.
    """
    check_count("warmup_steps", warmup_steps)
    check_bool("linear_warmup", linear_warmup)
    schedule = _checked(_inverse_sqrt, peak_learning_rate, warmup_steps)
    return functools.partial(schedule, linear_warmup=linear_warmup)


def cosine_schedule(
    peak_learning_rate: float, *, warmup_steps: int, num_steps: int
) -> Schedule:
    """A linear rise over `warmup_steps`, then half a cosine, to 0 at `num_steps`.

    Loshchilov and Hutter (2017), SGDR, equation 5, without restarts.

    Raises ValueError unless `num_steps` are more than `warmup_steps`.
    """
    schedule = _checked(_cosine, peak_learning_rate, warmup_steps)
    check_count("num_steps", num_steps)
    if warmup_steps >= num_steps:
        raise ValueError(
            f"warmup_steps: given {warmup_steps} of {num_steps} steps, wanted fewer "
            "than all"
        )
    return functools.partial(schedule, num_steps=num_steps)


def _checked(schedule: Callable, peak_learning_rate: float, warmup_steps: int) -> Any:
    check_number("peak_learning_rate", peak_learning_rate, above=0)
    check_count("warmup_steps", warmup_steps, minimum=0)
    return functools.partial(
        schedule, peak_learning_rate=peak_learning_rate, warmup_steps=warmup_steps
    )


def adam(
    learning_rate: float | Schedule,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Optimizer:
    """Adam: Kingma and Ba (2015), algorithm 1."""
    schedule = _schedule(learning_rate)
    check_number("beta1", beta1, at_least=0, below=1)
    check_number("beta2", beta2, at_least=0, below=1)
    check_number("epsilon", epsilon, above=0)
    name = _described(
        "adam", learning_rate=schedule, beta1=beta1, beta2=beta2, epsilon=epsilon
    )

    def slots(shape: tuple[int, ...]) -> dict[str, Slot]:
        axes = tuple(range(len(shape)))
        return {"mean": Slot(axes), "square": Slot(axes)}

    def update(
        step: tf.Tensor, weight: tf.Tensor, grad: tf.Tensor, slots: Slots
    ) -> Updated:
        mean = beta1 * slots["mean"] + (1 - beta1) * grad
        square = beta2 * slots["square"] + (1 - beta2) * grad * grad
        unbias1 = _one_minus_power(beta1, step + 1)
        unbias2 = _one_minus_power(beta2, step + 1)
        change = schedule(step) * (mean / unbias1)
        weight = weight - change / (tf.sqrt(square / unbias2) + epsilon)
        return weight, {"mean": mean, "square": square}

    def apply_in_place(
        step: tf.Tensor,
        weight: tf.Variable,
        grad: tf.Tensor,
        slots: Mapping[str, tf.Variable],
    ) -> None:
        # TensorFlow's kernel adds epsilon before the bias correction, and computes
        # 1 - beta**step in float32.  So the correction is made here and the kernel's is
        # turned off.  The kernel's 1 - beta is that of the nearest float32 (1.3e-5 from
        # 1 - 0.999), so the correction uses that beta too.
        unbias1 = _one_minus_power(float(np.float32(beta1)), step + 1)
        root = tf.sqrt(_one_minus_power(float(np.float32(beta2)), step + 1))
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle,
            m=slots["mean"].handle,
            v=slots["square"].handle,
            beta1_power=0.0,
            beta2_power=0.0,
            lr=schedule(step) * root / unbias1,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon * root,
            grad=grad,
        )

    return Optimizer(slots, update, apply_in_place, name=name)


def adafactor(
    learning_rate: float | Schedule,
    *,
    decay_exponent: float = 0.8,
    clip_threshold: float = 1.0,
    epsilon1: float = 1e-30,
    epsilon2: float = 1e-3,
    relative_step: bool = False,
) -> Optimizer:
    """Adafactor without momentum: Shazeer and Stern (2018), algorithms 4 and 5.

    relative_step: whether the learning rate is multiplied by
      max(epsilon2, RMS(weight)).
    """
    schedule = _schedule(learning_rate)
    positive = {"decay_exponent": decay_exponent, "clip_threshold": clip_threshold}
    for name, value in (
        positive | {"epsilon1": epsilon1, "epsilon2": epsilon2}
    ).items():
        check_number(name, value, above=0)
    check_bool("relative_step", relative_step)
    name = _described(
        "adafactor",
        learning_rate=schedule,
        decay_exponent=decay_exponent,
        clip_threshold=clip_threshold,
        epsilon1=epsilon1,
        epsilon2=epsilon2,
        relative_step=relative_step,
    )

    def slots(shape: tuple[int, ...]) -> dict[str, Slot]:
        axes = tuple(range(len(shape)))
        if len(shape) < 2:
            return {"square": Slot(axes)}
        return {"row": Slot(axes[:-1]), "column": Slot((*axes[:-2], axes[-1]))}

    def update(
        step: tf.Tensor, weight: tf.Tensor, grad: tf.Tensor, slots: Slots
    ) -> Updated:
        decay = 1.0 - tf.pow(step + 1, -decay_exponent)
        square = grad * grad + epsilon1
        if "square" in slots:
            mean = decay * slots["square"] + (1 - decay) * square
            new_slots = {"square": mean}
            scaled = grad * tf.math.rsqrt(mean)
        else:
            row = decay * slots["row"] + (1 - decay) * tf.reduce_mean(square, -1)
            column = decay * slots["column"] + (1 - decay) * tf.reduce_mean(square, -2)
            new_slots = {"row": row, "column": column}
            row_scale = row / tf.reduce_mean(row, -1, keepdims=True)
            scaled = (
                grad
                * tf.expand_dims(tf.math.rsqrt(row_scale), -1)
                * tf.expand_dims(tf.math.rsqrt(column), -2)
            )
        norm = tf.sqrt(tf.reduce_mean(scaled * scaled))
        scaled = scaled / tf.maximum(1.0, norm / clip_threshold)
        rate = schedule(step)
        if relative_step:
            rms = tf.sqrt(tf.reduce_mean(weight * weight))
            rate = rate * tf.maximum(epsilon2, rms)
        return weight - rate * scaled, new_slots

    return Optimizer(slots, update, name=name)


def _constant(
    step: tf.Tensor, *, peak_learning_rate: float, warmup_steps: int
) -> tf.Tensor:
    return peak_learning_rate * tf.minimum(1.0, (step + 1) / max(warmup_steps, 1))


def _inverse_sqrt(
    step: tf.Tensor,
    *,
    peak_learning_rate: float,
    warmup_steps: int,
    linear_warmup: bool,
) -> tf.Tensor:
    rise = (step + 1) / warmup_steps if linear_warmup else 1.0
    fall = warmup_steps**0.5 * tf.math.rsqrt(step + 1)
    return peak_learning_rate * tf.minimum(rise, fall)


def _cosine(step: tf.Tensor, *, num_steps: int, **rise: Any) -> tf.Tensor:
    part = (step - rise["warmup_steps"]) / (num_steps - rise["warmup_steps"])
    part = tf.clip_by_value(part, 0.0, 1.0)
    return _constant(step, **rise) * (0.5 * (1 + tf.cos(math.pi * part)))


def _schedule(learning_rate: float | Schedule) -> Schedule:
    if callable(learning_rate):
        return learning_rate
    check_number("learning_rate", learning_rate, above=0)
    return constant_schedule(learning_rate)


def _described(function: str, **settings: Any) -> str:
    """A call as text: equal for equal settings, schedules among them."""
    values = []
    for name, value in settings.items():
        if isinstance(value, functools.partial):
            value = _described(value.func.__name__.strip("_"), **value.keywords)
        elif callable(value):
            value = getattr(value, "__qualname__", type(value).__name__)
        values.append(f"{name}={value}")
    return f"{function}({', '.join(values)})"


def _one_minus_power(base: float, exponent: tf.Tensor) -> tf.Tensor:
    """1 - base**exponent to float32 precision, of the double `base`."""
    if base == 0.0:
        return tf.ones_like(exponent)
    return -tf.math.expm1(exponent * math.log(base))
