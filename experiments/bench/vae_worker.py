"""One turn of the autoencoders' benchmark, in a process of its own.

Reads a task, writes what it measured.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import datasets
from experiments.bench import timing
from experiments.datasets import audio as clips
from experiments.datasets import images
from experiments.parallel import accounting, randomness
from experiments.parallel.arithmetic import step_seed
from experiments.parallel.model import draw
from experiments.parallel.placed import Placed
from experiments.parallel.randomness import Randomness
from experiments.parallel.runtime import Runtime
from experiments.problem import AdamSettings
from experiments.vae import AudioSizes, Codebook, ImageSizes, audio, vector_quantized

Draws = Callable[[int], Mapping[str, np.ndarray]]


def train_images(task: timing.Task) -> dict[str, Any]:
    """Times a system's steps of the vector-quantised autoencoder."""
    sizes, book = ImageSizes(**task["sizes"]), Codebook(**task["codebook"])
    model = vector_quantized.model(sizes, book)
    data = datasets.natural_image_crops(size=sizes.size)
    batch = images.training_batches(data, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["image"] for number in range(timing.NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])
    note = timing.OURS_NOTE
    prepare = functools.partial(timing.ours, model, adam, task["seed"], "image")
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
    return timing.trained(task, model, data.source, note, prepare, batches)


def train_audio(task: timing.Task) -> dict[str, Any]:
    """Times a system's steps of the audio VAE, on one device or on its cores."""
    sizes = AudioSizes(**task["sizes"])
    model = audio.model(sizes)
    data = datasets.synthetic_tones(length=sizes.length)
    batch = clips.training_batches(data, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["audio"] for number in range(timing.NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])
    note, told = timing.OURS_NOTE, {}
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        seed = task["seed"]
        weights = {name: draw(w, name, seed) for name, w in model.weights.items()}
        note, draws = system.NOTE, audio_draws(sizes, seed, task["batch"])
        prepare = functools.partial(system.prepare, sizes, weights, adam, draws)
    else:

        def count(runtime: Runtime, first: Mapping[str, np.ndarray]) -> None:
            if isinstance(runtime, Placed):
                told.update(passed(first, runtime))

        prepare = functools.partial(
            timing.ours,
            model,
            adam,
            task["seed"],
            "audio",
            mesh=task["mesh"],
            placement=audio.placement(sizes),
            before=count,
        )
    made = timing.trained(task, model, data.source, note, prepare, batches)
    made["work"] |= told
    return made


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
