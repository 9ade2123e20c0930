"""Starts as a user gives them: vectors, or values by the names of the variables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def given_positions(
    start: Mapping[str, Any] | Sequence[Any] | np.ndarray,
    *,
    num_chains: int,
    dim: int,
    posterior: Any = None,
    drawn: np.ndarray | None = None,
) -> np.ndarray:
    """Given starts as vectors: [chains, dim].

    start: vectors [chains, dim], or values by name on the constrained scale.  A value
      is one variable's, for all chains alike, or has a leading axis of chains; a scalar
      fills a variable of any shape.
    posterior: a `ppl.Posterior`, for values by name.
    drawn: [chains, dim], unconstrained: where variables that are not named start.
      None: every variable needs a value.

    Raises ValueError for another shape, an unknown or a missing name, values that are
    not finite, and values outside the variable's support.
    """
    if not isinstance(start, Mapping):
        try:
            vectors = np.asarray(start, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"start: given {start!r}, wanted numbers [{num_chains}, {dim}], or "
                "values by name"
            ) from error
        if vectors.shape != (num_chains, dim):
            raise ValueError(
                f"start: given shape {vectors.shape}, wanted [{num_chains}, {dim}], "
                "one vector a chain"
            )
        return vectors
    if posterior is None:
        raise ValueError(
            f"start: given values for {sorted(start)}, wanted vectors: a log prob "
            "function has no names"
        )
    missing = sorted(set(posterior.names) - start.keys())
    unknown = sorted(start.keys() - set(posterior.names))
    if unknown or (missing and drawn is None):
        raise ValueError(
            f"start: given values for {sorted(start)}, wanted them for "
            f"{sorted(posterior.names)}"
        )
    at = np.zeros((num_chains, dim)) if drawn is None else drawn
    values = {
        name: np.array(value)
        for name, value in posterior.constrain(tf.constant(at)).items()
        if name in posterior.names
    }
    for name, value in start.items():
        values[name] = _of_chains(name, value, values[name].shape)
    return np.asarray(posterior.unconstrain(values), np.float64)


def _of_chains(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The value of one variable for every chain, of `shape` [chains, ...]."""
    try:
        given = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"start: given {name!r} {value!r}, wanted numbers") from error
    if given.shape not in ((), shape[1:], shape):
        raise ValueError(
            f"start: given {name!r} of shape {given.shape}, wanted {shape[1:]}, or "
            f"{shape} for {shape[0]} chains"
        )
    if not np.isfinite(given).all():
        raise ValueError(f"start: given {name!r} {given}, wanted finite numbers")
    return np.broadcast_to(given, shape)
