"""Variational inference: a guide's parameters by stochastic gradients of the ELBO."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.inference import elbo, fit_store, xla_options
from experiments.inference.ascent import (
    BLOCK,
    CAPACITY,
    Advance,
    Rate,
    State,
    begin,
    compile_ascent,
    numbers_at,
    to_params,
)
from experiments.inference.convergence import has_converged, standard_error
from experiments.inference.drawing import seed_pair
from experiments.inference.elbo import Objective
from experiments.inference.fit import Fit
from experiments.inference.guides import Guide, mean_field
from experiments.inference.settings import check_count, suggesting

FIRST_STEPS = BLOCK  # of the first call, whose time is XLA's compilation
WINDOWS = 10  # of a run: parameters are averaged over the last
CALL_SECONDS = 0.5  # that a call is to take
SAVE_SECONDS = 5.0  # between two saves


class Progress(NamedTuple):
    """How far a run is, for a line or a plot."""

    num_done: int
    num_steps: int
    elbo: float  # mean of the estimates since the last report
    elbo_error: float  # its standard error
    steps_per_second: float
    seconds_left: float


@suggesting
def fit_vi(
    posterior: Any,
    guide: Any = None,
    *,
    num_steps: int = 5000,
    num_samples: int = 1,
    learning_rate: float | Callable[[tf.Tensor], tf.Tensor] = 0.01,
    seed: int = 0,
    rows: Sequence[str] | None = None,
    batch_size: int | None = None,
    until_converged: bool = False,
    run_dir: Path | str | None = None,
    on_progress: Callable[[Progress], Any] | None = None,
    jit_compile: bool = True,
) -> Fit:
    """Fits a guide to a posterior by gradient ascent of the ELBO, with Adam.

    posterior: of `ppl.posterior`.
    guide: of `mean_field` (the default), `full_rank`, `low_rank` or `program_guide`.
    num_samples: draws of the guide that each step averages over.
    learning_rate: Adam's, a number or a function of the step's number, which is a
      scalar tensor from 0 on.
    rows, batch_size: for steps on minibatches: the arguments and data whose first axis
      is that of rows, by name, and how many rows each step takes.  See
      `minibatch.batches`.
    until_converged: whether to stop before `num_steps` when the ELBO has converged.
    run_dir: a folder where the run is saved every few seconds, and goes on from.  What
      it finds is bit for bit what an uninterrupted run does.
    on_progress: is told about twice a second how far the run is; returning True ends
      the run there.
    jit_compile: whether XLA compiles the loop.

    The ELBO is computed at every tenth step.  The parameters found are the mean over
    the last tenth of the steps, which averages out Adam's noise (Polyak & Juditsky
    1992).  The same seed gives the same fit.

    Raises ValueError, naming it, for a parameter out of range, for a guide that does
    not fit the posterior, for another run's folder, and where the ELBO or its gradient
    is not finite, with the variable whose term it is.

    >>> def model():
    ...     mu = ppl.Normal(0.0, 1.0, name="mu")
    ...     return ppl.Normal(mu, 1.0, name="y")
    >>> posterior = ppl.posterior(model, observed={"y": 1.0})
    >>> fit = fit_vi(posterior, num_steps=1000, num_samples=4, learning_rate=0.05)
    >>> round(fit.elbo, 1), fit.draws(100)["posterior/mu"].shape
    (-1.5, (1, 100))
    """
    objective, rate, root = _checked(
        posterior,
        guide,
        num_steps=num_steps,
        num_samples=num_samples,
        learning_rate=learning_rate,
        seed=seed,
        rows=rows,
        batch_size=batch_size,
    )
    xla_options.read_options()
    window = max(1, num_steps // WINDOWS // BLOCK) * BLOCK
    advance = compile_ascent(objective, rate, jit_compile)
    state = begin(objective)
    store = None
    if run_dir is not None:
        settings = {
            "seed": seed,
            "num_steps": num_steps,
            "num_samples": num_samples,
            "learning_rate": (
                "a function" if callable(learning_rate) else float(learning_rate)
            ),
            "rows": list(rows) if rows else None,
            "batch_size": batch_size,
            "until_converged": until_converged,
        }
        store = fit_store.Store(Path(run_dir), objective, settings)
        found = store.load()
        state = state if found is None else State(**found)
    began = time.perf_counter()
    state, build_seconds = _run(
        objective,
        advance,
        state,
        num_steps=num_steps,
        window=window,
        root=root,
        until_converged=until_converged,
        save=None if store is None else lambda state: store.save(state._asdict()),
        on_progress=on_progress,
    )
    return Fit(
        objective=objective,
        params=to_params(state.total / state.num_averaged, objective),
        history=state.history,
        converged=has_converged(state.history, window // BLOCK),
        num_steps=state.num_done,
        num_samples=num_samples,
        seed=seed,
        seconds=time.perf_counter() - began,
        build_seconds=build_seconds,
    )


def check(posterior: Any, guide: Any, **options: Any) -> None:
    """Raises ValueError as `fit_vi` does for arguments that do not fit."""
    options.pop("until_converged", None)
    _checked(posterior, guide, **options)


def _checked(
    posterior: Any,
    guide: Any,
    *,
    num_steps: int,
    num_samples: int,
    learning_rate: Any,
    seed: int,
    rows: Sequence[str] | None,
    batch_size: int | None,
) -> tuple[Objective, Rate, tf.Tensor]:
    """The objective, the rate and the root seed of a fit."""
    check_count("num_steps", num_steps)
    check_count("num_samples", num_samples)
    rate, root = _check_rate(learning_rate), seed_pair(seed)
    objective = to_objective(
        posterior, guide, num_samples=num_samples, rows=rows, batch_size=batch_size
    )
    return objective, rate, root


def to_objective(
    posterior: Any,
    guide: Any = None,
    *,
    num_samples: int = 1,
    rows: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> Objective:
    """The ELBO that `fit_vi` maximises.  Raises ValueError as it does."""
    if hasattr(guide, "alignment"):  # a program
        from experiments.inference import program_elbo

        if rows is not None or batch_size is not None:
            raise ValueError("rows: given with a guide program, wanted a built-in one")
        return program_elbo.of_program(posterior, guide, num_samples=num_samples)
    if not hasattr(posterior, "log_prob_and_grad"):
        raise ValueError(f"posterior: given {posterior!r}, wanted one of ppl.posterior")
    guide = mean_field(posterior) if guide is None else guide
    if not isinstance(guide, Guide):
        raise ValueError(
            f"guide: given {guide!r}, wanted one of mean_field, full_rank, low_rank or "
            "program_guide"
        )
    batches = None
    if rows is not None or batch_size is not None:
        if rows is None or batch_size is None:
            raise ValueError(
                f"rows: given {rows!r} and batch_size {batch_size!r}, wanted both"
            )
        from experiments.inference import minibatch

        batches = minibatch.batches(posterior, rows, batch_size)
    return elbo.of_guide(posterior, guide, num_samples=num_samples, batches=batches)


def _run(
    objective: Objective,
    advance: Advance,
    state: State,
    *,
    num_steps: int,
    window: int,
    root: tf.Tensor,
    until_converged: bool,
    save: Callable[[State], None] | None,
    on_progress: Callable[[Progress], Any] | None,
) -> tuple[State, float]:
    """The state after the last step, and the seconds of the first call."""

    def at_window(state: State) -> bool:
        # At the beginning of a window; the last ends with the run.
        behind = state.num_done - num_steps % window // BLOCK * BLOCK
        return behind % window == 0 and num_steps - state.num_done >= window

    def is_done(state: State) -> bool:
        if until_converged and at_window(state):
            return has_converged(state.history, window // BLOCK)
        return state.num_done == num_steps

    chunk, build_seconds = FIRST_STEPS, 0.0
    report = _reporter(on_progress, num_steps)
    saved = time.perf_counter()
    wants_end = False
    try:
        while not wants_end and not is_done(state):
            if at_window(state):
                state = state._replace(total=np.zeros_like(state.total), num_averaged=0)
            num = min(chunk, _to_next_window(state.num_done, num_steps, window))
            began = time.perf_counter()
            after = advance(state, num, root)
            seconds = time.perf_counter() - began
            build_seconds = build_seconds or seconds
            per_step = seconds / num
            _check_finite(objective, advance, state, after, root)
            state = after
            wants_end = report(state, per_step, is_done(state))
            # The first call, which compiles, tells little of the next.
            steps = min(CALL_SECONDS / per_step, 20 * num, CAPACITY)
            chunk = max(1, int(steps) // BLOCK) * BLOCK
            is_last = wants_end or is_done(state)
            if save is not None and (
                is_last or time.perf_counter() - saved > SAVE_SECONDS
            ):
                save(state)
                saved = time.perf_counter()
    except KeyboardInterrupt:
        if save is not None:
            save(state)
        raise
    return state, build_seconds


def _reporter(
    on_progress: Callable[[Progress], Any] | None, num_steps: int
) -> Callable[[State, float, bool], bool]:
    """Tells how far a run is, now and then; returns whether that ends the run."""
    reported, at_report = time.perf_counter(), 0

    def report(state: State, per_step: float, is_last: bool) -> bool:
        nonlocal reported, at_report
        now = time.perf_counter()
        if on_progress is None or not (is_last or now - reported > CALL_SECONDS):
            return False
        values = state.history[at_report:]
        reported, at_report = now, len(state.history)
        progress = Progress(
            state.num_done,
            num_steps,
            float(values.mean()) if len(values) else math.nan,
            standard_error(values),
            1.0 / per_step,
            per_step * (num_steps - state.num_done),
        )
        return on_progress(progress) is True

    return report


def _to_next_window(num_done: int, num_steps: int, window: int) -> int:
    """The steps until a window ends."""
    offset = num_steps % window // BLOCK * BLOCK
    end = num_done + (offset - num_done - 1) % window + 1
    return (end if num_steps - end >= window else num_steps) - num_done


def _check_finite(
    objective: Objective,
    advance: Advance,
    before: State,
    after: State,
    root: tf.Tensor,
) -> None:
    """Raises ValueError where the ELBO or the parameters are no longer finite."""
    first = len(before.history)
    wrong = np.flatnonzero(~np.isfinite(after.history[first:]))
    if not len(wrong) and np.isfinite(after.vector).all():
        return
    # The step whose estimate is not finite; or whose gradient was not, some before.
    num = after.num_done - before.num_done - 1
    if len(wrong):
        num = BLOCK * int(wrong[0])
    state = advance(before, num, root) if num else before
    while not np.isfinite(state.vector).all() and num:
        num -= 1
        state = advance(before, num, root) if num else before
    number = state.num_done
    params = to_params(tf.constant(state.vector), objective)
    found = objective.explain(params, numbers_at(objective, root, number))
    raise ValueError(
        f"ELBO: given numbers that are not finite at step {number}, by {found}, wanted "
        "finite ones; a smaller learning_rate or another start may help"
    )


def _check_rate(learning_rate: Any) -> Rate:
    if callable(learning_rate):
        return learning_rate
    is_number = isinstance(learning_rate, int | float | np.floating | np.integer)
    is_number = is_number and not isinstance(learning_rate, bool)
    if not is_number or not 0.0 < learning_rate < math.inf:
        raise ValueError(
            f"learning_rate: given {learning_rate!r}, wanted a finite number above 0, "
            "or a function of the step's number"
        )
    return lambda _: tf.constant(float(learning_rate), tf.float64)
