"""The tasks of the training benchmarks: probe, train, sample, sample naively."""

import importlib
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.bench import counting, models, step_timing
from experiments.bench.models import NUM_BATCHES, SUBJECTS
from experiments.bench.problems import AdamSettings
from experiments.bench.step_timing import Task
from experiments.engines.manual_placement import ManuallyPlaced
from experiments.image_transformer import Sizes, network, sampling
from experiments.image_transformer.program import rng_at, sample_values
from experiments.training import timing
from experiments.training.model import Model, num_parameters


def probe(task: Task) -> dict[str, Any]:
    """The peak of square matrix products on all threads, in float32."""
    del task
    peak = timing.peak_matmul_flops(["CPU:0"], "float32")
    return {"work": {"matmul_flops_per_second": peak}}


def train(task: Task) -> dict[str, Any]:
    """Times a system's steps, each from examples in NumPy until its loss is known."""
    subject, seed = SUBJECTS[task["subject"]], task["seed"]
    model, sizes = subject.make(task["options"]), subject.read(task["options"])
    data = subject.data(task["options"])
    batch_at = subject.batches(data, seed=seed, batch_size=task["batch"])
    batches = [batch_at(number) for number in range(NUM_BATCHES)]
    adam = AdamSettings(rate=task["learning_rate"])
    traffic: dict[str, Any] = {}

    def prepare_ours() -> Callable[[int], float]:
        place = subject.placement and subject.placement(*sizes)
        engine = step_timing.make_engine(model, adam, task["mesh"], place)
        step = step_timing.stepper(engine, seed)

        def counted_step(number: int) -> float:
            if number == 0 and isinstance(engine, ManuallyPlaced):
                traffic.update(count_traffic(batches[0], engine))
            return step(batches[number % NUM_BATCHES])

        return counted_step

    def prepare_theirs() -> Callable[[int], float]:
        training = system.prepare(*arguments, **task["variant"])
        arrays = [array for (array,) in (batch.values() for batch in batches)]
        return lambda number: training.step(arrays[number % NUM_BATCHES])

    prepare = prepare_ours
    if task["module"]:  # all that it is given is made before the clock starts
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        arguments = [*sizes, models.initial_weights(model.weights, seed)]
        if model.state:
            arguments.append(models.initial_weights(model.state, seed))
        arguments.append(adam)
        if subject.draws:
            options, batch = task["options"], task["batch"]
            arguments.append(subject.random_numbers(options, seed, batch))
        prepare = prepare_theirs
    seconds, losses = step_timing.time_steps(
        prepare, min_seconds=task["min_seconds"], min_calls=task["min_calls"]
    )
    unit = 1 if sys.platform == "darwin" else 1024
    usage = resource.getrusage(resource.RUSAGE_SELF)
    nats_per_bit = math.log(2) * model.dims_per_example
    return {
        "model": model.name,
        "source": data.source,
        "seconds": seconds,
        "work": {
            "examples": [task["batch"]] * len(seconds["calls"]),
            "flops": model.flops_per_example * task["batch"],
            "parameters": num_parameters(model),
            "max_rss_bytes": unit * usage.ru_maxrss,
            **traffic,
        },
        "bits_per_dim": [loss / nats_per_bit for loss in losses],
    }


def count_traffic(
    batch: Mapping[str, np.ndarray], engine: ManuallyPlaced
) -> dict[str, Any]:
    """The devices, and the bytes that a step sends between them and keeps on them.

    The count is `counting.transferred_bytes` of the step's graph.
    """
    sent = counting.transferred_bytes(engine.graph(batch))
    kept = engine.bytes_per_device()
    return {
        "devices": len(kept),
        "passed_bytes": sum(sent.values()),
        "most_held_bytes": max(kept.values()),
        "all_held_bytes": sum(kept.values()),
    }


class _TimeIsUp(Exception):
    """Ends the sampler when enough positions are timed."""


def sample(task: Task) -> dict[str, Any]:
    """Times the calls of the cached sampler's compiled loop.

    A call draws `positions_per_call` positions.  The first one compiles and is timed
    apart.  Calls go on for `min_seconds` and `min_calls`, or until the image ends.
    """
    sizes, model, weights = _make_sampled(task)
    calls: list[float] = []
    positions: list[int] = []  # drawn by the end of each call
    mark = time.perf_counter()

    def progress(number: int, _: np.ndarray) -> None:
        nonlocal mark
        calls.append(time.perf_counter() - mark)
        positions.append(number)
        enough = sum(calls[1:]) >= task["min_seconds"]
        if enough and len(calls) > task["min_calls"]:
            raise _TimeIsUp
        mark = time.perf_counter()

    try:
        sampling.sample(
            weights,
            sizes,
            tf.constant([task["seed"], 0]),
            task["batch"],
            progress=progress,
            positions_per_call=task["positions_per_call"],
        )
    except _TimeIsUp:
        pass
    return _sampled(model, calls, np.diff(positions).tolist(), sizes)


def sample_naively(task: Task) -> dict[str, Any]:
    """Times the step of `program.sample_naively`, compiled, at some positions."""
    sizes, model, weights = _make_sampled(task)
    rows, columns, depth = network.position_shape(sizes)
    num_positions = rows * columns
    seed = tf.constant([task["seed"], 0])

    @tf.function(autograph=False)
    def step(position: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        outputs = network.forward(sizes, weights, values)[:, position]
        sampled = sample_values(sizes, outputs, rng_at(seed, position), 1.0)
        mask = tf.one_hot(position, num_positions, dtype=tf.int32)[:, tf.newaxis]
        return values + sampled[:, tf.newaxis] * mask

    values = tf.zeros((task["batch"], num_positions, depth), tf.int32)
    timed = np.linspace(0, num_positions - 1, task["num_positions"], dtype=np.int32)
    calls = []
    for position in (0, *timed):
        begin = time.perf_counter()
        step(tf.constant(position), values).numpy()
        calls.append(time.perf_counter() - begin)
    return _sampled(model, calls, [1] * len(timed), sizes)


def _make_sampled(task: Task) -> tuple[Sizes, Model, dict[str, tf.Tensor]]:
    """The sizes, the model and the initial weights."""
    subject = SUBJECTS["image_transformer"]
    model, (sizes,) = subject.make(task["options"]), subject.read(task["options"])
    weights = models.initial_weights(model.weights, task["seed"])
    return sizes, model, {name: tf.constant(array) for name, array in weights.items()}


def _sampled(
    model: Model, calls: list[float], positions: list[int], sizes: Sizes
) -> dict[str, Any]:
    """The result of a sampler's calls, the first of which compiled."""
    rows, columns, _ = network.position_shape(sizes)
    return {
        "model": model.name,
        "seconds": {"first": calls[0], "calls": calls[1:]},
        "work": {"positions": positions, "positions_of_image": rows * columns},
    }


MODES = {
    "probe": probe,
    "train": train,
    "images": train,
    "audio": train,
    "sample": sample,
    "naive": sample_naively,
}
