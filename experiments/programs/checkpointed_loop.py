"""A loop whose gradient takes memory that grows as the square root of its steps."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from experiments.training.checks import check_count


def checkpointed_loop(
    step: Callable[[Any, Any, tf.Tensor], Any],
    parameters: Any,
    state: Any,
    num_steps: int,
) -> Any:
    """The state after `num_steps` of `state = step(parameters, state, index)`.

    The gradient, by the parameters and the first state, keeps the state at the start of
    about sqrt(num_steps) segments.  From there it computes the steps of one segment at
    a time again, and keeps what their gradient needs.  Chen et al. (2016), Training
    Deep Nets with Sublinear Memory Cost, section 4.

    parameters, state: floating tensors, in any structure.  Other tensors that the step
      uses are constants to the gradient.
    num_steps: at least 1.
    """
    check_count("num_steps", num_steps)
    length = math.isqrt(num_steps - 1) + 1
    num_segments = -(-num_steps // length)
    num_parameters = len(tf.nest.flatten(parameters))

    def segment(
        parts: list[tf.Tensor], now: list[tf.Tensor], number: tf.Tensor
    ) -> list[tf.Tensor]:
        """The state after the steps of a segment."""
        end = tf.minimum((number + 1) * length, num_steps)

        def take_step(
            index: tf.Tensor, now: list[tf.Tensor]
        ) -> tuple[tf.Tensor, list[tf.Tensor]]:
            given = tf.nest.pack_sequence_as(parameters, parts)
            after = step(given, tf.nest.pack_sequence_as(state, now), index)
            return index + 1, tf.nest.flatten(after)

        return tf.while_loop(
            lambda index, _: index < end,
            take_step,
            (number * length, now),
            maximum_iterations=length,
            parallel_iterations=1,
        )[1]

    @tf.custom_gradient
    def run(*tensors: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        parts, first = list(tensors[:num_parameters]), list(tensors[num_parameters:])
        starts = [
            tf.TensorArray(part.dtype, num_segments, element_shape=part.shape)
            for part in first
        ]

        def go_on(
            number: tf.Tensor, now: list[tf.Tensor], starts: list[tf.TensorArray]
        ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.TensorArray]]:
            starts = [
                array.write(number, part)
                for array, part in zip(starts, now, strict=True)
            ]
            return number + 1, segment(parts, now, number), starts

        _, last, starts = tf.while_loop(
            lambda number, *_: number < num_segments,
            go_on,
            (tf.constant(0), first, starts),
            maximum_iterations=num_segments,
            parallel_iterations=1,
        )
        kept = [array.stack() for array in starts]

        def gradient(*last_adjoints: tf.Tensor) -> list[tf.Tensor]:
            def go_back(
                number: tf.Tensor, adjoints: list[tf.Tensor], totals: list[tf.Tensor]
            ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
                now = [part[number] for part in kept]
                own = [tf.identity(part) for part in parts]
                with tf.GradientTape() as tape:
                    tape.watch([*own, *now])
                    after = segment(own, now, number)
                found = tape.gradient(
                    after,
                    [*own, *now],
                    output_gradients=adjoints,
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                added = zip(totals, found[:num_parameters], strict=True)
                return (
                    number - 1,
                    found[num_parameters:],
                    [total + part for total, part in added],
                )

            _, adjoints, totals = tf.while_loop(
                lambda number, *_: number >= 0,
                go_back,
                (
                    tf.constant(num_segments - 1),
                    list(last_adjoints),
                    [tf.zeros_like(part) for part in parts],
                ),
                maximum_iterations=num_segments,
                parallel_iterations=1,
            )
            return [*totals, *adjoints]

        return last, gradient

    last = run(*tf.nest.flatten(parameters), *tf.nest.flatten(state))
    return tf.nest.pack_sequence_as(state, tf.nest.flatten(last))
