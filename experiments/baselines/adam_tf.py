"""Adam of the TensorFlow baselines, by TensorFlow's fused kernel."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from experiments.bench.problems import AdamSettings


def fused_adam(
    weights: Mapping[str, tf.Variable], settings: AdamSettings
) -> Callable[[Mapping[str, tf.Tensor]], None]:
    """Creates a function of the gradients, by name, that updates the weights.

    It keeps the moments and the number of updates: Kingma and Ba (2015), algorithm 1.
    """
    slots = {
        name: (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v)))
        for name, v in weights.items()
    }
    updates = tf.Variable(0, dtype=tf.int64)

    def apply(gradients: Mapping[str, tf.Tensor]) -> None:
        count = tf.cast(updates.assign_add(1), tf.float32)
        power1, power2 = settings.beta1**count, settings.beta2**count
        for name, gradient in gradients.items():
            mean, square = slots[name]
            tf.raw_ops.ResourceApplyAdam(
                var=weights[name].handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=power1,
                beta2_power=power2,
                lr=settings.rate,
                beta1=settings.beta1,
                beta2=settings.beta2,
                # As algorithm 1 has it.
                epsilon=settings.epsilon * tf.sqrt(1 - power2),
                grad=tf.convert_to_tensor(gradient),
            )

    return apply
