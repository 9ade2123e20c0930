"""The compiled sampler of one log density: chains in tiles, tiles on threads."""

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import nuts, streams, xla_options
from experiments.inference.leapfrog import LogProbAndGrad
from experiments.inference.samples import Samples
from experiments.inference.settings import check_count
from experiments.inference.step_size import StepSize

# A tile's arrays stay in a core's cache, and its loop runs on one thread.
MAX_TILE = 64  # chains
TILE_BYTES = 256 << 10  # of what a turn reads and writes
# Data larger than this are read once for all chains, not once a tile.
SHARED_DATA_BYTES = 1 << 20
ROW_BYTES = 1 << 19  # of a tile's log, and of its random numbers
MAX_ROWS = 256
CALL_SECONDS = 0.5  # of one call: how soon a sampler can stop
FIRST_TURNS = 256  # of the first call


class State(NamedTuple):
    """Where each chain is.  A log prob of -inf is one that is not known yet."""

    position: np.ndarray  # [chains, dim]
    log_prob: np.ndarray  # [chains]
    grad: np.ndarray  # [chains, dim], of log_prob at position


class Draws(NamedTuple):
    """What `Samples` holds, with the gradients at the draws if they were asked for."""

    draws: np.ndarray  # [chains, num, dim]
    log_prob: np.ndarray  # [chains, num]
    leapfrogs: np.ndarray
    depth: np.ndarray
    accept: np.ndarray
    diverged: np.ndarray
    energy: np.ndarray
    grads: np.ndarray  # [chains, num, dim], or [chains, num, 0]

    def samples(self) -> Samples:
        """These draws without gradients."""
        return Samples(*self[:-1])


class Tile(NamedTuple):
    """Chains that are computed together."""

    chains: slice  # among the kernel's
    numbers: np.ndarray  # [size] int32; those behind the slice's end draw nothing


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
    density: Any  # positions [a tile's chains, dim] -> log probs, gradients
    transitions: Any  # (loop, setting, numbers) -> loop
    numbers: Any  # (seed, chains, first_draw, first) -> numbers
    # The last random numbers of each tile, and their seed: most calls need the next.
    drawn_numbers: dict[int, tuple[bytes, streams.Numbers]]
    turns_of_call: dict[int, int]  # of each tile: about CALL_SECONDS

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
        """`num_draws` transitions of every chain: see `stream`."""
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
        ((draws, state, step),) = parts
        return state, step, draws

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
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[Draws, State, StepSize]]:
        """Yields the draws of every chain, `chunk_size` of each at a time.

        state: position, log_prob and grad of each chain.
        first_draw: the number of the first transition.  A chain's random numbers depend
          on the seed, its number and the transition's.
        step: step sizes of [chains]; adapted after each transition if `adapting`.
        scale: [chains, dim] standard deviations, whose squares are the inverse mass, or
          [chains, dim, dim] lower Cholesky factors of it.
        should_stop: asked about twice a second.  When it returns True, what all chains
          have drawn is yielded, and nothing after it.

        Chains do not wait for each other, but at the end.  A chunk comes with where its
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
            _TileRun(
                self,
                tile,
                state,
                step,
                scale,
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
        stopped = threading.Event()

        def stops() -> bool:
            return stopped.is_set()

        threads = min(len(self.tiles), len(os.sched_getaffinity(0)))
        with ThreadPoolExecutor(threads) as pool:
            try:
                for first in range(0, num_draws, chunk_size):
                    end = min(first + chunk_size, num_draws)
                    jobs = [pool.submit(one.advance, end, stops) for one in workers]
                    while not all(job.done() for job in jobs):
                        if should_stop():
                            stopped.set()
                        _wait(jobs)
                    for job in jobs:
                        job.result()
                    end = min(one.num_done() for one in workers)
                    if end <= first:
                        return
                    yield self._join(workers, first, end, num_draws)
                    if stopped.is_set():
                        return
            finally:
                stopped.set()

    def _check_shapes(self, state: Any, step: StepSize, scale: np.ndarray) -> None:
        one, vector = (self.num_chains,), (self.num_chains, self.dim)
        wanted = dict(zip(State._fields, [(vector,), (one,), (vector,)], strict=True))
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
        part = _pad(np.asarray(scale)[tile.chains], len(tile.numbers))
        return tf.constant(part.T if part.ndim == 2 else part, self.dtype)

    def _join(
        self, workers: list["_TileRun"], first: int, end: int, num_draws: int
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


class _TileRun:
    """A tile's loop, which goes on from call to call, and the draws that it has made.

    Chains run ahead of each other.  `_buffers` holds draws from number `_start` on.
    """

    def __init__(
        self,
        kernel: Kernel,
        tile: Tile,
        state: Any,
        step: StepSize,
        scale: np.ndarray,
        setting: nuts.Setting,
        *,
        first_draw: int,
        num_draws: int,
        seed: tf.Tensor,
    ) -> None:
        self._kernel, self._setting = kernel, setting
        self._size = tile.chains.stop - tile.chains.start
        padded = len(tile.numbers)
        dtype = kernel.dtype.as_numpy_dtype

        def part(values: Any, dtype: Any) -> np.ndarray:
            return _pad(np.asarray(values, dtype)[tile.chains], padded)

        position, log_prob, grad = state
        self._loop: nuts.Loop = nuts.begin(
            part(position, dtype),
            part(log_prob, kernel.log_prob_dtype.as_numpy_dtype),
            part(grad, dtype),
            StepSize(*(part(field, np.float64) for field in step)),
            idle_for_good=np.arange(padded) >= self._size,
            num_draws=num_draws,
            max_depth=kernel.max_depth,
            rows=kernel.rows,
            keep_grads=kernel.keep_grads,
        )
        self._first_draw, self._num_draws, self._seed = first_draw, num_draws, seed
        self._start = 0
        self._counts = np.zeros(self._size, np.int64)  # draws in the buffers or taken
        self._buffers: Draws | None = None
        self._key = int(tile.numbers[0])

    def num_done(self) -> int:
        """The draws that every chain has."""
        return int(self._counts.min())

    def advance(self, until: int, stops: Callable[[], bool]) -> None:
        """Runs until every chain has `until` draws, or it is to stop."""
        kernel = self._kernel
        while self.num_done() < until and not stops():
            began = time.perf_counter()
            numbers = self._numbers()
            turns = kernel.turns_of_call.get(self._key, FIRST_TURNS)
            setting = self._setting._replace(
                until=tf.constant(until), max_turns=tf.constant(turns)
            )
            loop = kernel.transitions(self._loop, setting, numbers)
            self._loop = self._collect(loop)
            seconds = time.perf_counter() - began
            if int(loop.turns) == turns:
                # Not more than fourfold, since this call may have been a quick one.
                growth = min(4.0, CALL_SECONDS / max(seconds, 1e-9))
                turns = max(1, min(int(turns * growth), 1 << 30))
                kernel.turns_of_call[self._key] = turns

    def _numbers(self) -> streams.Numbers:
        """The random numbers of the transitions that come next.

        Their row 0 is numbered from the kernel's first draw, not from that of a run.
        """
        kernel, key = self._kernel, self._key
        seed, offset = self._seed.numpy().tobytes(), self._first_draw
        following = np.asarray(self._loop.drawn) + offset
        known_seed, known = kernel.drawn_numbers.get(key, (b"", None))
        if known is not None and known_seed == seed:
            row = following - np.asarray(known.first)
            active = np.asarray(self._loop.drawn) < self._num_draws
            # Half of them are enough to go on; one is, for a transition alone.
            wanted = min(kernel.rows // 2, self._num_draws)
            if ((row >= 0) & (row + wanted < kernel.rows))[active].all():
                return known._replace(first=known.first - offset)
        numbers = kernel.numbers(
            self._seed, self._setting.chains, tf.constant(0), tf.constant(following)
        )
        kernel.drawn_numbers[key] = (seed, numbers)
        return numbers._replace(first=numbers.first - offset)

    def _collect(self, loop: nuts.Loop) -> nuts.Loop:
        """Puts what has been drawn into the buffers."""
        rows = int(loop.log.rows)
        logged = tf.nest.map_structure(lambda part: part[:rows], loop.log.transitions)
        self._put(np.asarray(loop.log.valid[:rows]), logged)
        has_last = np.asarray(loop.has_last)
        if has_last.any():
            self._put(has_last[np.newaxis], _one_row(loop.last))
            loop = loop._replace(has_last=tf.zeros_like(loop.has_last))
        drawn = np.asarray(loop.drawn)[: self._size]
        if (drawn == self._num_draws).all() and not self.num_done() == self._num_draws:
            self._put(np.ones((1, len(has_last)), bool), _one_row(nuts.finished(loop)))
        return loop

    def _put(self, valid: np.ndarray, transitions: nuts.Transition) -> None:
        """Appends the rows [rows, ...] where they are valid [rows, chains]."""
        valid = valid[:, : self._size]
        row, chain = np.nonzero(valid)
        if not len(row):
            return
        index = self._counts - self._start + np.cumsum(valid, axis=0) - 1
        self._counts += valid.sum(axis=0)
        index = index[row, chain]
        fields = transitions.statistics
        arrays = Draws(
            draws=np.moveaxis(transitions.position, -1, 1),
            log_prob=np.asarray(fields.log_prob),
            leapfrogs=np.asarray(fields.leapfrogs),
            depth=np.asarray(fields.depth),
            accept=np.asarray(fields.accept),
            diverged=np.asarray(fields.diverged),
            energy=np.asarray(fields.energy),
            grads=np.moveaxis(transitions.grad, -1, 1),
        )
        needed = int(index.max()) + 1
        if self._buffers is None or needed > self._buffers.draws.shape[1]:
            self._buffers = self._grown(arrays, needed)
        for buffer, array in zip(self._buffers, arrays, strict=True):
            buffer[chain, index] = array[row, chain]

    def _grown(self, like: Draws, needed: int) -> Draws:
        left = self._num_draws - self._start
        size = min(max(2 * needed, 64), left)

        def larger(old: np.ndarray | None, like: np.ndarray) -> np.ndarray:
            new = np.zeros((self._size, size, *like.shape[2:]), like.dtype)
            if old is not None:
                new[:, : old.shape[1]] = old
            return new

        old = self._buffers or [None] * len(like)
        return Draws(*(larger(*pair) for pair in zip(old, like, strict=True)))

    def take(self, first: int, end: int) -> Draws:
        """Draws `first` to `end` - 1 of every chain, which the buffers then drop."""
        assert self._buffers is not None and first == self._start
        num = end - first
        taken = Draws(*(part[:, :num].copy() for part in self._buffers))
        self._buffers = Draws(*(part[:, num:].copy() for part in self._buffers))
        self._start = end
        return taken

    def last_state(self) -> State:
        """Where the chains are after all their draws."""
        draw = self._loop.tree.draw
        return State(
            np.transpose(draw.position)[: self._size],
            np.asarray(draw.log_prob)[: self._size],
            np.transpose(draw.grad)[: self._size],
        )

    def step_sizes(self) -> StepSize:
        return StepSize(*(np.asarray(part)[: self._size] for part in self._loop.step))


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
) -> Kernel:
    """The sampler of one log density; XLA compiles it at its first transition.

    dtype: of positions; None: that of the posterior, and float32 of another function.
    jit_compile: whether XLA compiles the whole loop with the density in it.  Otherwise
      it compiles the sampler's own work, and TensorFlow runs the density as it is.
    first_chain: the number of the first chain.  A chain's random numbers depend on the
      seed and its number: chains 2 and 3 alone draw as they do in a kernel of four.
    keep_grads: whether draws come with their gradients.
    """
    xla_options.set_options()
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

    @tf.function(jit_compile=True if jit_compile else None, autograph=False)
    def transitions(
        loop: nuts.Loop, setting: nuts.Setting, numbers: streams.Numbers
    ) -> nuts.Loop:
        return nuts.run(loop, setting, numbers, density, within_xla=jit_compile)

    @tf.function(jit_compile=True, autograph=False)
    def numbers(
        seed: tf.Tensor, chains: tf.Tensor, first_draw: tf.Tensor, first: tf.Tensor
    ) -> streams.Numbers:
        return streams.draw(
            seed,
            chains,
            first_draw,
            first,
            rows=rows,
            dim=dim,
            max_depth=max_depth,
            dtype=dtype,
            energy_dtype=log_prob_dtype,
        )

    # XLA compiles this while the caller traces and compiles the transitions.
    chains = tf.constant(tiles[0].numbers)
    threading.Thread(
        target=numbers,
        args=(tf.zeros([2], tf.int32), chains, tf.constant(0), tf.zeros_like(chains)),
    ).start()
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
        density=density,
        transitions=transitions,
        numbers=numbers,
        drawn_numbers={},
        turns_of_call={},
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


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    """The array with its first row repeated behind its last, to `size` rows."""
    repeated = np.repeat(array[:1], size - len(array), axis=0)
    return np.concatenate([array, repeated]) if len(repeated) else array


def _one_row(transitions: nuts.Transition) -> nuts.Transition:
    return tf.nest.map_structure(lambda part: part[np.newaxis], transitions)


def _wait(jobs: list[Any]) -> None:
    for job in jobs:
        if not job.done():
            try:
                job.exception(timeout=CALL_SECONDS / 2)
            except TimeoutError:
                return
