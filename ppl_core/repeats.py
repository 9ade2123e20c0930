"""Finds programs that compute with other numbers each time that they are traced."""

import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ppl_core.gradients import all_nodes

_WANTED = (
    "wanted a random variable, such as ppl.Normal(0.0, 1.0, name=...), or numbers "
    "drawn outside the program"
)


def traced_twice(trace: Callable[[], Any], label: str) -> Any:
    """The concrete function that `trace` returns, and returns alike again.

    Numbers that NumPy or Python draw in a program are constants of its graph.  They
    differ between two traces, as of two chains and of four.

    label: the program, in errors.

    Raises ValueError if the constants of a second trace differ, and if the first one
    draws from the global generator of NumPy or of Python.
    """
    before = _states()
    traced = trace()
    after = _states()
    for name, state in before.items():
        if state != after[name]:
            raise ValueError(
                f"{label}: given numbers drawn by {name} inside the program, which "
                f"would be other constants in each trace; {_WANTED}"
            )
    if _constants(traced.graph) != _constants(trace().graph):
        raise ValueError(
            f"{label}: given numbers that differ between two runs of the program, as "
            f"those of np.random.default_rng or of a clock do; {_WANTED}"
        )
    return traced


def _states() -> dict[str, bytes]:
    """The states of the global generators, by how they are called."""
    return {
        "np.random": pickle.dumps(np.random.get_state(legacy=False)),
        "Python's random": pickle.dumps(random.getstate()),
    }


def _constants(graph: tf.Graph) -> list[int]:
    """A hash of each constant of the graph and of the functions that it calls."""
    return sorted(
        hash(node.attr["value"].tensor.SerializeToString(deterministic=True))
        for node in all_nodes(graph)
        if node.op == "Const"
    )
