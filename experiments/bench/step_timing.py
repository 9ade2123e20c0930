"""Training steps timed in a benchmark's process."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.bench.problems import AdamSettings
from experiments.engines import selection
from experiments.engines.manual_placement import Placement
from experiments.training import optimizers, topology
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model

COMPARED_STEPS = 3  # whose losses are compared; the first is before any update

Task = dict[str, Any]


def make_engine(
    model: Model, adam: AdamSettings, mesh: str, placement: Placement | None = None
) -> Engine:
    """The engine that the project chooses for a mesh."""
    optimizer = optimizers.adam(
        adam.rate, beta1=adam.beta1, beta2=adam.beta2, epsilon=adam.epsilon
    )
    return selection.make_engine(
        model,
        optimizer,
        topology.parse(mesh),
        StepSettings(),
        device_type="CPU",
        placement=placement,
    )


def stepper(engine: Engine, seed: int) -> Callable[[Mapping[str, np.ndarray]], float]:
    """A function that takes the engine's next step and returns its loss."""
    engine.initialize(seed)
    number = 0

    def step(batch: Mapping[str, np.ndarray]) -> float:
        nonlocal number
        loss = engine.step(batch, number, seed)["loss"]
        number += 1
        return float(loss)

    return step


def time_steps(
    prepare: Callable[[], Callable[[int], float]],
    *,
    min_seconds: float,
    min_calls: int,
    num_calls: int = 0,
    barrier: Callable[[str], None] = lambda name: None,
) -> tuple[dict[str, Any], list[float]]:
    """Seconds of the build, the first step and the later ones; and the first losses.

    prepare: returns the step, a function from its number to its loss as a float: a step
      ends when its loss is known.
    num_calls: how many steps are timed; 0 for as many as take `min_seconds`, and at
      least `min_calls`.
    barrier: called before and after the timed steps, with a name.

    Raises ValueError when a loss is not finite.
    """
    begin = time.perf_counter()
    take_step = prepare()
    build = time.perf_counter() - begin

    def step(number: int) -> float:
        loss = take_step(number)
        if not math.isfinite(loss):
            raise ValueError(f"step {number}: the loss is {loss}")
        return loss

    begin = time.perf_counter()
    losses = [step(0)]
    first = time.perf_counter() - begin
    losses += [step(number) for number in range(1, COMPARED_STEPS)]
    barrier("ready")
    calls: list[float] = []

    def is_done() -> bool:
        if num_calls:
            return len(calls) >= num_calls
        return sum(calls) >= min_seconds and len(calls) >= min_calls

    while not is_done():
        begin = time.perf_counter()
        step(COMPARED_STEPS + len(calls))
        calls.append(time.perf_counter() - begin)
    barrier("done")
    return {"build": build, "first": first, "calls": calls}, losses
