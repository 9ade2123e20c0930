"""One turn of the Image Transformer's benchmark, in a process of its own.

Reads a task, writes what it measured.
"""

import functools
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import datasets
from experiments.bench import step_timing
from experiments.bench.problems import AdamSettings
from experiments.datasets.images import training_batches
from experiments.image_transformer import Sizes, image_transformer, network, sampling
from experiments.image_transformer.program import randomness_at, sample_values
from experiments.training.model import Model, initial_weight


def train(task: dict[str, Any]) -> dict[str, Any]:
    """Times a system's steps, each from images in NumPy until its loss is known."""
    sizes, model, weights = _made(task)
    images = datasets.natural_image_crops(size=sizes.height)
    batch = training_batches(images, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["image"] for number in range(step_timing.NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])

    note = step_timing.OURS_NOTE
    prepare = functools.partial(step_timing.ours, model, adam, task["seed"], "image")
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        note = system.NOTE
        prepare = functools.partial(
            system.prepare, sizes, weights, adam, **task["variant"]
        )
    return step_timing.trained(task, model, images.source, note, prepare, batches)


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

    It is `program.sample_naively`'s, compiled by itself.
    """
    sizes, model, weights = _made(task)
    held = {name: tf.constant(array) for name, array in weights.items()}
    rows, columns, depth = network.position_shape(sizes)
    positions = rows * columns
    seed = tf.constant([task["seed"], 0])

    @tf.function(autograph=False)
    def body(place: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        outputs = network.forward(sizes, held, values)[:, place]
        drawn = sample_values(sizes, outputs, randomness_at(seed, place), 1.0)
        here = tf.one_hot(place, positions, dtype=tf.int32)[:, tf.newaxis]
        return values + drawn[:, tf.newaxis] * here

    values = tf.zeros((task["batch"], positions, depth), tf.int32)
    places = np.linspace(0, positions - 1, task["num_positions"], dtype=np.int32)
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
    given = task["sizes"].items()  # of JSON, which has no tuples
    sizes = Sizes(**{k: tuple(v) if isinstance(v, list) else v for k, v in given})
    model = image_transformer(**sizes._asdict())
    weights = {
        name: initial_weight(w, name, task["seed"]) for name, w in model.weights.items()
    }
    return sizes, model, weights


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


MODES = {"probe": step_timing.probe, "train": train, "sample": sample, "naive": naive}


if __name__ == "__main__":
    step_timing.main(MODES, *sys.argv[1:])
