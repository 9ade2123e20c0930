"""Hamiltonian dynamics: the leapfrog, its halves, and the energy.

A metric is given by S, with S S^T the inverse mass matrix.  `scale` is the diagonal of
each chain's S, [dim, chains], or S itself, [chains, dim, dim].  Momenta are white:
standard normal whatever the metric, S^T times the usual ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

LogProbAndGrad = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class PhasePoint(NamedTuple):
    """Where each chain is; log_prob and grad are those of position."""

    position: tf.Tensor  # [dim, chains]
    momentum: tf.Tensor  # [dim, chains], white
    log_prob: tf.Tensor  # [chains], of the density's own dtype: float64 for long sums
    grad: tf.Tensor  # [dim, chains]


def leapfrog(
    z: PhasePoint,
    log_prob_and_grad: LogProbAndGrad,  # [chains, dim] -> [chains], [chains, dim]
    step: tf.Tensor,  # scalar, or [chains]
    scale: tf.Tensor,
) -> PhasePoint:
    """One leapfrog step of one gradient; a negative step runs back in time.

    The samplers' loops take the same two halves, with the density between them.
    Neal (2011), MCMC using Hamiltonian dynamics, equations 2.28 to 2.30.
    """
    position, momentum = kick_and_drift(z.position, z.momentum, z.grad, step, scale)
    log_prob, grad = log_prob_and_grad(tf.transpose(position))
    grad = tf.transpose(grad)
    return PhasePoint(position, kick(momentum, grad, step, scale), log_prob, grad)


def kick_and_drift(
    position: tf.Tensor,
    momentum: tf.Tensor,
    grad: tf.Tensor,
    step: tf.Tensor,
    scale: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The leapfrog up to its gradient: the new position, and the momentum."""
    momentum = kick(momentum, grad, step, scale)
    return position + step * _scaled(scale, momentum), momentum


def kick(
    momentum: tf.Tensor, grad: tf.Tensor, step: tf.Tensor, scale: tf.Tensor
) -> tf.Tensor:
    """The momentum after half a step."""
    return momentum + 0.5 * step * _transposed_scaled(scale, grad)


def energy(momentum: tf.Tensor, log_prob: tf.Tensor) -> tf.Tensor:
    """The Hamiltonian of each chain, less the kinetic part's constant: [chains]."""
    kinetic = 0.5 * tf.reduce_sum(tf.square(momentum), axis=0)
    return tf.cast(kinetic, log_prob.dtype) - log_prob


def _scaled(scale: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """S times each chain's vector [dim, chains]."""
    if scale.shape.rank == 2:
        return scale * vector
    return tf.einsum("cij,jc->ic", scale, vector)


def _transposed_scaled(scale: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """S^T times each chain's vector [dim, chains]."""
    if scale.shape.rank == 2:
        return scale * vector
    return tf.einsum("cji,jc->ic", scale, vector)


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
