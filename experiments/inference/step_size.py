"""The step size of each chain: what dual averaging keeps of it, and a first guess."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

SHRINK_TOWARDS = 10.0  # times the step size at which an adaptation begins

LOWEST = 1e-30  # float32 holds it with room for its product with a momentum
HIGHEST = 1e7  # Stan's too: only a flat density accepts more
SEARCH_ACCEPT = 0.8  # as Stan's, whatever the target
MAX_TRIALS = 128  # enough to go from one bound to the other


Array = Any  # a tensor within the compiled loop, or a NumPy array


class StepSize(NamedTuple):
    """The step size of each chain, and the dual averaging that adapts it."""

    value: Array  # [chains] float64, of the next transition
    log_average: Array  # [chains] float64, of the averaged step size
    error: Array  # [chains] float64, weighted mean of target - accept
    log_centre: Array  # [chains] float64, what the step size shrinks towards
    updates: Array  # [chains] float64, updates so far


def begin(step_size: np.ndarray) -> StepSize:
    """Adaptation that begins at `step_size` [chains], and shrinks towards 10 times it.

    Raises ValueError for a step size out of bounds.
    """
    value = np.array(step_size, np.float64)
    bad = ~((value >= LOWEST) & (value <= HIGHEST))
    if bad.any():
        chain = int(np.argmax(bad))
        raise ValueError(
            f"step_size: given {value[chain]} for chain {chain}, wanted {LOWEST} to "
            f"{HIGHEST}"
        )
    zeros = np.zeros_like(value)
    centre = np.log(SHRINK_TOWARDS * value)
    return StepSize(value, np.log(value), zeros, centre, zeros)


def constant(step_size: Any, num_chains: int) -> StepSize:
    """A step size that stays as it is, of any value; one number, or [chains]."""
    zeros = np.zeros(num_chains)
    return StepSize(zeros + step_size, zeros, zeros, zeros, zeros)


def final(step: StepSize) -> np.ndarray:
    """The averaged step size, for the draws to keep: [chains] float64.

    It is the one in use where nothing has been averaged.

    As Stan's, it is smaller than the step size of the target's acceptance after few
    updates. What comes to the target is the mean acceptance of the step sizes tried.
    These scatter, and acceptance falls the faster the larger the step, so that their
    logarithms' mean has a higher one: on N(0, I) in 10 dimensions with target 0.8, the
    last phase of 50 draws finds 0.79 of that step size, and an acceptance of 0.88. The
    mean of the step sizes themselves is nearer, 0.91 of it; but then draws of eight
    schools diverge which with Stan's do not.
    """
    averaged = np.exp(np.asarray(step.log_average))
    return np.where(np.asarray(step.updates) > 0, averaged, np.asarray(step.value))


class Search(NamedTuple):
    """What a step-size search found."""

    step_size: np.ndarray  # [chains] float64
    crossed: np.ndarray  # [chains] bool; False: no step size has such an acceptance
    trials: int  # leapfrogs of each chain


def search(trial: Callable[[np.ndarray, int], np.ndarray], first: np.ndarray) -> Search:
    """Step sizes near which one leapfrog is accepted with probability 0.8.

    Each chain's step size, from `first` [chains] on, is doubled while its leapfrog is
    accepted with a higher probability, or else halved while with a lower one, between
    the bounds LOWEST and HIGHEST.

    trial: the acceptance probabilities [chains] of one leapfrog with the step sizes
      [chains] given, and momenta drawn anew for each trial's number, from 0.  NaN
      counts as 0.

    Hoffman & Gelman (2014), algorithm 4; init_stepsize of Stan's base_hmc.hpp, which
    draws the momenta anew and compares with 0.8.
    """
    value = np.clip(np.asarray(first, np.float64), LOWEST, HIGHEST)
    crossed = np.zeros(value.shape, bool)
    at_bound = np.zeros(value.shape, bool)
    growing = np.zeros(value.shape, bool)
    number = 0
    while number < MAX_TRIALS and not np.all(crossed | at_bound):
        accept = np.nan_to_num(np.asarray(trial(value, number), np.float64), nan=0.0)
        above = accept > SEARCH_ACCEPT
        if number == 0:
            growing = above
        else:
            crossed |= ~at_bound & (above != growing)
        number += 1
        going = ~(crossed | at_bound)
        new = np.where(growing, 2 * value, value / 2)
        outside = (new < LOWEST) | (new > HIGHEST)
        at_bound |= going & outside
        value = np.where(going & ~outside, new, value)
    return Search(value, crossed, number)
