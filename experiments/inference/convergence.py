"""Whether the ELBO still rises, judged by its own noise."""

import numpy as np

BATCHES = 10  # of a part of the run, whose means give its standard error
MOST_ERRORS = 2.0  # of its standard errors that a rise may be


def has_converged(history: np.ndarray, window: int) -> bool:
    """Whether the ELBO of the last two windows is no higher than of the two before.

    history: estimates of the ELBO, in order.
    window: how many of them are one.

    A rise of up to two standard errors is taken for noise.  False while there are fewer
    than four windows, or fewer than 20 estimates in two.
    """
    num = 2 * window
    if len(history) < 2 * num or num < 2 * BATCHES:
        return False
    last, before = history[-num:], history[-2 * num : -num]
    rise = last.mean() - before.mean()
    error = np.hypot(standard_error(last), standard_error(before))
    return bool(rise <= MOST_ERRORS * error)


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean of a series, by the means of its batches."""
    size = len(values) // BATCHES
    if size == 0:
        return float("nan")
    means = values[len(values) - size * BATCHES :].reshape(BATCHES, size).mean(axis=1)
    return float(means.std(ddof=1) / np.sqrt(BATCHES))
