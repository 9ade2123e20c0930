"""Hamiltonian dynamics: a point of phase space, its energy, and one step."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

LogProbAndGrad = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class PhasePoint(NamedTuple):
    """Where each chain is; log_prob and grad are those of position."""

    position: tf.Tensor  # [chains, dim]
    momentum: tf.Tensor  # [chains, dim]
    log_prob: tf.Tensor  # [chains], of the density's own dtype: float64 for long sums
    grad: tf.Tensor  # [chains, dim]


def leapfrog(
    z: PhasePoint,
    log_prob_and_grad: LogProbAndGrad,
    step_size: tf.Tensor,  # scalar, or [chains, 1]
    inverse_mass: tf.Tensor,  # [dim]
) -> PhasePoint:
    """One kick-drift-kick step, one gradient; a negative step runs back in time.

    Neal (2011), MCMC using Hamiltonian dynamics, equations 2.28 to 2.30.
    """
    momentum = z.momentum + 0.5 * step_size * z.grad
    position = z.position + step_size * inverse_mass * momentum
    log_prob, grad = log_prob_and_grad(position)
    return PhasePoint(position, momentum + 0.5 * step_size * grad, log_prob, grad)


def energy(z: PhasePoint, inverse_mass: tf.Tensor) -> tf.Tensor:
    """The Hamiltonian of each chain, less the kinetic part's constant: [chains]."""
    kinetic = 0.5 * tf.reduce_sum(inverse_mass * tf.square(z.momentum), axis=-1)
    return tf.cast(kinetic, z.log_prob.dtype) - z.log_prob


def value_and_gradient(log_prob_fn: Callable[[tf.Tensor], tf.Tensor]) -> LogProbAndGrad:
    """`log_prob_fn`, [chains, dim] -> [chains], with its gradient by autodiff.

    A chain's log prob must depend on that chain's position alone.
    """

    def log_prob_and_grad(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(position)
            log_prob = log_prob_fn(position)
        return log_prob, tape.gradient(log_prob, position)

    return log_prob_and_grad
