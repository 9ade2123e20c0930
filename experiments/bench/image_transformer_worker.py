"""One turn of the Image Transformer's benchmark, in a process of its own.

Reads a task, writes what it measured.
"""

import importlib
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import datasets
from experiments.datasets.images import training_batches
from experiments.image_transformer import Sizes, image_transformer, network, sampling
from experiments.image_transformer.program import draw_values, random_at
from experiments.inference import optimize
from experiments.parallel import engines, optimizers, topology
from experiments.parallel.model import Model, draw, num_parameters
from experiments.parallel.runtime import StepSettings
from experiments.problem import AdamSettings, Training, Unavailable

COMPARED_STEPS = 3  # whose losses are told; the first is before any update
NUM_BATCHES = 4  # that steps go round in: made before the clock runs
OURS_NOTE = "the traced program, stepped and fed by the runtime"


def run(task: dict[str, Any]) -> dict[str, Any]:
    """What the task's mode gives, with status "ok", or why it gives nothing."""
    modes = {"probe": probe, "train": train, "sample": sample, "naive": naive}
    try:
        return {"status": "ok"} | modes[task["mode"]](task)
    except Unavailable as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        return {"status": "failed", "reason": f"{type(error).__name__}: {text}"[:300]}


def probe(task: dict[str, Any]) -> dict[str, Any]:
    """Flops a second of square matrix products on all threads."""
    peak = optimize.matmul_peak(["CPU:0"], "float32")
    return {"work": {"matmul_flops_per_second": peak}}


def train(task: dict[str, Any]) -> dict[str, Any]:
    """Times a system's steps, each from images in NumPy until its loss is known."""
    sizes, model, weights = _made(task)
    images = datasets.natural_image_crops(size=sizes.height)
    batch = training_batches(images, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["image"] for number in range(NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])

    began = time.perf_counter()
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        note = system.NOTE
        training = system.prepare(sizes, weights, adam, **task["variant"])
    else:
        note, training = OURS_NOTE, ours(model, adam, task["seed"])
    build = time.perf_counter() - began

    taken = 0

    def step() -> float:
        nonlocal taken
        loss = training.step(batches[taken % NUM_BATCHES])
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
    return {
        "note": note,
        "model": model.name,
        "source": images.source,
        "seconds": {"build": build, "first": first, "calls": calls},
        "work": {
            "examples": [task["batch"]] * len(calls),
            "flops": model.flops_per_example * task["batch"],
            "parameters": num_parameters(model),
        },
        "bits_per_dim": [
            loss / math.log(2) / model.dims_per_example for loss in losses
        ],
    }


def ours(model: Model, adam: AdamSettings, seed: int) -> Training:
    """The program's training by the runtime of one device."""
    optimizer = optimizers.adam(
        optimizers.constant(adam.rate),
        beta1=adam.beta1,
        beta2=adam.beta2,
        epsilon=adam.epsilon,
    )
    runtime = engines.make_runtime(
        model, optimizer, topology.parse("batch:1"), StepSettings(), kind="CPU"
    )
    runtime.start(seed)
    number = 0

    def step(image: np.ndarray) -> float:
        nonlocal number
        loss = runtime.step({"image": image}, number, seed)["loss"]
        number += 1
        return float(loss)

    def weights() -> dict[str, np.ndarray]:
        kept = runtime.read()
        return {name: kept[f"weights/{name}"] for name in model.weights}

    return Training(step, weights)


class _Enough(Exception):
    """As many positions as were to be timed are drawn."""


def sample(task: dict[str, Any]) -> dict[str, Any]:
    """Times the cached sampler, by the calls of its compiled loop.

    The first call compiles and is apart; then comes one a time, of
    `positions_per_call` positions, until `min_seconds` are over, the whole image or at
    least `min_calls` drawn.
    """
    sizes, model, weights = _made(task)
    held = {name: tf.constant(array) for name, array in weights.items()}
    calls: list[float] = []
    made: list[int] = []
    first = 0.0
    marked = time.perf_counter()

    def progress(number: int, _: np.ndarray) -> None:
        nonlocal first, marked
        now = time.perf_counter()
        if not made:
            first = now - marked
        else:
            calls.append(now - marked)
        made.append(number)
        if sum(calls) >= task["min_seconds"] and len(calls) >= task["min_calls"]:
            raise _Enough
        marked = time.perf_counter()

    try:
        sampling.sample(
            held,
            sizes,
            tf.constant([task["seed"], 0]),
            task["batch"],
            progress=progress,
            positions_per_call=task["positions_per_call"],
        )
    except _Enough:
        pass
    return {
        "model": model.name,
        "seconds": {"first": first, "calls": calls},
        "work": {
            "positions": np.diff(made).tolist(),
            "positions_of_image": len(network.blocks(sizes).order),
        },
    }


def naive(task: dict[str, Any]) -> dict[str, Any]:
    """Times the naive sampler's step at some positions, all outputs computed anew.

    It is `program.draw_naively`'s, compiled by itself.
    """
    sizes, model, weights = _made(task)
    held = {name: tf.constant(array) for name, array in weights.items()}
    rows, columns, depth = network.grid(sizes)
    positions = rows * columns
    seed = tf.constant([task["seed"], 0])

    @tf.function(autograph=False)
    def body(place: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        outputs = network.outputs_in_order(sizes, held, values)[:, place]
        drawn = draw_values(sizes, outputs, random_at(seed, place), 1.0)
        here = tf.one_hot(place, positions, dtype=tf.int32)[:, tf.newaxis]
        return values + drawn[:, tf.newaxis] * here

    values = tf.zeros((task["batch"], positions, depth), tf.int32)
    places = np.linspace(0, positions - 1, task["num_places"], dtype=np.int32)
    first, *calls = [
        _seconds(lambda place=place: body(tf.constant(place), values).numpy())
        for place in (0, *places)
    ]
    return {
        "model": model.name,
        "seconds": {"first": first, "calls": calls},
        "work": {"positions": [1] * len(calls), "positions_of_image": positions},
    }


def _made(task: dict[str, Any]) -> tuple[Sizes, Model, dict[str, np.ndarray]]:
    """Sizes, model and first weights, which every system begins with."""
    sizes = Sizes(**task["sizes"])
    model = image_transformer(**sizes._asdict())
    weights = {name: draw(w, name, task["seed"]) for name, w in model.weights.items()}
    return sizes, model, weights


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main(task_path: str, result_path: str) -> None:
    """Runs the task of one file and writes its result to another."""
    task = json.loads(Path(task_path).read_text())
    result = run(task)
    Path(result_path).write_text(json.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: freeing all that TensorFlow holds takes a second, and nobody needs it.
    os._exit(1 if result["status"] == "failed" else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
