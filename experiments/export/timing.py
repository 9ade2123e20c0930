"""Times the exported sampler's loop: synchronised calls after one that warms up."""

import time

import jax
import numpy as np

from experiments.inference import loop_state, starts
from experiments.inference.loop_state import Setting
from experiments.inference.step_size import StepSize, constant
from experiments.inference.tile_run import pad
from experiments.inference.tiles import Kernel

TURNS = 200  # of a call that is timed: one leapfrog of every chain each
CALLS = 3  # besides the first, which does not count
LONGEST = 20.0  # seconds of a call after which no other is made


def seconds_per_turn(
    kernel: Kernel,
    position: np.ndarray,
    *,
    step_size: np.ndarray,
    scale: np.ndarray,
    seed: np.ndarray,
    turns: int = TURNS,
    calls: int = CALLS,
) -> float:
    """Seconds per leapfrog of all chains of the first tile: the median of some calls.

    position: [chains, dim], from where each call goes, with momenta drawn anew.
    step_size: [chains].
    scale: [1 or chains, ...], the metric's: see `metric`.

    A call's arguments are sent to the device beforehand, and its time ends when the
    number of its turns is back.
    """
    chains, tile = kernel.num_chains, kernel.tiles[0]
    size = len(tile.numbers)
    scale = np.broadcast_to(scale, (chains, *scale.shape[1:]))
    state = starts.evaluate_start(kernel, position, scale=scale, seed=seed)
    position, log_prob, grad = (
        pad(np.asarray(part, dtype)[tile.chains], size)
        for part, dtype in zip(
            state, (kernel.dtype, kernel.log_prob_dtype, kernel.dtype), strict=True
        )
    )
    step = constant(step_size, chains)
    loop = loop_state.begin(
        kernel.empty_loop(size),
        position,
        log_prob,
        grad,
        StepSize(*(pad(part[tile.chains], size) for part in step)),
        np.zeros(size, np.int32),
    )
    of_tile = pad(np.asarray(scale, kernel.dtype)[tile.chains], size)
    many = np.int32(2**30)
    setting = Setting(
        chains=tile.numbers,
        num_draws=many,
        until=many,
        max_depth=np.int32(kernel.max_depth),
        max_turns=np.int32(turns),
        adapting=np.bool_(False),
        target_accept=np.float64(0.8),
        scale=np.ascontiguousarray(of_tile.T if of_tile.ndim == 2 else of_tile),
    )
    first = np.zeros(size, np.int32)
    numbers = kernel.numbers(seed, tile.numbers, first, kernel.rows)
    jax.block_until_ready(list(numbers))
    seconds: list[float] = []
    for _ in range(calls + 1):
        began = time.perf_counter()
        done = kernel.transitions(loop, setting, numbers)
        made = int(np.asarray(done.turns))  # waits for the device
        took = time.perf_counter() - began
        seconds.append(took / made)
        if took > LONGEST:
            break
    return float(np.median(seconds[1:] or seconds))
