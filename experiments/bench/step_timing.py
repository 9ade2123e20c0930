"""Training steps timed in a benchmark's process."""

import functools
import importlib
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.bench.problems import AdamSettings, Training
from experiments.engines import selection
from experiments.engines.manual_placement import Placement
from experiments.training import optimizers, timing, topology
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Weight, initial_weight, num_parameters

COMPARED_STEPS = 3  # whose losses are compared; the first is before any update
NUM_BATCHES = 4  # made before the clock starts; steps go through them again and again
OURS_NOTE = "the traced program, trained by this project's engine"

Task = dict[str, Any]


def probe(task: Task) -> dict[str, Any]:
    """The peak of square matrix products on all threads, in float32."""
    peak = timing.peak_matmul_flops(["CPU:0"], "float32")
    return {"work": {"matmul_flops_per_second": peak}}


def prepare_ours(
    model: Model,
    adam: AdamSettings,
    seed: int,
    name: str,
    *,
    mesh: str = "batch:1",
    placement: Placement | None = None,
    before: Callable[[Engine, Mapping[str, np.ndarray]], None] | None = None,
) -> Training:
    """The program's training by this project's engine.

    name: of the batch's one array.
    before: called with the engine and the first batch, before the first step.
    """
    optimizer = optimizers.adam(
        optimizers.constant_schedule(adam.rate),
        beta1=adam.beta1,
        beta2=adam.beta2,
        epsilon=adam.epsilon,
    )
    engine = selection.make_engine(
        model,
        optimizer,
        topology.parse(mesh),
        StepSettings(),
        device_type="CPU",
        placement=placement,
    )
    engine.initialize(seed)
    number = 0

    def step(array: np.ndarray) -> float:
        nonlocal number
        if number == 0 and before is not None:
            before(engine, {name: array})
        loss = engine.step({name: array}, number, seed)["loss"]
        number += 1
        return float(loss)

    def weights() -> dict[str, np.ndarray]:
        variables = engine.read_variables()
        return {name: variables[f"weights/{name}"] for name in model.weights}

    return Training(step, weights)


def initial_weights(weights: Mapping[str, Weight], seed: int) -> dict[str, np.ndarray]:
    """The arrays that all systems start from, by name."""
    return {name: initial_weight(w, name, seed) for name, w in weights.items()}


def time_training(
    task: Task,
    model: Model,
    data: Any,
    name: str,
    batches_of: Callable[..., Callable[[int], Mapping[str, np.ndarray]]],
    arguments: Callable[[dict[str, np.ndarray], AdamSettings], Sequence[Any]],
    **options: Any,
) -> dict[str, Any]:
    """The result of timing the training of the task's system.

    data: with its `source`.
    name: of the batch's one array.
    batches_of: from the data, a seed and a batch size to the batches by number.
    arguments: of a baseline's `prepare`, from the initial weights and Adam's settings;
      all are made before the clock starts.
    options: of `prepare_ours`.
    """
    batch = batches_of(data, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)[name] for number in range(NUM_BATCHES)]
    adam = AdamSettings(rate=task["learning_rate"])
    note = OURS_NOTE
    prepare = functools.partial(
        prepare_ours, model, adam, task["seed"], name, **options
    )
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        note = system.NOTE
        prepare = functools.partial(
            system.prepare,
            *arguments(initial_weights(model.weights, task["seed"]), adam),
            **task.get("variant", {}),
        )

    def make_step() -> Callable[[int], float]:
        training = prepare()
        return lambda number: training.step(batches[number % len(batches)])

    seconds, losses = time_steps(
        make_step, min_seconds=task["min_seconds"], min_calls=task["min_calls"]
    )
    nats_per_bit = math.log(2) * model.dims_per_example
    return {
        "note": note,
        "model": model.name,
        "source": data.source,
        "seconds": seconds,
        "work": {
            "examples": [task["batch"]] * len(seconds["calls"]),
            "flops": model.flops_per_example * task["batch"],
            "parameters": num_parameters(model),
            "max_rss_bytes": _max_rss_bytes(),
        },
        "bits_per_dim": [loss / nats_per_bit for loss in losses],
    }


def _max_rss_bytes() -> int:
    """The peak of this process's resident memory."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
