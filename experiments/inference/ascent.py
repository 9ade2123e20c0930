"""Adam's ascent of the ELBO: many steps in one compiled loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import prng
from experiments.inference.elbo import Objective

# Steps whose random numbers are drawn together, which is faster.  The ELBO itself is
# computed at the first of them only: its gradient often costs half as much without it.
BLOCK = 10
CAPACITY = 4000  # steps of one call of the compiled loop, at most
# Kingma & Ba (2015), Adam: A Method for Stochastic Optimization, algorithm 1
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class State(NamedTuple):
    """Where a run is: all that it goes on from, besides the seed."""

    num_done: int  # steps
    vector: np.ndarray  # [params], all parameters
    mean: np.ndarray  # [params], Adam's of gradients
    mean_of_squares: np.ndarray  # [params]
    total: np.ndarray  # [params], the parameters' sum over the last steps
    num_averaged: int  # how many steps these are
    history: np.ndarray  # the ELBO's estimate at the first step of each block


Advance = Callable[[State, int, tf.Tensor], State]
Rate = Callable[[tf.Tensor], tf.Tensor]


def begin(objective: Objective) -> State:
    """The state before the first step."""
    parts = [np.ravel(part) for part in tf.nest.flatten(objective.params)]
    vector = np.concatenate(parts).astype(objective.dtype.as_numpy_dtype)
    zeros = np.zeros_like(vector)
    return State(0, vector, zeros, zeros, zeros, 0, np.zeros(0))


def compile_ascent(
    objective: Objective,
    rate: Rate,
    jit_compile: bool,
) -> Advance:
    """The loop of many steps: (state, number of steps, seed) -> state.

    The state is at the beginning of a block.
    """
    dtype = objective.dtype

    def step(number: tf.Tensor, numbers: Any, *state: tf.Tensor) -> tuple[Any, Any]:
        vector, mean, squares, total = state
        params = to_params(vector, objective)
        value, grads = objective.estimate(params, numbers)
        flat = [tf.reshape(part, [-1]) for part in tf.nest.flatten(grads)]
        grad = tf.cast(tf.concat(flat, 0), dtype)
        mean = BETA_1 * mean + (1.0 - BETA_1) * grad
        squares = BETA_2 * squares + (1.0 - BETA_2) * grad**2
        count = tf.cast(number + 1, dtype)
        first = mean / (1.0 - tf.pow(tf.constant(BETA_1, dtype), count))
        second = squares / (1.0 - tf.pow(tf.constant(BETA_2, dtype), count))
        size = tf.cast(rate(number), dtype)
        vector += size * first / (tf.sqrt(second) + EPSILON)
        state = (vector, mean, squares, total + vector)
        return tf.cast(value, tf.float64), state

    @tf.function(jit_compile=True if jit_compile else None, autograph=False)
    def loop(
        first: tf.Tensor, num: tf.Tensor, seed: tf.Tensor, *state: tf.Tensor
    ) -> tuple[Any, ...]:
        def block(i: tf.Tensor, values: Any, *state: tf.Tensor) -> tuple[Any, ...]:
            own_seed = prng.fold_in(seed, (first + i) // BLOCK)
            numbers = objective.numbers(own_seed, BLOCK)

            def of_step(place: Any) -> Any:
                return tf.nest.map_structure(lambda part: part[place], numbers)

            def is_in(j: tf.Tensor, *_: Any) -> tf.Tensor:
                return (j < BLOCK) & (i + j < num)

            def any_step(j: tf.Tensor, kept: Any, *state: Any) -> tuple[Any, ...]:
                value, state = step(first + i + j, of_step(j), *state)
                return j + 1, tf.where(j == 0, value, kept), *state

            def plain(j: tf.Tensor, *state: tf.Tensor) -> tuple[Any, ...]:
                _, state = step(first + i + j, of_step(j), *state)
                return j + 1, *state

            if objective.is_apart:
                value, state = step(first + i, of_step(0), *state)
                _, *state = tf.while_loop(is_in, plain, (tf.constant(1), *state))
            else:
                unknown = tf.zeros([], tf.float64)
                _, value, *state = tf.while_loop(
                    is_in, any_step, (tf.constant(0), unknown, *state)
                )
            values = values.write(i // BLOCK, value)
            return i + BLOCK, values, *state

        values = tf.TensorArray(tf.float64, size=CAPACITY // BLOCK, element_shape=[])
        _, values, *state_after = tf.while_loop(
            lambda i, *_: i < num, block, (tf.constant(0), values, *state)
        )
        return (values.stack(), *state_after)

    def advance(state: State, num: int, seed: tf.Tensor) -> State:
        arrays = (state.vector, state.mean, state.mean_of_squares, state.total)
        values, *after = loop(
            tf.constant(state.num_done),
            tf.constant(num),
            seed,
            *(tf.constant(array) for array in arrays),
        )
        made = values.numpy()[: -(-num // BLOCK)]
        vector, mean, squares, total = (part.numpy() for part in after)
        return State(
            num_done=state.num_done + num,
            vector=vector,
            mean=mean,
            mean_of_squares=squares,
            total=total,
            num_averaged=state.num_averaged + num,
            history=np.concatenate([state.history, made]),
        )

    return advance


def numbers_at(objective: Objective, seed: tf.Tensor, number: int) -> Any:
    """The random numbers of the step of this number."""
    own_seed = prng.fold_in(seed, tf.constant(number // BLOCK))
    numbers = objective.numbers(own_seed, BLOCK)
    return tf.nest.map_structure(lambda part: part[number % BLOCK], numbers)


def to_params(vector: Any, objective: Objective) -> Any:
    """The parameters' structure out of one vector, as tensors or as arrays."""
    parts = tf.nest.flatten(objective.params)
    sizes = [np.size(part) for part in parts]
    if isinstance(vector, np.ndarray):
        pieces = np.split(vector, np.cumsum(sizes)[:-1])
        flat = [p.reshape(np.shape(q)) for p, q in zip(pieces, parts, strict=True)]
    else:
        pieces = tf.split(vector, sizes)
        flat = [tf.reshape(p, np.shape(q)) for p, q in zip(pieces, parts, strict=True)]
    return tf.nest.pack_sequence_as(objective.params, flat)
