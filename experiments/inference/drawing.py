"""Draws of a compiled sampler by the chunk: warm-up first, then those to keep."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from experiments.inference import starts, warmup
from experiments.inference.samples import Samples, concatenate
from experiments.inference.settings import check_count
from experiments.inference.step_size import constant
from experiments.inference.tiles import Kernel, Stopped
from experiments.inference.warmup_state import Warmup, WarmupSettings, WarmupState

CHUNK_SIZE = 250  # draws of each chain between two looks at them


class DrawingState(NamedTuple):
    """What draws go on from, besides what the warm-up found."""

    num_done: np.ndarray  # scalar int64, draws kept of each chain
    position: np.ndarray  # [chains, dim], the last of them


class Chunk(NamedTuple):
    """Some draws of every chain, and all that is needed to go on from them."""

    samples: Samples
    warmup_state: WarmupState
    warmup: Warmup | None  # None: these are warm-up draws
    drawing: DrawingState | None


def chunks(
    kernel: Kernel,
    settings: WarmupSettings,
    *,
    num_draws: int,
    seed: np.ndarray,  # [2] int32
    posterior: Any = None,
    start: np.ndarray | None = None,
    chunk_size: int = CHUNK_SIZE,
    warmup_state: WarmupState | None = None,
    drawing: DrawingState | None = None,
) -> Iterator[Chunk]:
    """Yields the draws of warm-up and then those to keep, some of each chain at a time.

    The draws do not depend on the chunks' size, nor on where a run went on from.

    posterior: with `names` and `sizes` of its variables, for errors.
    start: vectors [chains, dim]; None: uniform(-2, 2) with retries.
    warmup_state, drawing: of an earlier chunk, to go on from it.

    When the kernel's `should_stop` returns True, the run ends with what all chains have
    drawn of this chunk; of warm-up, with the chunk before it.

    Raises ValueError where no chain can start, and for an improper posterior.
    """
    check_count("num_draws", num_draws)
    check_count("chunk_size", chunk_size)
    try:
        yield from _chunks(
            kernel,
            settings,
            num_draws=num_draws,
            seed=seed,
            posterior=posterior,
            start=start,
            chunk_size=chunk_size,
            warmup_state=warmup_state,
            drawing=drawing,
        )
    except Stopped:
        return


def _chunks(
    kernel: Kernel,
    settings: WarmupSettings,
    *,
    num_draws: int,
    seed: np.ndarray,
    posterior: Any,
    start: np.ndarray | None,
    chunk_size: int,
    warmup_state: WarmupState | None,
    drawing: DrawingState | None,
) -> Iterator[Chunk]:
    """What `chunks` yields.  Raises Stopped where the kernel is told to stop."""
    named = posterior if hasattr(posterior, "names") else None
    state = warmup_state
    if state is None:
        state = warmup.begin(kernel, settings, seed=seed, start=start, posterior=named)
    while state.num_done < settings.num_warmup:
        state, draws = warmup.advance(
            kernel,
            settings,
            state,
            seed=seed,
            chunk_size=chunk_size,
            posterior=named,
        )
        yield Chunk(draws.samples(), state, None, None)
    found = warmup.result(settings, state)
    scale = np.broadcast_to(found.scale, (kernel.num_chains, *found.scale.shape[1:]))
    position = found.position if drawing is None else drawing.position
    num_done = 0 if drawing is None else int(drawing.num_done)
    if num_done >= num_draws:
        return
    for draws, _, _ in kernel.stream(
        starts.evaluate_start(kernel, position, scale=scale, seed=seed),
        first_draw=settings.num_warmup + num_done,
        num_draws=num_draws - num_done,
        step=constant(found.step_size, kernel.num_chains),
        scale=scale,
        max_depth=settings.max_depth,
        adapting=False,
        target_accept=settings.target_accept,
        seed=seed,
        chunk_size=chunk_size,
    ):
        num_done += draws.draws.shape[1]
        last = DrawingState(np.asarray(num_done), draws.draws[:, -1])
        yield Chunk(draws.samples(), state, found, last)


def kept(run: Iterable[Chunk]) -> tuple[Samples, Warmup]:
    """The draws of a run's chunks after its warm-up, and what the warm-up found."""
    parts = [chunk for chunk in run if chunk.warmup is not None]
    found = parts[-1].warmup
    assert found is not None
    return concatenate([part.samples for part in parts], axis=1), found


def seed_pair(seed: int) -> np.ndarray:
    """The root seed of a run, [2] int32.

    Raises ValueError unless `seed` is a whole number from 0 to 2**31 - 1.
    """
    check_count("seed", seed, lowest=0, highest=2**31 - 1)
    return np.array([0, seed], np.int32)
