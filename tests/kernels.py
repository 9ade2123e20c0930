"""Kernels for tests, and single transitions of their chains.

XLA takes some seconds to compile a kernel.  Most claims about transitions hold for the
same operations run by TensorFlow one by one, which is slower by the leapfrog.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import kernel as kernels
from experiments.inference import nuts
from experiments.inference.leapfrog import LogProbAndGrad, value_and_gradient
from experiments.inference.step_size import constant as constant_step
from experiments.inference.tile_run import Draws, State
from experiments.inference.tiles import Kernel
from tests.helpers import TARGETS


def interpreted_kernel(density: LogProbAndGrad, **options) -> Kernel:
    """A kernel of which XLA compiles nothing: not yet traced."""
    kernel = kernels.compile_kernel(density, **options)
    method = options.get("method", nuts.NUTS)

    @tf.function(autograph=False)
    def transitions(loop, setting, numbers):
        return nuts.run(loop, setting, numbers, density, within_xla=True, method=method)

    return dataclasses.replace(kernel, transitions=transitions)


def unknown(position) -> State:
    """Chains at `position` [chains, dim], their log probs not known."""
    return State(position, np.full(len(position), -np.inf), np.zeros_like(position))


def scale_of(inverse_mass, num_chains: int):
    """The scale of an inverse mass [dim], or of a dense one [dim, dim], every chain."""
    inverse_mass = np.asarray(inverse_mass, np.float64)
    if inverse_mass.ndim == 1:
        return np.tile(np.sqrt(inverse_mass), (num_chains, 1))
    return np.tile(np.linalg.cholesky(inverse_mass), (num_chains, 1, 1))


def run(kernel: Kernel, state, **options):
    """`kernel.run`, told only what matters: its state, step sizes and draws."""
    chains = kernel.num_chains
    options = dict(
        first_draw=0,
        num_draws=1,
        step=constant_step(0.3, chains),
        scale=np.ones((chains, kernel.dim)),
        max_depth=kernel.max_depth,
        adapting=False,
        target_accept=0.8,
        seed=tf.constant([3, 5]),
    ) | {name: value for name, value in options.items() if value is not None}
    return kernel.run(state, **options)


class Transitions(NamedTuple):
    """A kernel of many targets of one dimension, of which one is chosen at a time."""

    kernel: Kernel
    choose: Callable[[str], None]
    density: LogProbAndGrad  # of the target chosen

    def __call__(
        self, name, seed, position, step_size, inverse_mass, max_depth, kernel=None
    ) -> Draws:
        """One transition of every chain from `position`, without the axis of draws."""
        self.choose(name)
        kernel = kernel or self.kernel
        log_prob, grad = self.density(tf.constant(position))
        _, _, draws = run(
            kernel,
            State(position, log_prob.numpy(), grad.numpy()),
            step=constant_step(step_size, len(position)),
            scale=scale_of(inverse_mass, len(position)),
            max_depth=max_depth,
            seed=tf.constant(seed),
        )
        return Draws(*(part[:, 0] for part in draws))


NAMES = {
    1: ("normal",),
    2: ("banana", "funnel", "gamma", "beta logits", "normal"),
    3: ("correlated normal",),
}


def compile_transitions(
    dim: int, num_chains: int, max_depth: int, method: nuts.Method = nuts.NUTS
) -> Transitions:
    """The kernel of all targets of a dimension, run without XLA."""
    density, choose = switched(
        {name: value_and_gradient(TARGETS[name].log_prob) for name in NAMES[dim]}
    )
    density = tf.function(density, autograph=False)
    kernel = interpreted_kernel(
        density,
        num_chains=num_chains,
        dim=dim,
        max_depth=max_depth,
        dtype=tf.float64,
        jit_compile=False,
        method=method,
    )
    return Transitions(kernel, choose, density)


shared_transitions = functools.cache(compile_transitions)


def with_numbers(kernel: Kernel, **replaced) -> Kernel:
    """The kernel with some of its random numbers replaced by these, broadcast."""

    def numbers(*args):
        found = kernel.numbers(*args)
        return found._replace(
            **{
                name: tf.broadcast_to(
                    tf.constant(value, getattr(found, name).dtype),
                    getattr(found, name).shape,
                )
                for name, value in replaced.items()
            }
        )

    return dataclasses.replace(kernel, numbers=numbers, drawn_numbers={})


def switched(densities):
    """Several densities in one: it, and the function that chooses one by name."""
    names, chosen = list(densities), tf.Variable(0)
    if len(names) == 1:
        return densities[names[0]], lambda name: None

    def density(x):
        return tf.switch_case(
            chosen.read_value(),
            [lambda one=one: one(x) for one in densities.values()],
        )

    return density, lambda name: chosen.assign(names.index(name))
