"""What turns' processes share: a task in, a result out, and steps by the clock."""

import json
import math
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.problems import AdamSettings, Training, Unavailable
from experiments.engines import selection
from experiments.engines.manual_placement import Placement
from experiments.training import loop as optimize
from experiments.training import optimizers, topology
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, num_parameters

COMPARED_STEPS = 3  # whose losses are told; the first is before any update
NUM_BATCHES = 4  # that steps go round in: made before the clock runs
OURS_NOTE = "the traced program, stepped and fed by the runtime"

Task = dict[str, Any]


def run(modes: Mapping[str, Callable[[Task], dict[str, Any]]], task: Task) -> Any:
    """What the task's mode gives, with status "ok", or why it gives nothing."""
    try:
        return {"status": "ok"} | modes[task["mode"]](task)
    except Unavailable as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        return {"status": "failed", "reason": f"{type(error).__name__}: {text}"[:300]}


def probe(task: Task) -> dict[str, Any]:
    """Flops a second of square matrix products on all threads."""
    peak = optimize.peak_matmul_flops(["CPU:0"], "float32")
    return {"work": {"matmul_flops_per_second": peak}}


def ours(
    model: Model,
    adam: AdamSettings,
    seed: int,
    name: str,
    *,
    mesh: str = "batch:1",
    placement: Placement | None = None,
    before: Callable[[Engine, Mapping[str, np.ndarray]], None] | None = None,
) -> Training:
    """The program's training by the runtime.

    name: of the batch's one array.
    before: called with the runtime and the batch of the first step, before it.
    """
    optimizer = optimizers.adam(
        optimizers.constant_schedule(adam.rate),
        beta1=adam.beta1,
        beta2=adam.beta2,
        epsilon=adam.epsilon,
    )
    runtime = selection.make_engine(
        model,
        optimizer,
        topology.parse(mesh),
        StepSettings(),
        device_type="CPU",
        placement=placement,
    )
    runtime.initialize(seed)
    number = 0

    def step(array: np.ndarray) -> float:
        nonlocal number
        if number == 0 and before is not None:
            before(runtime, {name: array})
        loss = runtime.step({name: array}, number, seed)["loss"]
        number += 1
        return float(loss)

    def weights() -> dict[str, np.ndarray]:
        kept = runtime.read_variables()
        return {name: kept[f"weights/{name}"] for name in model.weights}

    return Training(step, weights)


def trained(
    task: Task,
    model: Model,
    source: str,
    note: str,
    prepare: Callable[[], Training],
    batches: list[np.ndarray],
) -> dict[str, Any]:
    """The result of a turn of `steps`.

    source: of the data that the batches are of.
    """
    seconds, losses = steps(task, prepare, batches)
    nats_of_bit = math.log(2) * model.dims_per_example
    return {
        "note": note,
        "model": model.name,
        "source": source,
        "seconds": seconds,
        "work": {
            "examples": [task["batch"]] * len(seconds["calls"]),
            "flops": model.flops_per_example * task["batch"],
            "parameters": num_parameters(model),
            "max_rss_bytes": _max_rss_bytes(),
        },
        "bits_per_dim": [loss / nats_of_bit for loss in losses],
    }


def _max_rss_bytes() -> int:
    """The most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024  # of what is told, in bytes
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def steps(
    task: Task, prepare: Callable[[], Training], batches: list[Any]
) -> tuple[dict[str, Any], list[float]]:
    """Seconds of a training's making, first step and later ones; and its first losses.

    A step is from a batch in NumPy until its loss is known.  After those compared they
    are repeated for the task's `min_seconds`, and at least `min_calls` times.
    """
    began = time.perf_counter()
    training = prepare()
    build = time.perf_counter() - began
    taken = 0

    def step() -> float:
        nonlocal taken
        loss = training.step(batches[taken % len(batches)])
        if not math.isfinite(loss):
            raise ValueError(f"step {taken}: the loss is {loss}")
        taken += 1
        return loss

    began = time.perf_counter()
    losses = [step()]
    first = time.perf_counter() - began
    losses += [step() for _ in range(1, COMPARED_STEPS)]
    calls: list[float] = []
    while sum(calls) < task["min_seconds"] or len(calls) < task["min_calls"]:
        began = time.perf_counter()
        step()
        calls.append(time.perf_counter() - began)
    return {"build": build, "first": first, "calls": calls}, losses


def main(
    modes: Mapping[str, Callable[[Task], dict[str, Any]]],
    task_path: str,
    result_path: str,
) -> None:
    """Runs the task of one file and writes its result to another."""
    task = json.loads(Path(task_path).read_text())
    result = run(modes, task)
    Path(result_path).write_text(json.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: freeing all that TensorFlow holds takes a second, and nobody needs it.
    os._exit(1 if result["status"] == "failed" else 0)
