"""Warm-up: starts, step sizes and metric found before the draws that are kept.

The driver runs the compiled kernel by the chunk. Between two chunks all that it knows
is a `WarmupState`, arrays only, from which another process goes on to the same draws.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.inference import metric, philox, starts, step_size
from experiments.inference.settings import check_count
from experiments.inference.step_size import StepSize
from experiments.inference.warmup_state import (
    Kernel,
    Warmup,
    WarmupSettings,
    WarmupState,
)
from experiments.inference.windows import Window, windows

FIRST_STEP_SIZE = 1.0  # where the first search begins, as Stan's
# Draws take the seeds of their own numbers, from 0; starts and searches those below.
STARTS_SEED = -1
SEARCH_SEED = -2  # of the first search, -3 of the second ...


def begin(
    kernel: Kernel,
    settings: WarmupSettings,
    *,
    seed: np.ndarray,
    start: np.ndarray | None = None,
    posterior: Any = None,
) -> WarmupState:
    """The state before the first draw: starts found, step sizes searched.

    seed: [2] int32, also that of the draws.
    start: vectors [chains, dim]; None for uniform(-2, 2) with retries.
    posterior: with `names` and `sizes` of its variables, for errors.

    Raises ValueError where a chain cannot start, where no step size is acceptable or
    every one is, as with an improper posterior, and for a gradient-informed metric with
    a kernel that keeps no gradients.
    """
    began = time.perf_counter()
    if settings.metric == "gradient" and not kernel.keep_grads:
        raise ValueError(
            "metric: given 'gradient' and a kernel without gradients of its draws, "
            "wanted one with keep_grads"
        )
    chains, dim = kernel.num_chains, kernel.dim
    pooled = settings.pools(chains)
    scale = metric.to_scale(settings.inverse_mass, settings.metric, chains, dim)
    if not pooled:
        scale = np.broadcast_to(scale, (chains, *scale.shape[1:]))
    found = _find_starts(kernel, settings, seed, start, posterior)
    first = np.full(chains, settings.step_size or FIRST_STEP_SIZE)
    num = sum(window.estimates_metric for window in windows(settings.num_warmup)) + 1
    counts = np.zeros(chains, np.int64)
    state = WarmupState(
        num_done=np.array(0),
        position=found.position,
        log_prob=found.log_prob,
        grad=found.grad,
        step=_arrays(step_size.begin(first)),
        scale=scale,
        moments=metric.no_moments(settings.metric, chains, dim, pooled=pooled),
        step_sizes=np.full((num, chains), np.nan),
        scales=np.full((num, *scale.shape), np.nan),
        leapfrogs=counts,
        divergences=counts,
        other_gradients=np.array(found.evaluations),
        seconds=np.array(0.0),
    )
    if settings.num_warmup:
        state = _search(kernel, settings, seed, state, 0)
    state = _record(state, 0)
    return state._replace(seconds=np.array(time.perf_counter() - began))


def advance(
    kernel: Kernel,
    settings: WarmupSettings,
    state: WarmupState,
    *,
    seed: np.ndarray,
    chunk_size: int,
    posterior: Any = None,
) -> tuple[WarmupState, Any]:
    """The state after at most `chunk_size` draws more, and these draws.

    A chunk ends where its window does; the metric and the step sizes of the next window
    are then found.  The state does not depend on the chunks' sizes.

    Raises ValueError when all draws are done, and when a chain's position, log prob,
    step size or metric runs off to infinity, as with an improper posterior.
    """
    began = time.perf_counter()
    window, number = _window(settings, int(state.num_done))
    check_count("chunk_size", chunk_size)
    num = min(chunk_size, window.end - int(state.num_done))
    (position, log_prob, grad), step, draws = kernel.run(
        (state.position, state.log_prob, state.grad),
        first_draw=int(state.num_done),
        num_draws=num,
        step=state.step,
        scale=_of_chains(state.scale, kernel),
        max_depth=settings.max_depth,
        adapting=True,
        target_accept=settings.target_accept,
        seed=seed,
    )
    moments = state.moments
    if window.estimates_metric:
        grads = draws.grads if settings.metric == "gradient" else draws.draws
        moments = metric.add_draws(moments, draws.draws, grads)
    state = state._replace(
        num_done=np.asarray(state.num_done + num),
        position=np.asarray(position),
        log_prob=np.asarray(log_prob),
        grad=np.asarray(grad),
        step=_arrays(step),
        moments=moments,
        leapfrogs=state.leapfrogs + np.sum(draws.leapfrogs, axis=1, dtype=np.int64),
        divergences=state.divergences + np.sum(draws.diverged, axis=1, dtype=np.int64),
    )
    _check_finite(state, kernel, posterior)
    if state.num_done == window.end:
        _check_step_sizes(state, kernel)
        if window.estimates_metric:
            state = _next_metric(kernel, settings, seed, state, number, posterior)
    seconds = state.seconds + time.perf_counter() - began
    return state._replace(seconds=np.asarray(seconds)), draws


def result(settings: WarmupSettings, state: WarmupState) -> Warmup:
    """What the warm-up found.  Raises ValueError when it has draws still to make."""
    if state.num_done != settings.num_warmup:
        raise ValueError(
            f"state: given after {state.num_done} draws, wanted after num_warmup, "
            f"{settings.num_warmup}"
        )
    ends = [w.end for w in windows(settings.num_warmup) if w.estimates_metric]
    return Warmup(
        step_size=step_size.final(state.step),
        inverse_mass=metric.to_inverse_mass(state.scale),
        scale=state.scale,
        position=state.position,
        log_prob=state.log_prob,
        grad=state.grad,
        first_draws=np.array([0, *ends]),
        step_sizes=state.step_sizes,
        inverse_masses=np.stack([metric.to_inverse_mass(s) for s in state.scales]),
        leapfrogs=state.leapfrogs,
        divergences=state.divergences,
        other_gradients=int(state.other_gradients),
        seconds=float(state.seconds),
    )


def warm_up(
    kernel: Kernel,
    settings: WarmupSettings,
    *,
    seed: np.ndarray,
    chunk_size: int,
    start: np.ndarray | None = None,
    posterior: Any = None,
) -> Warmup:
    """The whole warm-up at once: see `begin` and `advance`, which raise ValueError."""
    state = begin(
        kernel,
        settings,
        seed=seed,
        start=start,
        posterior=posterior,
    )
    while state.num_done < settings.num_warmup:
        state, _ = advance(
            kernel,
            settings,
            state,
            seed=seed,
            chunk_size=chunk_size,
            posterior=posterior,
        )
    return result(settings, state)


def drawn_starts(
    seed: np.ndarray, *, num_chains: int, dim: int, first_chain: int = 0
) -> np.ndarray:
    """Where chains start that are not told where, unless they cannot: [chains, dim]."""
    seed = philox.fold_in(seed, STARTS_SEED)
    return starts.draw_positions(
        seed, 0, num_chains=num_chains, dim=dim, first_chain=first_chain
    )


def _find_starts(
    kernel: Kernel,
    settings: WarmupSettings,
    seed: np.ndarray,
    start: np.ndarray | None,
    posterior: Any,
) -> starts.Starts:
    """Starts that the kernel has evaluated, given or drawn."""
    chains, dim, first = kernel.num_chains, kernel.dim, kernel.first_chain
    seed = philox.fold_in(seed, STARTS_SEED)
    scale = _of_chains(np.ones((1, dim)), kernel)
    if settings.metric == "dense":
        scale = _of_chains(np.eye(dim)[np.newaxis], kernel)

    def evaluate(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, log_prob, grad = starts.evaluate(kernel, position, scale=scale, seed=seed)
        return np.asarray(log_prob), np.asarray(grad)

    def explain(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_prob, grad = kernel.density_at(position[0])
        return log_prob[np.newaxis], grad[np.newaxis]

    options: dict[str, Any] = dict(
        first_chain=first, variables=_variables(posterior), explain=explain
    )
    if start is None:
        return starts.find_starts(
            evaluate, seed=seed, num_chains=chains, dim=dim, **options
        )
    return starts.check_starts(evaluate, np.asarray(start), **options)


def _search(
    kernel: Kernel,
    settings: WarmupSettings,
    seed: np.ndarray,
    state: WarmupState,
    number: int,
) -> WarmupState:
    """The state with step sizes found anew, from the present ones on."""
    seed = philox.fold_in(seed, SEARCH_SEED - number)
    scale = _of_chains(state.scale, kernel)
    gradients = 0

    def trial(value: np.ndarray, trial_number: int) -> np.ndarray:
        nonlocal gradients
        _, _, draws = kernel.run(
            (state.position, state.log_prob, state.grad),
            first_draw=trial_number,
            num_draws=1,
            step=step_size.begin(value),
            scale=scale,
            max_depth=1,  # one step, whose acceptance is the transition's
            adapting=False,
            target_accept=settings.target_accept,
            seed=seed,
        )
        gradients += int(np.max(draws.leapfrogs))
        return np.asarray(draws.accept)[:, 0]

    found = step_size.search(trial, np.asarray(state.step.value))
    if not found.crossed.all():
        chain = int(np.argmin(found.crossed))
        where = f"chain {kernel.first_chain + chain} after draw {state.num_done}"
        if found.step_size[chain] > 1:
            raise ValueError(
                f"posterior: leapfrogs of {where} are accepted at every step size up "
                f"to {step_size.HIGHEST:g}, wanted a proper posterior: some variable "
                "may have no prior"
            )
        raise ValueError(
            f"posterior: leapfrogs of {where} are rejected at every step size down to "
            f"{step_size.LOWEST:g}, wanted a continuous log prob and its gradient"
        )
    return state._replace(
        step=_arrays(step_size.begin(found.step_size)),
        other_gradients=np.asarray(state.other_gradients + gradients),
    )


def _next_metric(
    kernel: Kernel,
    settings: WarmupSettings,
    seed: np.ndarray,
    state: WarmupState,
    number: int,
    posterior: Any,
) -> WarmupState:
    """The state with the metric of a window's draws, and what begins with it."""
    chains, pooled = kernel.num_chains, settings.pools(kernel.num_chains)
    kind = settings.metric
    scale = metric.estimate(state.moments, kind, state.scale, pooled=pooled)
    _check_spread(scale, kernel, state, posterior)
    moments = metric.no_moments(kind, chains, kernel.dim, pooled=pooled)
    state = state._replace(scale=scale, moments=moments)
    return _record(_search(kernel, settings, seed, state, number), number)


def _record(state: WarmupState, number: int) -> WarmupState:
    """The state with its step sizes and metric recorded as those of window `number`."""
    step_sizes, scales = state.step_sizes.copy(), state.scales.copy()
    step_sizes[number], scales[number] = np.asarray(state.step.value), state.scale
    return state._replace(step_sizes=step_sizes, scales=scales)


def _window(settings: WarmupSettings, num_done: int) -> tuple[Window, int]:
    """The window of draw `num_done`, and the number of its metric once it ends."""
    number = 0
    for window in windows(settings.num_warmup):
        number += window.estimates_metric
        if num_done < window.end:
            return window, number
    raise ValueError(
        f"state: given after all of num_warmup, {settings.num_warmup} draws, wanted "
        "one with draws still to make"
    )


def _check_finite(state: WarmupState, kernel: Kernel, posterior: Any) -> None:
    """Raises ValueError where a chain has come to a point that it cannot go on from."""
    usable = starts.usable(state.log_prob, state.grad)
    usable &= np.isfinite(state.position).all(axis=-1)
    if not usable.all():
        chain = int(np.argmin(usable))
        lost = ~np.isfinite(state.position[chain]) | ~np.isfinite(state.grad[chain])
        names = starts.variables_of(lost, _variables(posterior))
        raise ValueError(
            f"posterior: chain {kernel.first_chain + chain} came to log prob "
            f"{state.log_prob[chain]} by draw {state.num_done}, and to infinite or NaN "
            f"values or gradients of {names or 'no variable'}, wanted finite ones"
        )


def _check_step_sizes(state: WarmupState, kernel: Kernel) -> None:
    """Raises ValueError where a window ends with leapfrogs of any size accepted."""
    endless = np.asarray(state.step.value) > 0.99 * step_size.HIGHEST
    if endless.any():
        chain = int(np.argmax(endless))
        raise ValueError(
            f"posterior: the step size of chain {kernel.first_chain + chain} grew to "
            f"{step_size.HIGHEST:g} by draw {state.num_done}, wanted a proper "
            "posterior: some variable may have no prior"
        )


def _check_spread(
    scale: np.ndarray, kernel: Kernel, state: WarmupState, posterior: Any
) -> None:
    """Raises ValueError where draws spread without bounds."""
    variances = scale**2 if scale.ndim == 2 else np.sum(scale**2, axis=-1)
    endless = variances > 0.99 * metric.HIGHEST
    if endless.any():
        names = starts.variables_of(endless.any(axis=0), _variables(posterior))
        raise ValueError(
            f"posterior: the variance of {names} grew to {metric.HIGHEST:g} by draw "
            f"{state.num_done}, wanted a proper posterior: some variable may have no "
            "prior"
        )


def _of_chains(scale: np.ndarray, kernel: Kernel) -> np.ndarray:
    return np.broadcast_to(scale, (kernel.num_chains, *scale.shape[1:]))


def _arrays(step: StepSize) -> StepSize:
    return StepSize(*(np.asarray(part) for part in step))


def _variables(posterior: Any) -> Mapping[str, int] | None:
    if posterior is None:
        return None
    return dict(zip(posterior.names, posterior.sizes, strict=True))
