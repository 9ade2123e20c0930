"""A fit on disk: where it is, and what it is of."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference import saved
from experiments.inference.elbo import Objective

NAME = "fit.npz"
_IDENTITY = "identity"  # the array of the file that says so
_FIRST_ELBO = "first_elbo"  # tells data and program from others
TOLERANCE = 1e-6  # relative, of the first ELBO


class Store:
    """One file in a run's folder, written whole or not at all."""

    def __init__(
        self, folder: Path, objective: Objective, settings: Mapping[str, Any]
    ) -> None:
        """settings: what the fit depends on besides the objective."""
        self._path = folder / NAME
        params = tf.nest.map_structure(
            lambda part: tf.constant(part, objective.dtype), objective.params
        )

        @tf.function(autograph=False)
        def first_elbo() -> tf.Tensor:
            numbers = objective.numbers(tf.constant([0, 0]), 1)
            first = tf.nest.map_structure(lambda part: part[0], numbers)
            return objective.estimate(params, first)[0]

        shapes = [np.shape(part) for part in tf.nest.flatten(objective.params)]
        self._identity = json.loads(
            json.dumps(
                {
                    **settings,
                    "guide": objective.kind,
                    "variables": list(objective.estimators),
                    "parameters": shapes,
                    _FIRST_ELBO: float(first_elbo()),
                }
            )
        )

    def save(self, state: Mapping[str, Any]) -> None:
        """Writes the arrays of a state, in place of those before."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        identity = np.array(json.dumps(self._identity))
        saved.write(self._path, {**state, _IDENTITY: identity})

    def load(self) -> dict[str, Any] | None:
        """The arrays of the state that was saved last; None if there is none.

        Raises ValueError for a damaged file, and for the run of something else, with
        the differences.
        """
        if not self._path.exists():
            return None
        try:
            arrays: dict[str, Any] = saved.read(self._path)
            before = json.loads(str(arrays.pop(_IDENTITY)))
        except saved.DAMAGED as error:
            raise ValueError(
                f"{self._path.name}: damaged: {type(error).__name__}; to begin anew, "
                "remove it"
            ) from error
        now = self._identity
        differences = [
            f"{name} is {now.get(name)!r}, was {before.get(name)!r}"
            for name in sorted({*before, *now})
            if not _same(name, before.get(name), now.get(name))
        ]
        if differences:
            raise ValueError(
                f"run_dir: {self._path.parent.name}/{NAME} holds another fit: "
                + "; ".join(differences)
            )
        counts = {name: int(arrays[name]) for name in ("num_done", "num_averaged")}
        return {**arrays, **counts}


def _same(name: str, before: Any, now: Any) -> bool:
    if name != _FIRST_ELBO or before is None or now is None:
        return bool(before == now)
    both_nan = math.isnan(before) and math.isnan(now)
    return both_nan or math.isclose(before, now, rel_tol=TOLERANCE)
