"""Runs a compiled sampler: chains in tiles, tiles on threads."""

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from experiments.inference import loop_state, starts, streams, tile_run
from experiments.inference.loop_state import Loop, Setting
from experiments.inference.settings import check_count
from experiments.inference.step_size import StepSize
from experiments.inference.tile_run import Draws, State, Tile, TileRun, pad

STOP_SECONDS = 2.0  # that a stop waits for what is running: XLA may be compiling


class Stopped(Exception):
    """A run that was to be whole was told to stop before its end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """The sampler of one log density: its chains, and the programs that move them.

    One compiled function takes all leapfrogs: step sizes, metric, depth, number of
    draws and seed are arguments of it.
    """

    num_chains: int
    dim: int
    max_depth: int
    first_chain: int
    dtype: np.dtype[Any]  # of positions
    log_prob_dtype: np.dtype[Any]
    keep_grads: bool
    tiles: tuple[Tile, ...]
    rows: int
    extend: Callable[[Loop], Loop]  # an empty loop with what the method keeps
    density: Any  # positions [a tile's chains, dim] -> log probs, gradients
    transitions: Any  # (loop, setting, numbers) -> loop
    numbers: Any  # (seed, chains, first, num_rows) -> numbers
    # Of each tile, by its first chain: where the last run left it, and the last random
    # numbers of a seed or two with how many rows they have, since most calls need the
    # next.
    last_loops: dict[int, Loop] = dataclasses.field(default_factory=dict)
    drawn_numbers: dict[int, dict[bytes, tuple[streams.Numbers, int]]] = (
        dataclasses.field(default_factory=dict)
    )
    # Of each tile: about tile_run.CALL_SECONDS.
    turns_of_call: dict[int, int] = dataclasses.field(default_factory=dict)
    # Ranks of the metrics that the transitions are compiled for.
    compiled: set[int] = dataclasses.field(default_factory=set)
    program: Any = None  # what XLA compiles of `transitions`, to be exported
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
        seed: np.ndarray,
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
        seed = np.zeros(2, np.int32)
        starts.evaluate(self, vectors, scale=vectors + 1, seed=seed)

    def empty_loop(self, num_chains: int) -> Loop:
        """A loop of so many chains that has not begun; see `loop_state.begin`."""
        return self.extend(
            loop_state.empty(
                num_chains,
                self.dim,
                max_depth=self.max_depth,
                rows=self.rows,
                keep_grads=self.keep_grads,
                dtype=self.dtype,
                energy_dtype=self.log_prob_dtype,
            )
        )

    def density_at(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log prob and the gradient at a position [dim], finite or not."""
        size = len(self.tiles[0].numbers)
        positions = np.broadcast_to(position, (size, self.dim)).astype(self.dtype)
        log_prob, grad = self.density(positions)
        return np.asarray(log_prob)[0], np.asarray(grad)[0]

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
        seed: np.ndarray,
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
                Setting(
                    chains=tile.numbers,
                    num_draws=np.int32(num_draws),
                    until=np.int32(num_draws),
                    max_depth=np.int32(max_depth),
                    max_turns=np.int32(0),
                    adapting=np.bool_(adapting),
                    target_accept=np.float64(target_accept),
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

    def _of_tile(self, tile: Tile, scale: np.ndarray) -> np.ndarray:
        part = pad(np.asarray(scale)[tile.chains], len(tile.numbers))
        part = part.T if part.ndim == 2 else part
        return np.ascontiguousarray(part, self.dtype)

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
