"""The sampler's interface over the recursive transition, in plain NumPy.

It needs no compilation, and each chain and draw has a generator of its own, so that
warm-up is tested apart from the compiled kernel.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import dual_averaging
from tests import recursive_nuts

update = tf.function(dual_averaging.update, autograph=False)


class State(NamedTuple):
    """Where each chain is: [chains, dim], [chains], [chains, dim]."""

    position: np.ndarray
    log_prob: np.ndarray
    grad: np.ndarray


class Draws(NamedTuple):
    """[chains, num] each, and of draws and grads [chains, num, dim]."""

    draws: np.ndarray
    grads: np.ndarray
    log_prob: np.ndarray
    leapfrogs: np.ndarray
    accept: np.ndarray
    diverged: np.ndarray
    step_size: np.ndarray


class NumpyKernel:
    """`run` as the compiled kernel has it, for a log density of one vector."""

    keep_grads = True

    def __init__(self, log_prob_and_grad, *, num_chains, dim, first_chain=0):
        self.log_prob_and_grad = log_prob_and_grad
        self.num_chains, self.dim, self.first_chain = num_chains, dim, first_chain

    def density_at(self, position):
        log_prob, grad = self.log_prob_and_grad(position)
        return np.asarray(log_prob), np.asarray(grad)

    def run(
        self,
        state,
        *,
        first_draw,
        num_draws,
        step,
        scale,
        max_depth,
        adapting,
        target_accept,
        seed,
    ):
        rows = []
        for draw in range(first_draw, first_draw + num_draws):
            value = np.asarray(step.value)
            chains = [
                self._transition(
                    (*np.asarray(seed).view(np.uint32), self.first_chain + chain, draw),
                    State(*(np.asarray(part)[chain] for part in state)),
                    value[chain],
                    np.asarray(scale)[chain],
                    max_depth,
                )
                for chain in range(self.num_chains)
            ]
            row = Draws(*map(np.array, zip(*chains, strict=True)))
            rows.append(row)
            state = State(row.draws, row.log_prob, row.grads)
            if adapting:
                accept = tf.constant(row.accept)
                step = update(step, accept, tf.constant(target_accept, tf.float64))
        return (
            state,
            step,
            Draws(*(np.stack(part, 1) for part in zip(*rows, strict=True))),
        )

    def _transition(self, seed, state, value, scale, max_depth):
        if np.isneginf(state.log_prob):
            log_prob, grad = self.log_prob_and_grad(state.position)
            return state.position, grad, log_prob, 1, 1.0, False, value
        factor = np.diag(scale) if scale.ndim == 1 else scale

        def white(z):
            log_prob, grad = self.log_prob_and_grad(state.position + factor @ z)
            return log_prob, factor.T @ grad

        generator = np.random.default_rng(seed)
        with np.errstate(all="ignore"):
            found = recursive_nuts.multinomial_transition(
                white,
                np.zeros(self.dim),
                momentum=generator.standard_normal(self.dim),
                forwards=generator.uniform(size=max_depth) < 0.5,
                doubling_u=generator.uniform(size=max_depth),
                leaf_u=generator.uniform(size=2**max_depth),
                step_size=value,
                inverse_mass=np.ones(self.dim),
            )
            position = state.position + factor @ found.draw
            log_prob, grad = self.log_prob_and_grad(position)
        return (
            position,
            grad,
            log_prob,
            found.leapfrogs,
            found.accept,
            found.diverged,
            value,
        )
