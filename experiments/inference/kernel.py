"""The compiled sampler of one log density: chains in tiles, tiles on threads."""

import dataclasses
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference import nuts, starts, streams, tile_run, xla_options
from experiments.inference.leapfrog import LogProbAndGrad
from experiments.inference.settings import check_count
from experiments.inference.step_size import StepSize
from experiments.inference.tile_run import Draws, State, Tile, TileRun, pad

# A tile's arrays stay in a core's cache, and its loop runs on one thread.
MAX_TILE = 64  # chains
TILE_BYTES = 256 << 10  # of what a turn reads and writes
# Data larger than this are read once for all chains, not once a tile.
SHARED_DATA_BYTES = 1 << 20
ROW_BYTES = 1 << 22  # of a tile's log, and of its random numbers
MAX_ROWS = 1024
STOP_SECONDS = 2.0  # that a stop waits for what is running: XLA may be compiling


class Stopped(Exception):
    """A run that was to be whole was told to stop before its end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """The sampler of one log density, its chains and its metric's shape.

    One compiled function takes all leapfrogs: step sizes, metric, depth, number of
    draws and seed are arguments of it.
    """

    num_chains: int
    dim: int
    max_depth: int
    first_chain: int
    dtype: tf.DType  # of positions
    log_prob_dtype: tf.DType
    keep_grads: bool
    tiles: tuple[Tile, ...]
    rows: int
    method: nuts.Method
    density: Any  # positions [a tile's chains, dim] -> log probs, gradients
    transitions: Any  # (loop, setting, numbers) -> loop
    numbers: Any  # (seed, chains, first, num_rows) -> numbers
    # Of each tile, by its first chain: where the last run left it, and the last random
    # numbers of a seed or two with how many rows they have, since most calls need the
    # next.
    last_loops: dict[int, nuts.Loop]
    drawn_numbers: dict[int, dict[bytes, tuple[streams.Numbers, int]]]
    turns_of_call: dict[int, int]  # of each tile: about tile_run.CALL_SECONDS
    compiled: set[int]  # ranks of the metrics that the transitions are compiled for
    # Asked about four times a second, and once a chunk at least.  When it returns True,
    # every run ends, also one that XLA is still compiling.
    should_stop: Callable[[], bool] = lambda: False

    def run(
        self,
        state: Any,
        *,
        first_draw: int,
        num_draws: int,
        step: StepSize,
        scale: np.ndarray,
        max_depth: int,
        adapting: bool,
        target_accept: float,
        seed: tf.Tensor,
    ) -> tuple[State, StepSize, Draws]:
        """`num_draws` transitions of every chain: see `stream`.

        Raises Stopped where `should_stop` ends them earlier.
        """
        parts = list(
            self.stream(
                state,
                first_draw=first_draw,
                num_draws=num_draws,
                step=step,
                scale=scale,
                max_depth=max_depth,
                adapting=adapting,
                target_accept=target_accept,
                seed=seed,
                chunk_size=num_draws,
            )
        )
        if not parts or parts[0][0].draws.shape[1] < num_draws:
            raise Stopped
        ((draws, state, step),) = parts
        return state, step, draws

    def build(self) -> None:
        """Compiles everything for a diagonal metric, so that later calls only run."""
        vectors = np.zeros((self.num_chains, self.dim))
        seed = tf.constant([0, 0])
        starts.evaluate(self, vectors, scale=vectors + 1, seed=seed)

    def stream(
        self,
        state: Any,
        *,
        first_draw: int,
        num_draws: int,
        step: StepSize,
        scale: np.ndarray,
        max_depth: int,
        adapting: bool,
        target_accept: float,
        seed: tf.Tensor,
        chunk_size: int,
    ) -> Iterator[tuple[Draws, State, StepSize]]:
        """Yields the draws of every chain, `chunk_size` of each at a time.

        state: position, log_prob and grad of each chain.
        first_draw: the number of the first transition.  A chain's random numbers depend
          on the seed, its number and the transition's.
        step: step sizes of [chains]; adapted after each transition if `adapting`.
        scale: [chains, dim] standard deviations, whose squares are the inverse mass, or
          [chains, dim, dim] lower Cholesky factors of it.
        When the kernel's `should_stop` returns True, what all chains have drawn is
        yielded, and nothing after it; while it still compiles, Stopped is raised.

        Chains do not wait for each other, but at the end, and for one that is far
        behind: see `tile_run.AHEAD_BYTES`.  A chunk comes with where its
        last draws are.  Its step sizes are those of its last draws only if it is the
        last chunk, since chains run ahead.

        Raises ValueError for arrays of another shape, and for a depth that the kernel
        was not compiled for.
        """
        check_count(
            "max_depth",
            max_depth,
            highest=self.max_depth,
            why=", which the kernel was compiled for",
        )
        self._check_shapes(state, step, scale)
        workers = [
            TileRun(
                self,
                tile,
                state,
                step,
                nuts.Setting(
                    chains=tf.constant(tile.numbers),
                    num_draws=tf.constant(num_draws),
                    until=tf.constant(num_draws),
                    max_depth=tf.constant(max_depth),
                    max_turns=tf.constant(0),
                    adapting=tf.constant(adapting),
                    target_accept=tf.constant(target_accept, tf.float64),
                    scale=self._of_tile(tile, scale),
                ),
                first_draw=first_draw,
                num_draws=num_draws,
                seed=seed,
            )
            for tile in self.tiles
        ]
        # Not in several threads, where the names of its operations, and so the key of a
        # compiled program on disk, would depend on which is first.
        if (rank := np.ndim(scale)) not in self.compiled:
            wait_for(workers[0].compile, self.should_stop)
            self.compiled.add(rank)
        stopped = threading.Event()

        def stops() -> bool:
            return stopped.is_set()

        threads = min(len(self.tiles), len(os.sched_getaffinity(0)))
        pool = ThreadPoolExecutor(threads)
        jobs: list[Any] = []
        try:
            for first in range(0, num_draws, chunk_size):
                end = min(first + chunk_size, num_draws)
                jobs = [pool.submit(one.advance, end, stops) for one in workers]
                while not stopped.is_set():
                    if self.should_stop():
                        stopped.set()
                    elif _wait(jobs, tile_run.CALL_SECONDS / 2):
                        break
                if not _wait(jobs, STOP_SECONDS):
                    jobs = []  # not to be waited for again
                    return
                for job in jobs:
                    job.result()
                end = min(one.num_done() for one in workers)
                if end <= first:
                    return
                yield self._join(workers, first, end, num_draws)
                if stopped.is_set():
                    return
        finally:  # also of a caller that wants no more, and of Ctrl-C
            stopped.set()
            _wait(jobs, STOP_SECONDS)
            pool.shutdown(wait=False, cancel_futures=True)

    def _check_shapes(self, state: Any, step: StepSize, scale: np.ndarray) -> None:
        one, vector = (self.num_chains,), (self.num_chains, self.dim)
        wanted: dict[str, tuple[tuple[int, ...], ...]]
        wanted = {"position": (vector,), "log_prob": (one,), "grad": (vector,)}
        given = dict(zip(State._fields, state, strict=True))
        wanted |= {f"step.{name}": (one,) for name in step._fields}
        given |= {f"step.{name}": part for name, part in step._asdict().items()}
        wanted["scale"], given["scale"] = (vector, (*vector, self.dim)), scale
        for name, value in given.items():
            if np.shape(value) not in wanted[name]:
                raise ValueError(
                    f"{name}: given shape {np.shape(value)}, wanted "
                    f"{' or '.join(map(str, wanted[name]))}"
                )

    def _of_tile(self, tile: Tile, scale: np.ndarray) -> tf.Tensor:
        part = pad(np.asarray(scale)[tile.chains], len(tile.numbers))
        return tf.constant(part.T if part.ndim == 2 else part, self.dtype)

    def _join(
        self, workers: list[TileRun], first: int, end: int, num_draws: int
    ) -> tuple[Draws, State, StepSize]:
        parts = [one.take(first, end) for one in workers]
        draws = Draws(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        if end == num_draws:
            last = [one.last_state() for one in workers]
            state = State(*(np.concatenate(part) for part in zip(*last, strict=True)))
        else:
            position = draws.draws[:, -1]
            unknown = np.full_like(draws.log_prob[:, -1], -np.inf)
            state = State(position, unknown, np.zeros_like(position))
        steps = [one.step_sizes() for one in workers]
        step = StepSize(*(np.concatenate(part) for part in zip(*steps, strict=True)))
        return draws, state, step


def compile_kernel(
    log_prob_and_grad: LogProbAndGrad,
    *,
    num_chains: int,
    dim: int,
    max_depth: int,
    dtype: tf.DType | None = None,
    jit_compile: bool = True,
    first_chain: int = 0,
    keep_grads: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    method: nuts.Method = nuts.NUTS,
) -> Kernel:
    """The sampler of one log density; XLA compiles it at its first transition.

    dtype: of positions; None: that of the posterior, and float32 of another function.
    jit_compile: whether XLA compiles the whole loop with the density in it.  Otherwise
      it compiles the sampler's own work, and TensorFlow runs the density as it is.
    first_chain: the number of the first chain.  A chain's random numbers depend on the
      seed and its number: chains 2 and 3 alone draw as they do in a kernel of four.
    keep_grads: whether draws come with their gradients.
    should_stop: of all runs of the kernel: see `Kernel`.
    method: NUTS, or `walnuts.method`.
    """
    xla_options.read_options()
    if dtype is None:
        dtype = getattr(log_prob_and_grad, "dtype", tf.float32)
    density = tf.function(
        log_prob_and_grad, autograph=False, jit_compile=True if jit_compile else None
    )
    size = _tile_size(num_chains, dim, max_depth, dtype) if jit_compile else num_chains
    traced = density.get_concrete_function(tf.TensorSpec([size, dim], dtype))
    if size < num_chains and _data_bytes(traced) > SHARED_DATA_BYTES:
        size = num_chains
        traced = density.get_concrete_function(tf.TensorSpec([size, dim], dtype))
    log_prob_dtype = traced.structured_outputs[0].dtype
    tiles = tuple(
        Tile(
            slice(first, min(first + size, num_chains)),
            np.arange(first, first + size, dtype=np.int32) + np.int32(first_chain),
        )
        for first in range(0, num_chains, size)
    )
    row_bytes = size * (2 * dim * dtype.size + 8 * max_depth + 40)
    rows = int(np.clip(ROW_BYTES // row_bytes, 4, MAX_ROWS))

    # Outside XLA not as a function of its own, which would hide its devices.
    evaluate = density if jit_compile else log_prob_and_grad

    @tf.function(jit_compile=True if jit_compile else None, autograph=False)
    def run(
        loop: nuts.Loop, setting: nuts.Setting, numbers: streams.Numbers
    ) -> nuts.Loop:
        return nuts.run(
            loop, setting, numbers, evaluate, within_xla=jit_compile, method=method
        )

    # For a diagonal metric, and for a dense one.  Their calls cost half of those of the
    # function, which looks for the one to call.
    programs: dict[int, Any] = {}

    def transitions(
        loop: nuts.Loop, setting: nuts.Setting, numbers: streams.Numbers
    ) -> nuts.Loop:
        rank = setting.scale.shape.rank
        if rank not in programs:
            programs[rank] = run.get_concrete_function(loop, setting, numbers)
        return programs[rank](loop, setting, numbers)

    numbers = functools.partial(
        streams.draw,
        rows=rows,
        dim=dim,
        max_depth=max_depth,
        dtype=dtype,
        energy_dtype=log_prob_dtype,
    )
    return Kernel(
        num_chains=num_chains,
        dim=dim,
        max_depth=max_depth,
        first_chain=first_chain,
        dtype=dtype,
        log_prob_dtype=log_prob_dtype,
        keep_grads=keep_grads,
        tiles=tiles,
        rows=rows,
        method=method,
        density=density,
        transitions=transitions,
        numbers=numbers,
        last_loops={},
        drawn_numbers={},
        turns_of_call={},
        compiled=set(),
        should_stop=should_stop,
    )


def _tile_size(num_chains: int, dim: int, max_depth: int, dtype: tf.DType) -> int:
    """The chains of a tile: all alike, at least a tile a core."""
    bytes_of_chain = (3 * max_depth + 20) * dim * dtype.size
    most = int(np.clip(TILE_BYTES // bytes_of_chain, 4, MAX_TILE))
    cores = len(os.sched_getaffinity(0))
    num_tiles = max(-(-num_chains // most), min(cores, num_chains))
    return -(-num_chains // num_tiles)


def _data_bytes(density: Any) -> int:
    """The size of the data that a traced density reads."""
    captured = sum(
        tensor.dtype.size * (tensor.shape.num_elements() or 0)
        for tensor in density.captured_inputs
        if tensor.dtype != tf.resource
    )
    try:
        return captured + density.graph.as_graph_def().ByteSize()
    except (ValueError, tf.errors.OpError):  # constants beyond a message's 2 GB
        return 1 << 31


def wait_for[Result](
    function: Callable[[], Result], should_stop: Callable[[], bool]
) -> Result:
    """What a function returns that may be compiled for long.

    Raises Stopped, at once, when `should_stop` returns True before.
    """
    pool = ThreadPoolExecutor(1)
    job = pool.submit(function)
    pool.shutdown(wait=False)
    while not should_stop():
        if _wait([job], tile_run.CALL_SECONDS / 2):
            return job.result()
    raise Stopped


def _wait(jobs: list[Any], seconds: float) -> bool:
    """Whether all jobs end within this time."""
    deadline = time.monotonic() + seconds
    for job in jobs:
        try:
            job.exception(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return False
    return True
