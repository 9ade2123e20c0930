"""Trains the grammar VAE, many steps in one call of a graph.

Not by XLA: on CPUs it made a step of 40 places ten times slower.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from experiments.programs import descent
from experiments.programs.grammar_vae import program
from experiments.programs.grammar_vae.network import Weights
from experiments.programs.grammar_vae.program import Strings
from experiments.records.progress import progress
from experiments.training.optimizers import adam, cosine_schedule

STEPS_A_CALL = 100
WARMUP = 0.05  # of the steps, in which the learning rate rises
CLIP = 5.0  # the gradient's greatest norm
STRINGS_A_CALL = 50  # of `evaluate`


def train(
    weights: Weights,
    strings: Strings,
    *,
    kl_weights: Sequence[float],
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    label: str,
) -> list[dict[str, tf.Tensor]]:
    """The weights after each of several trainings, each going on from the one before.

    kl_weights: of the divergence in each: see `negative_elbo`.
    num_steps: of each.

    Raises FloatingPointError, with the step, for a loss that is not finite.
    """
    schedule = cosine_schedule(
        learning_rate, warmup_steps=max(1, int(WARMUP * num_steps)), num_steps=num_steps
    )
    optimizer = adam(schedule)
    num_strings = strings.productions.shape[0]

    def one_step(step: Any, key: Any, kl_weight: Any, weights: Any, slots: Any) -> Any:
        own = tf.random.experimental.stateless_fold_in(key, step)
        rows_seed, loss_seed = tf.unstack(tfp.random.split_seed(own, 2))
        rows = tf.random.stateless_uniform(
            [batch_size], rows_seed, maxval=num_strings, dtype=tf.int32
        )
        batch = Strings(*(tf.gather(part, rows) for part in strings))
        with tf.GradientTape() as tape:
            tape.watch(weights)
            losses = program.negative_elbo(weights, batch, loss_seed, kl_weight)
            loss = tf.reduce_mean(losses)
        grads = tape.gradient(loss, weights)
        clipped, _ = tf.clip_by_global_norm(list(grads.values()), CLIP)
        grads = dict(zip(grads, clipped, strict=True))
        return *descent.update(optimizer, step, weights, grads, slots), loss

    @tf.function(autograph=False)
    def some_steps(
        first: Any, last: Any, key: Any, kl_weight: Any, weights: Any, slots: Any
    ) -> Any:
        def body(step: Any, weights: Any, slots: Any, total: Any) -> Any:
            weights, slots, loss = one_step(step, key, kl_weight, weights, slots)
            return step + 1, weights, slots, total + loss

        _, weights, slots, total = tf.while_loop(
            lambda step, *_: step < last, body, (first, weights, slots, 0.0)
        )
        return weights, slots, total / tf.cast(last - first, tf.float32)

    found = []
    weights = dict(weights)
    with progress(num_steps * len(kl_weights), label) as advance:
        for number, kl_weight in enumerate(kl_weights):
            slots = descent.first_slots(optimizer, weights)
            key = tf.constant([seed, number])
            for first in range(0, num_steps, STEPS_A_CALL):
                last = min(first + STEPS_A_CALL, num_steps)
                weights, slots, loss = some_steps(
                    tf.constant(first),
                    tf.constant(last),
                    key,
                    tf.constant(kl_weight, tf.float32),
                    weights,
                    slots,
                )
                if not np.isfinite(loss):
                    raise FloatingPointError(
                        f"{label}: the loss is {loss:g} in steps {first} to {last}"
                    )
                advance(last - first, nats_a_string=float(loss))
            found.append(weights)
    return found


def evaluate(
    weights: Weights, strings: Strings, *, num_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The evidence lower bound and the importance-weighted one: nats [strings] each."""

    @tf.function(autograph=False)
    def of_some(weights: Any, some: Any, own_seed: tf.Tensor) -> tuple[Any, Any]:
        log_weights = program.log_weights(weights, some, num_draws, own_seed)
        mean_log = tf.reduce_mean(log_weights, 0)
        log_mean = tf.reduce_logsumexp(log_weights, 0) - math.log(num_draws)
        return mean_log, log_mean

    num_strings = strings.productions.shape[0]
    bounds = []
    for first in range(0, num_strings, STRINGS_A_CALL):
        # Past the last string the first ones come again, so that every call is alike.
        rows = np.arange(first, first + STRINGS_A_CALL) % num_strings
        some = Strings(*(tf.gather(part, rows) for part in strings))
        bounds.append(of_some(weights, some, tf.constant([seed, first])))
    plain, tighter = np.concatenate(bounds, axis=1)[:, :num_strings]
    return plain, tighter
