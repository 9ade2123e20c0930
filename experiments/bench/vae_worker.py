"""One turn of the autoencoders' benchmark, in a process of its own.

Reads a task, writes what it measured.
"""

import functools
import importlib
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import datasets
from experiments.bench import timing
from experiments.datasets import audio as clips
from experiments.datasets import images
from experiments.parallel import (
    accounting,
    engines,
    optimizers,
    randomness,
    topology,
)
from experiments.parallel.arithmetic import step_seed
from experiments.parallel.model import Model, draw, num_parameters
from experiments.parallel.placed import Placed, Placement
from experiments.parallel.randomness import Randomness
from experiments.parallel.runtime import StepSettings
from experiments.problem import AdamSettings, Training
from experiments.vae import AudioSizes, Codebook, ImageSizes, audio, vector_quantized

OURS_NOTE = "the traced program, stepped and fed by the runtime"

Draws = Callable[[int], Mapping[str, np.ndarray]]


def train_images(task: timing.Task) -> dict[str, Any]:
    """Times a system's steps of the vector-quantised autoencoder."""
    sizes, book = ImageSizes(**task["sizes"]), Codebook(**task["codebook"])
    model = vector_quantized.model(sizes, book)
    data = datasets.natural_image_crops(size=sizes.size)
    batch = images.training_batches(data, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["image"] for number in range(timing.NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])
    note, prepare = OURS_NOTE, functools.partial(ours, task, model, adam, "image")
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        seed = task["seed"]
        weights = {name: draw(w, name, seed) for name, w in model.weights.items()}
        state = {name: draw(s, name, seed) for name, s in model.state.items()}
        draws = image_draws(sizes, book, seed, task["batch"])
        note = system.NOTE
        prepare = functools.partial(
            system.prepare, sizes, book, weights, state, adam, draws
        )
    return _timed(task, model, data.source, note, prepare, batches)


def train_audio(task: timing.Task) -> dict[str, Any]:
    """Times a system's steps of the audio VAE, on one device or on its cores."""
    sizes = AudioSizes(**task["sizes"])
    model, placement = audio.model(sizes), audio.placement(sizes)
    data = datasets.synthetic_tones(length=sizes.length)
    batch = clips.training_batches(data, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["audio"] for number in range(timing.NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])
    note, told = OURS_NOTE, {}
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        seed = task["seed"]
        weights = {name: draw(w, name, seed) for name, w in model.weights.items()}
        note, draws = system.NOTE, audio_draws(sizes, seed, task["batch"])
        prepare = functools.partial(system.prepare, sizes, weights, adam, draws)
    else:
        prepare = functools.partial(
            ours, task, model, adam, "audio", placement, told=told
        )
    made = _timed(task, model, data.source, note, prepare, batches)
    made["work"] |= told
    return made


def _timed(
    task: timing.Task,
    model: Model,
    source: str,
    note: str,
    prepare: Callable[[], Training],
    batches: list[np.ndarray],
) -> dict[str, Any]:
    seconds, losses = timing.steps(task, prepare, batches)
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
        },
        "bits_per_dim": [loss / nats_of_bit for loss in losses],
    }


def ours(
    task: timing.Task,
    model: Model,
    adam: AdamSettings,
    name: str,
    placement: Placement | None = None,
    *,
    told: dict[str, Any] | None = None,
) -> Training:
    """The program's training by the runtime of the task's `mesh`.

    name: of the batch's one array.
    told: where there are several cores, is given what passes between them in a step.
    """
    optimizer = optimizers.adam(
        optimizers.constant(adam.rate),
        beta1=adam.beta1,
        beta2=adam.beta2,
        epsilon=adam.epsilon,
    )
    settings, seed = StepSettings(), task["seed"]
    mesh = topology.parse(task["mesh"])
    runtime = engines.make_runtime(
        model, optimizer, mesh, settings, kind="CPU", placement=placement
    )
    runtime.start(seed)
    number = 0

    def step(array: np.ndarray) -> float:
        nonlocal number
        if number == 0 and told is not None and isinstance(runtime, Placed):
            told.update(passed({name: array}, runtime))
        loss = runtime.step({name: array}, number, seed)["loss"]
        number += 1
        return float(loss)

    def weights() -> dict[str, np.ndarray]:
        kept = runtime.read()
        return {name: kept[f"weights/{name}"] for name in model.weights}

    return Training(step, weights)


def passed(batch: Mapping[str, np.ndarray], runtime: Placed) -> dict[str, Any]:
    """Devices, and the bytes that pass between them in a step, by the step's graph.

    The count is `accounting.passed_bytes`, of the step as it is traced.
    """
    found, held = accounting.passed_bytes(runtime.graph(batch)), runtime.local_bytes()
    return {
        "devices": len(held),
        "passed_bytes": sum(found.values()),
        "most_held_bytes": max(held.values()),
        "all_held_bytes": sum(held.values()),
    }


def image_draws(sizes: ImageSizes, book: Codebook, seed: int, batch: int) -> Draws:
    """What our program draws in a step, of its number: for systems that are told."""
    rows, columns, slots = vector_quantized.grid(sizes)
    vectors = batch * rows * columns * slots

    def of_step(number: int) -> dict[str, np.ndarray]:
        random = Randomness(tf.constant(step_seed(seed, number)), tf.constant(0))
        shape = (batch, vectors // batch * book.samples)
        uniform = randomness.uniform(random, "codes", shape)
        words = randomness.bits(random, "restart", (book.codes, 1))[:, 0]
        return {
            "uniform": tf.reshape(uniform, (vectors, book.samples)).numpy(),
            "chosen": (words.numpy().astype(np.int64) % vectors).astype(np.int32),
        }

    return _going_round(of_step)


def audio_draws(sizes: AudioSizes, seed: int, batch: int) -> Draws:
    """As `image_draws`: where samples are within their steps, and latents' noise."""

    def of_step(number: int) -> dict[str, np.ndarray]:
        random = Randomness(tf.constant(step_seed(seed, number)), tf.constant(0))
        within = randomness.uniform(random, "dequantize", (batch, sizes.length))
        noise = randomness.normal(random, "z", (batch, sizes.latents))
        return {"within": within.numpy(), "noise": noise.numpy()}

    return _going_round(of_step)


def _going_round(of_step: Callable[[int], Mapping[str, np.ndarray]]) -> Draws:
    """Those of the first steps, which are compared, again and again."""
    made = [of_step(number) for number in range(timing.NUM_BATCHES)]
    return lambda number: made[number % timing.NUM_BATCHES]


MODES = {"probe": timing.probe, "images": train_images, "audio": train_audio}


if __name__ == "__main__":
    timing.main(MODES, *sys.argv[1:])
