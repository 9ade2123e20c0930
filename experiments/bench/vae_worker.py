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

from experiments import audio_vae, datasets, vq_vae
from experiments.audio_vae import network as audio_network
from experiments.audio_vae import program as audio_program
from experiments.bench import counting, step_timing
from experiments.bench.problems import AdamSettings
from experiments.datasets import audio as clips
from experiments.datasets import images
from experiments.engines.manual_placement import ManuallyPlaced
from experiments.training import prng
from experiments.training.engine import Engine
from experiments.training.model import initial_weight
from experiments.training.prng import BatchRng
from experiments.training.train_step import step_seed
from experiments.vq_vae import network as vq_vae_network
from experiments.vq_vae import program as vq_vae_program

Draws = Callable[[int], Mapping[str, np.ndarray]]


def train_images(task: step_timing.Task) -> dict[str, Any]:
    """Times a system's steps of the vector-quantised autoencoder."""
    sizes, codebook = vq_vae.Sizes(**task["sizes"]), vq_vae.Codebook(**task["codebook"])
    model = vq_vae_program.model(sizes, codebook)
    data = datasets.natural_image_crops(size=sizes.size)
    batch = images.training_batches(data, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["image"] for number in range(step_timing.NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])
    note = step_timing.OURS_NOTE
    prepare = functools.partial(step_timing.ours, model, adam, task["seed"], "image")
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        seed = task["seed"]
        weights = {
            name: initial_weight(w, name, seed) for name, w in model.weights.items()
        }
        state = {name: initial_weight(s, name, seed) for name, s in model.state.items()}
        draws = image_draws(sizes, codebook, seed, task["batch"])
        note = system.NOTE
        prepare = functools.partial(
            system.prepare, sizes, codebook, weights, state, adam, draws
        )
    return step_timing.trained(task, model, data.source, note, prepare, batches)


def train_audio(task: step_timing.Task) -> dict[str, Any]:
    """Times a system's steps of the audio VAE, on one device or on its cores."""
    sizes = audio_vae.Sizes(**task["sizes"])
    model = audio_program.model(sizes)
    data = datasets.synthetic_tones(length=sizes.length)
    batch = clips.training_batches(data, seed=task["seed"], batch_size=task["batch"])
    batches = [batch(number)["audio"] for number in range(step_timing.NUM_BATCHES)]
    adam = AdamSettings(rate=task["rate"])
    note, told = step_timing.OURS_NOTE, {}
    if task["module"]:
        system = importlib.import_module(f"experiments.baselines.{task['module']}")
        seed = task["seed"]
        weights = {
            name: initial_weight(w, name, seed) for name, w in model.weights.items()
        }
        note, draws = system.NOTE, audio_draws(sizes, seed, task["batch"])
        prepare = functools.partial(system.prepare, sizes, weights, adam, draws)
    else:

        def count(runtime: Engine, first: Mapping[str, np.ndarray]) -> None:
            if isinstance(runtime, ManuallyPlaced):
                told.update(passed(first, runtime))

        prepare = functools.partial(
            step_timing.ours,
            model,
            adam,
            task["seed"],
            "audio",
            mesh=task["mesh"],
            placement=audio_network.placement(sizes),
            before=count,
        )
    made = step_timing.trained(task, model, data.source, note, prepare, batches)
    made["work"] |= told
    return made


def passed(batch: Mapping[str, np.ndarray], runtime: ManuallyPlaced) -> dict[str, Any]:
    """Devices, and the bytes that pass between them in a step, by the step's graph.

    The count is `accounting.passed_bytes`, of the step as it is traced.
    """
    found, held = (
        counting.passed_bytes(runtime.graph(batch)),
        runtime.bytes_per_device(),
    )
    return {
        "devices": len(held),
        "passed_bytes": sum(found.values()),
        "most_held_bytes": max(held.values()),
        "all_held_bytes": sum(held.values()),
    }


def image_draws(
    sizes: vq_vae.Sizes, codebook: vq_vae.Codebook, seed: int, batch: int
) -> Draws:
    """What our program draws in a step, of its number: for systems that are told."""
    rows, columns, codes_per_position = vq_vae_network.code_shape(sizes)
    vectors = batch * rows * columns * codes_per_position

    def of_step(number: int) -> dict[str, np.ndarray]:
        random = BatchRng(tf.constant(step_seed(seed, number)), tf.constant(0))
        shape = (batch, vectors // batch * codebook.num_samples)
        uniform = prng.uniform(random, "codes", shape)
        words = prng.bits(random, "restart", (codebook.num_codes, 1))[:, 0]
        return {
            "uniform": tf.reshape(uniform, (vectors, codebook.num_samples)).numpy(),
            "chosen": (words.numpy().astype(np.int64) % vectors).astype(np.int32),
        }

    return _going_round(of_step)


def audio_draws(sizes: audio_vae.Sizes, seed: int, batch: int) -> Draws:
    """As `image_draws`: where samples are within their steps, and latents' noise."""

    def of_step(number: int) -> dict[str, np.ndarray]:
        random = BatchRng(tf.constant(step_seed(seed, number)), tf.constant(0))
        dequantization = prng.uniform(random, "dequantize", (batch, sizes.length))
        noise = prng.normal(random, "z", (batch, sizes.latents))
        return {"dequantization": dequantization.numpy(), "noise": noise.numpy()}

    return _going_round(of_step)


def _going_round(of_step: Callable[[int], Mapping[str, np.ndarray]]) -> Draws:
    """Those of the first steps, which are compared, again and again."""
    made = [of_step(number) for number in range(step_timing.NUM_BATCHES)]
    return lambda number: made[number % step_timing.NUM_BATCHES]


MODES = {"probe": step_timing.probe, "images": train_images, "audio": train_audio}


if __name__ == "__main__":
    step_timing.main(MODES, *sys.argv[1:])
