"""Dual averaging of step sizes, elementwise, for the compiled loop."""

import numpy as np
import tensorflow as tf

from experiments.inference.step_size import HIGHEST, LOWEST, StepSize

GAIN = 0.05  # gamma of Hoffman & Gelman (2014), section 3.2
DELAY = 10.0  # t0
# kappa, the decay of the averaging weights, is 3/4: see `update`.


def update(step: StepSize, accept: tf.Tensor, target: tf.Tensor) -> StepSize:
    """The step size after one transition: finite and positive whatever `accept` is.

    accept: [chains], the mean acceptance probability of the transition.  NaN counts as
      0, and more than 1 as 1.
    target: the mean acceptance probability to reach.

    Hoffman & Gelman (2014), The No-U-Turn Sampler, equation 6.
    """
    accept = tf.cast(accept, tf.float64)
    accept = tf.where(tf.math.is_nan(accept), tf.zeros_like(accept), accept)
    accept = _coarse(tf.clip_by_value(accept, 0.0, 1.0))
    count = step.updates + 1.0
    share = 1.0 / (count + DELAY)
    error = (1.0 - share) * step.error + share * (tf.cast(target, tf.float64) - accept)
    root = tf.sqrt(count)
    log_value = step.log_centre - error * root / GAIN
    log_value = tf.clip_by_value(log_value, np.log(LOWEST), np.log(HIGHEST))
    weight = 1.0 / (root * tf.sqrt(root))  # count**(-3/4)
    return StepSize(
        value=_coarse(tf.exp(log_value)),
        log_average=(1.0 - weight) * step.log_average + weight * log_value,
        error=error,
        log_centre=step.log_centre,
        updates=count,
    )


def _coarse(x: tf.Tensor) -> tf.Tensor:
    """`x` (float64, 0 or more) cut to float32's precision.

    The last bits of TensorFlow's exp depend on how many numbers it is given.  Cut off,
    they do not reach the draws: a chain adapts alone as among others.
    """
    bits = tf.bitcast(x, tf.int64)
    mask = tf.constant(-(2**29), tf.int64)
    return tf.bitcast(tf.bitwise.bitwise_and(bits, mask), tf.float64)
