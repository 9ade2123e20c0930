"""A case of a constructor: its arguments, and values to look at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# Distances from a centre or an edge, in units of the scale.
DISTANCES = 10.0 ** np.arange(-3.0, 3.01, 0.5)


class Values(NamedTuple):
    """Points of the support, and how far each is from its centre or edge."""

    points: np.ndarray  # [points, *event]
    distances: np.ndarray  # [points]
    is_count: bool = False


class Case(NamedTuple):
    """How to make a constructor's variables, and values to look at."""

    arguments: dict[str, Any]  # the continuous ones, each with a gradient
    values: Values
    fixed: dict[str, Any] = {}  # the others
    # (**arguments with a batch dimension in front) -> all arguments
    make: Callable[..., dict[str, Any]] | None = None
    density: Callable[..., Any] | None = None  # NumPy (x, **arguments) -> log density
    has_value_gradient: bool = True  # False: of counts and of curved supports
    is_latent: bool | None = None  # None: unless its values are counts
    latent_size: int | None = None  # coordinates, where not those of a value
    # other values of an argument in place of the default, each with its distance
    sweep: dict[str, list[tuple[float, Any]]] = {}


def around(centre: float = 0.0, scale: float = 1.0) -> Values:
    """Both sides of a centre."""
    points = [centre - scale * DISTANCES, centre + scale * DISTANCES]
    return Values(np.concatenate(points), np.tile(DISTANCES, 2))


def above(low: float = 0.0, scale: float = 1.0) -> Values:
    """Above an edge."""
    return Values(low + scale * DISTANCES, DISTANCES)


def between(low: float = 0.0, high: float = 1.0) -> Values:
    """Inside two edges."""
    near = DISTANCES[DISTANCES < 0.5]
    points = [low + (high - low) * near, high - (high - low) * near]
    return Values(np.concatenate(points), np.tile(near, 2))


def along(direction: Any, centre: Any = 0.0) -> Values:
    """Vectors or matrices on both sides of a centre."""
    steps = np.concatenate([-DISTANCES, DISTANCES])
    direction = np.asarray(direction, float)
    points = centre + steps.reshape((-1,) + (1,) * direction.ndim) * direction
    return Values(points, np.tile(DISTANCES, 2))


def counts(up_to: int = 1000, least: int = 0) -> Values:
    """Whole numbers."""
    numbers = np.array([0, 1, 2, 3, 5, 10, 30, 100, 300, 1000], float)
    numbers = numbers[(numbers <= up_to) & (numbers >= least)]
    return Values(numbers, np.ones_like(numbers), is_count=True)


def these(*points: Any) -> Values:
    """Listed values."""
    return Values(np.array(points, float), np.ones(len(points)), is_count=True)


def shifted(start: float, sign: float = 1.0) -> list[tuple[float, Any]]:
    """Other values of an argument, on one side of a number."""
    return [(d, start + sign * d) for d in DISTANCES]


def listed(*others: float) -> list[tuple[float, Any]]:
    """Other values of an argument."""
    return [(1.0, other) for other in others]


def simplex(k: int = 3) -> Values:
    """Parts of 1, the first or the second of them small."""
    near = DISTANCES[DISTANCES < 0.5]
    rest = np.arange(1.0, k) / np.arange(1.0, k).sum()
    small = np.concatenate([near[:, None], (1.0 - near)[:, None] * rest[None]], axis=1)
    small = np.round(small * 2.0**22) / 2.0**22  # so that float32 holds their sum
    small[:, -1] = 1.0 - small[:, :-1].sum(-1)
    return Values(np.concatenate([small, small[:, ::-1]]), np.tile(near, 2))


def matrices(matrix: Any) -> Values:
    """Multiples of a positive definite matrix."""
    matrix = np.array(matrix, float)
    return Values(DISTANCES[:, None, None] * matrix, DISTANCES)
