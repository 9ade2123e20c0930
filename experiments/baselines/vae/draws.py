"""Hands each of a baseline's steps the random numbers that our program draws in it."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Draws = Callable[[int], Mapping[str, np.ndarray]]  # step number -> arrays by name


def step_with_draws(
    step: Callable[..., Any], draws: Draws
) -> Callable[[np.ndarray], float]:
    """`step`, a function of examples and draws by name, as one of examples alone."""
    numbers = itertools.count()
    return lambda examples: float(step(examples, **draws(next(numbers))))
