"""Chains of NUTS with a given step size and metric, by the chunk."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from experiments.inference import metric, prng, starts
from experiments.inference.kernel import compile_kernel
from experiments.inference.leapfrog import (
    LogProbAndGrad,
    PhasePoint,
    energy,
    leapfrog,
)
from experiments.inference.samples import Samples
from experiments.inference.settings import SamplerSettings, check_count
from experiments.inference.step_size import constant
from experiments.inference.tiles import Kernel


def sample_chunks(
    kernel: Kernel,
    *,
    seed: np.ndarray,  # [2] int32
    start: np.ndarray,  # [chains, dim]
    step_size: float,
    num_results: int,
    chunk_size: int,
    num_done: int = 0,
    inverse_mass: np.ndarray | None = None,  # [dim]; None: the identity metric
) -> Iterator[Samples]:
    """Yields `num_results` draws of every chain, `chunk_size` at a time.

    chunk_size: the draws do not depend on it.
    num_done: the number of draws made in an earlier run, the last of which is `start`.

    Raises ValueError when the log density or its gradient is not finite at `start`.
    """
    check_count("chunk_size", chunk_size)
    chains, dim = kernel.num_chains, kernel.dim
    scale = np.broadcast_to(
        metric.to_scale(inverse_mass, "diagonal", chains, dim), (chains, dim)
    )
    state = starts.evaluate_start(kernel, start, scale=scale, seed=seed)
    if num_results == num_done:
        return
    for draws, _, _ in kernel.stream(
        state,
        first_draw=num_done,
        num_draws=num_results - num_done,
        step=constant(step_size, chains),
        scale=scale,
        max_depth=kernel.max_depth,
        adapting=False,
        target_accept=0.8,
        seed=seed,
        chunk_size=chunk_size,
    ):
        yield draws.samples()


def energy_error(
    log_prob_and_grad: LogProbAndGrad,
    *,
    seed: tf.Tensor,  # [2] int32: of the momentum
    start: np.ndarray,  # [chains, dim]
    step_size: float,
    num_steps: int = 100,
    jit_compile: bool = True,
) -> np.ndarray:
    """The energy error H - H(start) along a trajectory: [chains, num_steps].

    For small steps it is the rounding error of the log density.
    """
    start = tf.convert_to_tensor(start)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(position: tf.Tensor, step_size: tf.Tensor) -> tf.Tensor:
        momentum = prng.normal(seed, tuple(position.shape), position.dtype)
        log_prob, grad = log_prob_and_grad(position)
        z = PhasePoint(
            tf.transpose(position), tf.transpose(momentum), log_prob, tf.transpose(grad)
        )
        start_energy, identity = energy(z.momentum, log_prob), tf.ones_like(z.position)

        def body(
            i: tf.Tensor, z: PhasePoint, errors: tf.Tensor
        ) -> tuple[tf.Tensor, PhasePoint, tf.Tensor]:
            z = leapfrog(z, log_prob_and_grad, step_size, identity)
            error = energy(z.momentum, z.log_prob) - start_energy
            errors = tf.tensor_scatter_nd_update(errors, [[i]], error[tf.newaxis])
            return i + 1, z, errors

        errors = tf.zeros([num_steps, position.shape[0]], start_energy.dtype)
        return tf.while_loop(
            lambda i, *_: i < num_steps, body, (tf.constant(0), z, errors)
        )[2]

    return run(start, tf.constant(step_size, start.dtype)).numpy().T


def prepare(
    log_prob_and_grad: LogProbAndGrad,
    *,
    start: np.ndarray,  # [chains, dim]
    settings: SamplerSettings,
    seed: int,
    jit_compile: bool = True,
) -> Callable[[], Samples]:
    """Compiles the sampler, and returns the function that draws with it from `start`.

    Its first call draws with `seed`, and each later one with a seed of its own.

    Raises ValueError when `start` is not of `settings.num_chains` chains, and when the
    memory cannot hold the draws; the returned function when the log density or its
    gradient is not finite at `start`.
    """
    start = np.asarray(start)
    if start.ndim != 2 or start.shape[0] != settings.num_chains:
        raise ValueError(
            f"start: given shape {start.shape}, wanted [{settings.num_chains}, dim], "
            "one row per chain of settings.num_chains"
        )
    num_chains, dim = start.shape
    settings.check_memory(dim=dim)
    kernel = compile_kernel(
        log_prob_and_grad,
        num_chains=num_chains,
        dim=dim,
        max_depth=settings.max_depth,
        jit_compile=jit_compile,
    )
    kernel.build()
    calls = itertools.count()

    def run() -> Samples:
        (samples,) = sample_chunks(
            kernel,
            seed=np.array([next(calls), seed], np.int32),
            start=start,
            step_size=settings.step_size,
            num_results=settings.num_results,
            chunk_size=settings.num_results,
        )
        return samples

    return run


def sample(
    log_prob_and_grad: LogProbAndGrad,
    *,
    start: np.ndarray,  # [chains, dim], unconstrained
    settings: SamplerSettings,
    seed: int,
    jit_compile: bool = True,
) -> Samples:
    """Draws of NUTS from `start`: settings.num_results of each of settings.num_chains.

    Step size and metric (the identity) stay as given: nothing is adapted or discarded.
    Draws have the posterior's dtype, and that of another function is float32.

    log_prob_and_grad: from positions [chains, dim] to log probs [chains] and gradients
      [chains, dim]; of a program, `ppl.unconstrain(...).log_prob_and_grad`.
    jit_compile: whether XLA compiles the density together with the sampler.

    Raises ValueError when `start` is not of settings.num_chains chains, when the log
    density or its gradient is not finite there, and when the memory cannot hold the
    draws.

    >>> def standard_normal(x):
    ...     return -0.5 * tf.reduce_sum(x**2, axis=-1), -x
    >>> settings = SamplerSettings(step_size=0.8, num_chains=4, num_results=50)
    >>> start = np.zeros([4, 2])
    >>> sample(standard_normal, start=start, settings=settings, seed=1).draws.shape
    (4, 50, 2)
    """
    run = prepare(
        log_prob_and_grad,
        start=start,
        settings=settings,
        seed=seed,
        jit_compile=jit_compile,
    )
    return run()


def evaluate(
    log_prob_and_grad: LogProbAndGrad,
    points: np.ndarray,
    *,
    num_chains: int = 1,
    jit_compile: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The log prob at `points` [points, dim] and its gradients, both float64.

    num_chains: points evaluated at once; the last batch is padded.
    """
    function = tf.function(log_prob_and_grad, jit_compile=jit_compile, autograph=False)
    dtype = getattr(log_prob_and_grad, "dtype", tf.float32)
    log_probs, grads = [], []
    for first in range(0, len(points), num_chains):
        batch = np.resize(points[first:], (num_chains, points.shape[1]))
        log_prob, grad = function(tf.constant(batch, dtype))
        log_probs.append(log_prob.numpy())
        grads.append(grad.numpy())
    log_prob, grad = np.concatenate(log_probs), np.concatenate(grads)
    num = len(points)
    return log_prob[:num].astype(np.float64), grad[:num].astype(np.float64)
