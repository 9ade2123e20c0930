"""The tasks of the Image Transformer's benchmark: train, sample, sample naively."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import datasets
from experiments.bench import step_timing
from experiments.datasets.images import training_batches
from experiments.image_transformer import Sizes, image_transformer, network, sampling
from experiments.image_transformer.program import rng_at, sample_values
from experiments.training.model import Model


def train(task: step_timing.Task) -> dict[str, Any]:
    """Times a system's steps, each from images in NumPy until its loss is known."""
    sizes, model, _ = _make_model(task)
    return step_timing.time_training(
        task,
        model,
        datasets.natural_image_crops(size=sizes.height),
        "image",
        training_batches,
        lambda weights, adam: (sizes, weights, adam),
    )


class _TimeIsUp(Exception):
    """Ends the sampler when enough positions are timed."""


def sample(task: step_timing.Task) -> dict[str, Any]:
    """Times the calls of the cached sampler's compiled loop.

    A call draws `positions_per_call` positions.  The first one compiles and is timed
    apart.  Calls go on for `min_seconds` and `min_calls`, or until the image ends.
    """
    sizes, model, weights = _make_model(task)
    tensors = {name: tf.constant(array) for name, array in weights.items()}
    calls: list[float] = []
    positions: list[int] = []  # drawn by the end of each call
    first = 0.0
    mark = time.perf_counter()

    def progress(number: int, _: np.ndarray) -> None:
        nonlocal first, mark
        now = time.perf_counter()
        if positions:
            calls.append(now - mark)
        else:
            first = now - mark
        positions.append(number)
        if sum(calls) >= task["min_seconds"] and len(calls) >= task["min_calls"]:
            raise _TimeIsUp
        mark = time.perf_counter()

    try:
        sampling.sample(
            tensors,
            sizes,
            tf.constant([task["seed"], 0]),
            task["batch"],
            progress=progress,
            positions_per_call=task["positions_per_call"],
        )
    except _TimeIsUp:
        pass
    return {
        "model": model.name,
        "seconds": {"first": first, "calls": calls},
        "work": {
            "positions": np.diff(positions).tolist(),
            "positions_of_image": len(network.blocks(sizes).order),
        },
    }


def sample_naively(task: step_timing.Task) -> dict[str, Any]:
    """Times the step of `program.sample_naively`, compiled, at some positions."""
    sizes, model, weights = _make_model(task)
    tensors = {name: tf.constant(array) for name, array in weights.items()}
    rows, columns, depth = network.position_shape(sizes)
    num_positions = rows * columns
    seed = tf.constant([task["seed"], 0])

    @tf.function(autograph=False)
    def step(position: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        outputs = network.forward(sizes, tensors, values)[:, position]
        sampled = sample_values(sizes, outputs, rng_at(seed, position), 1.0)
        mask = tf.one_hot(position, num_positions, dtype=tf.int32)[:, tf.newaxis]
        return values + sampled[:, tf.newaxis] * mask

    values = tf.zeros((task["batch"], num_positions, depth), tf.int32)
    timed = np.linspace(0, num_positions - 1, task["num_positions"], dtype=np.int32)
    first, *calls = [
        _seconds(lambda position=position: step(tf.constant(position), values).numpy())
        for position in (0, *timed)
    ]
    return {
        "model": model.name,
        "seconds": {"first": first, "calls": calls},
        "work": {"positions": [1] * len(calls), "positions_of_image": num_positions},
    }


def _make_model(
    task: step_timing.Task,
) -> tuple[Sizes, Model, dict[str, np.ndarray]]:
    """The sizes, the model and the initial weights, which all systems start from."""
    values = task["sizes"].items()  # from JSON, which has no tuples
    sizes = Sizes(**{k: tuple(v) if isinstance(v, list) else v for k, v in values})
    model = image_transformer(**sizes._asdict())
    return sizes, model, step_timing.initial_weights(model.weights, task["seed"])


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


MODES = {
    "probe": step_timing.probe,
    "train": train,
    "sample": sample,
    "naive": sample_naively,
}
