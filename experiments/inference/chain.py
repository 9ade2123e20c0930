"""Runs chains of NUTS transitions in one compiled loop, by the chunk."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import nuts, prng
from experiments.inference.leapfrog import (
    LogProbAndGrad,
    PhasePoint,
    energy,
    leapfrog,
)
from experiments.inference.samples import Samples
from experiments.inference.settings import SamplerSettings

Buffers = tuple[tf.Tensor, ...]


class Kernel(NamedTuple):
    """Two compiled functions, each traced once for chunks of any length."""

    chunk_size: int  # draws at most in one run
    init: Any  # position [chains, dim] -> NutsState
    run: Any  # (seed, first, num, state, step_size) -> NutsState, buffers


def compile_kernel(
    log_prob_and_grad: LogProbAndGrad,
    *,
    num_chains: int,
    dim: int,
    max_depth: int,
    chunk_size: int,
    dtype: tf.DType = tf.float32,
    inverse_mass: np.ndarray | None = None,  # [dim]; None: the identity metric
    jit_compile: bool = True,
    first_chain: int = 0,
) -> Kernel:
    """The sampler of one log density, compiled for chunks of up to `chunk_size` draws.

    jit_compile: whether XLA compiles the whole loop with the density in it.  Otherwise
      it compiles the sampler's own work, and TensorFlow runs the density as it is.
    first_chain: the number of the first chain.  A chain's random numbers depend on the
      seed and its number: chains 2 and 3 alone draw as they do in a kernel of four.
    """
    if inverse_mass is None:
        inverse_mass = np.ones(dim)
    if np.shape(inverse_mass) != (dim,) or not np.all(np.greater(inverse_mass, 0)):
        raise ValueError(
            f"inverse_mass: given {inverse_mass}, wanted {dim} numbers above 0"
        )
    inverse_mass = tf.constant(inverse_mass, dtype)
    shape = (num_chains, dim)

    @tf.function(
        jit_compile=jit_compile,
        autograph=False,
        input_signature=[tf.TensorSpec(shape, dtype)],
    )
    def init(position: tf.Tensor) -> nuts.NutsState:
        return nuts.init(position, log_prob_and_grad)

    log_prob_dtype = init.get_concrete_function().output_dtypes.log_prob
    state_spec = nuts.NutsState(
        position=tf.TensorSpec(shape, dtype),
        log_prob=tf.TensorSpec([num_chains], log_prob_dtype),
        grad=tf.TensorSpec(shape, dtype),
    )
    scalar = tf.TensorSpec([], tf.int32)

    @tf.function(
        jit_compile=jit_compile,
        autograph=False,
        input_signature=[
            tf.TensorSpec([2], tf.int32),
            scalar,
            scalar,
            state_spec,
            tf.TensorSpec([], dtype),
        ],
    )
    def run(
        seed: tf.Tensor,
        first: tf.Tensor,
        num: tf.Tensor,
        state: nuts.NutsState,
        step_size: tf.Tensor,
    ) -> tuple[nuts.NutsState, Buffers]:
        def transition(
            i: tf.Tensor, state: nuts.NutsState, buffers: Buffers
        ) -> tuple[tf.Tensor, nuts.NutsState, Buffers]:
            # The seed depends on the draw's number, and so not on the chunks' length.
            state, info = nuts.step(
                prng.fold_in(seed, first + i),
                state,
                log_prob_and_grad=log_prob_and_grad,
                step_size=step_size,
                inverse_mass=inverse_mass,
                max_depth=max_depth,
                within_xla=jit_compile,
                first_chain=first_chain,
            )
            draw = (state.position, state.log_prob, *info)
            buffers = tuple(
                tf.tensor_scatter_nd_update(buffer, [[i]], value[tf.newaxis])
                for buffer, value in zip(buffers, draw, strict=True)
            )
            return i + 1, state, buffers

        def buffer(shape: tuple[int, ...], dtype: tf.DType) -> tf.Tensor:
            return tf.zeros((chunk_size, num_chains, *shape), dtype)

        buffers = (  # in the order of Samples
            buffer((dim,), dtype),
            buffer((), log_prob_dtype),
            buffer((), tf.int32),
            buffer((), tf.int32),
            buffer((), log_prob_dtype),
            buffer((), tf.bool),
            buffer((), log_prob_dtype),
        )
        _, state, buffers = tf.while_loop(
            lambda i, state, buffers: i < num,
            transition,
            (tf.constant(0), state, buffers),
            parallel_iterations=1,
        )
        return state, buffers

    # Compiles everything, so that the first real call only runs.  It takes one
    # leapfrog, since a step size of NaN diverges at once.
    state = init(tf.zeros(shape, dtype))
    run(tf.zeros([2], tf.int32), 0, 1, state, tf.constant(float("nan"), dtype))
    return Kernel(chunk_size, init, run)


def sample_chunks(
    kernel: Kernel,
    *,
    seed: tf.Tensor,  # [2] int32
    start: np.ndarray,  # [chains, dim]
    step_size: float,
    num_results: int,
    chunk_size: int,
    num_done: int = 0,
) -> Iterator[Samples]:
    """Yields `num_results` draws of every chain, `chunk_size` at a time.

    chunk_size: at most the one that the kernel was compiled for.  The draws do not
      depend on it.
    num_done: the number of draws made in an earlier run, the last of which is `start`.

    Raises ValueError when the log density or its gradient is not finite at `start`, and
    when `chunk_size` is larger than the kernel's.
    """
    if not 1 <= chunk_size <= kernel.chunk_size:
        raise ValueError(
            f"chunk_size: given {chunk_size}, wanted 1 to {kernel.chunk_size}, "
            "which the kernel was compiled for"
        )
    dtype = kernel.init.input_signature[0].dtype
    state = kernel.init(tf.constant(start, dtype))
    _check_start(state)
    step = tf.constant(step_size, dtype)
    for first in range(num_done, num_results, chunk_size):
        num = min(chunk_size, num_results - first)
        state, buffers = kernel.run(
            seed, tf.constant(first), tf.constant(num), state, step
        )
        yield Samples(*(np.moveaxis(part.numpy()[:num], 0, 1) for part in buffers))


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
        ones = tf.ones_like(position[0])
        momentum = prng.normal(seed, tuple(position.shape), position.dtype)
        z = PhasePoint(position, momentum, *log_prob_and_grad(position))
        start_energy = energy(z, ones)

        def body(
            i: tf.Tensor, z: PhasePoint, errors: tf.Tensor
        ) -> tuple[tf.Tensor, PhasePoint, tf.Tensor]:
            z = leapfrog(z, log_prob_and_grad, step_size, ones)
            error = energy(z, ones) - start_energy
            errors = tf.tensor_scatter_nd_update(errors, [[i]], error[tf.newaxis])
            return i + 1, z, errors

        errors = tf.zeros([num_steps, position.shape[0]], start_energy.dtype)
        return tf.while_loop(
            lambda i, *_: i < num_steps, body, (tf.constant(0), z, errors)
        )[2]

    return run(start, tf.constant(step_size, start.dtype)).numpy().T


def _check_start(state: nuts.NutsState) -> None:
    log_prob, grad = state.log_prob.numpy(), state.grad.numpy()
    bad = ~np.isfinite(log_prob) | ~np.isfinite(grad).all(axis=-1)
    if bad.any():
        chain = int(np.argmax(bad))
        raise ValueError(
            f"start: chain {chain} has log prob {log_prob[chain]} and "
            f"{np.sum(~np.isfinite(grad[chain]))} gradients that are not finite, "
            "wanted finite ones"
        )


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
            "one row a chain of settings.num_chains"
        )
    num_chains, dim = start.shape
    settings.check_memory(dim=dim)
    kernel = compile_kernel(
        log_prob_and_grad,
        num_chains=num_chains,
        dim=dim,
        max_depth=settings.max_depth,
        chunk_size=settings.num_results,
        dtype=getattr(log_prob_and_grad, "dtype", tf.float32),
        jit_compile=jit_compile,
    )
    calls = itertools.count()

    def run() -> Samples:
        (samples,) = sample_chunks(
            kernel,
            seed=tf.constant([next(calls), seed]),
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
