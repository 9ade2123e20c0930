"""One tile of chains: its loop, called again and again, and its draws in order."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.inference import loop_state, streams
from experiments.inference.loop_state import Loop, Setting, Transition
from experiments.inference.samples import Samples
from experiments.inference.step_size import StepSize

CALL_SECONDS = 0.5  # of one call: how soon a sampler can stop
FIRST_TURNS = 256  # of the first call
MIN_ROWS = 64  # of random numbers drawn at once, for runs of few draws
# Of draws that a chain makes before the others have a chunk's; at least a chunk.
AHEAD_BYTES = 32 << 20


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


class TileRun:
    """A tile's loop, which goes on from call to call, and the draws that it has made.

    Chains run ahead of each other.  `_buffers` holds draws from number `_start` on.
    """

    def __init__(
        self,
        kernel: Any,  # tiles.Kernel
        tile: Tile,
        state: Any,
        step: StepSize,
        setting: Setting,
        *,
        first_draw: int,
        num_draws: int,
        seed: np.ndarray,  # [2] int32
    ) -> None:
        self._kernel, self._setting = kernel, setting
        self._size = tile.chains.stop - tile.chains.start
        self._numbers_of_chains = tile.numbers
        padded = len(tile.numbers)
        dtype = kernel.dtype

        def part(values: Any, dtype: Any) -> np.ndarray:
            return pad(np.asarray(values, dtype)[tile.chains], padded)

        position, log_prob, grad = state
        self._key = int(tile.numbers[0])
        # The last run's loop, since a new one would be some seventy arrays to convert.
        loop = kernel.last_loops.get(self._key) or kernel.empty_loop(padded)
        idle_for_good = np.arange(padded) >= self._size
        self._loop: Loop = loop_state.begin(
            loop,
            part(position, dtype),
            part(log_prob, kernel.log_prob_dtype),
            part(grad, dtype),
            StepSize(*(part(field, np.float64) for field in step)),
            np.where(idle_for_good, num_draws, 0).astype(np.int32),
        )
        self._first_draw, self._num_draws = first_draw, num_draws
        self._seed = np.asarray(seed)
        numbers = kernel.dim * (2 if kernel.keep_grads else 1) + len(Samples._fields)
        self._ahead = max(1, AHEAD_BYTES // (8 * numbers * padded))  # draws
        self._start = 0
        self._counts = np.zeros(self._size, np.int64)  # draws in the buffers or taken
        self._buffers: Draws | None = None

    def num_done(self) -> int:
        """The draws that every chain has."""
        return int(self._counts.min())

    def compile(self) -> None:
        """Takes no turn, and so only compiles."""
        self._kernel.transitions(self._loop, self._setting, self._numbers())

    def advance(self, until: int, stops: Callable[[], bool]) -> None:
        """Runs until every chain has `until` draws, or it is to stop."""
        kernel = self._kernel
        # A chain idle at its limit keeps its last draw for when it goes on: one more.
        ahead = max(self._ahead, until - self._start)
        limit = min(self._num_draws, until + ahead)
        while self.num_done() < until and not stops():
            began = time.perf_counter()
            numbers = self._numbers()
            turns = kernel.turns_of_call.get(self._key, FIRST_TURNS)
            setting = self._setting._replace(
                num_draws=np.int32(limit),
                until=np.int32(until),
                max_turns=np.int32(turns),
            )
            loop = kernel.transitions(self._loop, setting, numbers)
            kernel.last_loops[self._key] = self._loop = self._collect(loop)
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
        seed, offset = self._seed.tobytes(), self._first_draw
        drawn = np.asarray(self._loop.drawn)
        following = drawn + offset
        of_tile = kernel.drawn_numbers.setdefault(key, {})
        active = drawn < self._num_draws
        left = np.maximum(self._num_draws - drawn, 0)
        if seed in of_tile:
            of_tile[seed] = known, num_rows = of_tile.pop(seed)  # the last one used
            row = following - np.asarray(known.first)
            # Half of the rows are enough to go on, if the loop knows where they end.
            wanted = np.minimum(
                left, kernel.rows // 2 if num_rows == kernel.rows else left
            )
            if ((row >= 0) & (row + wanted < num_rows))[active].all():
                return known._replace(first=known.first - offset)
        num_rows = min(kernel.rows, max(int(left.max()) + 1, MIN_ROWS))
        numbers = kernel.numbers(
            self._seed, self._numbers_of_chains, following, num_rows
        )
        of_tile.pop(seed, None)
        while len(of_tile) > 1:  # the draws' seed and that of a search are enough
            del of_tile[next(iter(of_tile))]
        of_tile[seed] = numbers, num_rows
        return numbers._replace(first=numbers.first - offset)

    def _collect(self, loop: Loop) -> Loop:
        """Puts what has been drawn into the buffers."""
        rows = int(loop.log.rows)

        def one_row(transition: Transition) -> Transition:
            return loop_state.of_transition(
                lambda part: np.asarray(part)[np.newaxis], transition
            )

        logged = loop_state.of_transition(
            lambda part: np.asarray(part)[:rows], loop.log.transitions
        )
        self._put(np.asarray(loop.log.valid)[:rows], logged)
        has_last = np.asarray(loop.has_last)
        if has_last.any():
            self._put(has_last[np.newaxis], one_row(loop.last))
            loop = loop._replace(has_last=np.zeros_like(has_last))
        drawn = np.asarray(loop.drawn)[: self._size]
        if (drawn == self._num_draws).all() and not self.num_done() == self._num_draws:
            ended = loop_state.finished(loop, loop_state.mean_accept(loop))
            self._put(np.ones((1, len(has_last)), bool), one_row(ended))
        return loop

    def _put(self, valid: np.ndarray, transitions: Transition) -> None:
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


def pad(array: np.ndarray, size: int) -> np.ndarray:
    """The array with its first row repeated behind its last, to `size` rows."""
    repeated = np.repeat(array[:1], size - len(array), axis=0)
    return np.concatenate([array, repeated]) if len(repeated) else array
