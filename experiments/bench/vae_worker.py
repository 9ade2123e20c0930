"""The tasks of the autoencoders' benchmark: train on images, train on sounds."""

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
from experiments.training.prng import BatchRng
from experiments.training.train_step import step_seed
from experiments.vq_vae import network as vq_vae_network
from experiments.vq_vae import program as vq_vae_program

RandomNumbers = Callable[[int], Mapping[str, np.ndarray]]  # of a step's number


def train_images(task: step_timing.Task) -> dict[str, Any]:
    """Times a system's steps of the VQ-VAE."""
    sizes, codebook = vq_vae.Sizes(**task["sizes"]), vq_vae.Codebook(**task["codebook"])
    seed = task["seed"]
    model = vq_vae_program.model(sizes, codebook)

    def arguments(weights: dict[str, np.ndarray], adam: AdamSettings) -> tuple:
        state = step_timing.initial_weights(model.state, seed)
        numbers = image_random_numbers(sizes, codebook, seed, task["batch"])
        return sizes, codebook, weights, state, adam, numbers

    data = datasets.natural_image_crops(size=sizes.size)
    return step_timing.time_training(
        task, model, data, "image", images.training_batches, arguments
    )


def train_audio(task: step_timing.Task) -> dict[str, Any]:
    """Times a system's steps of the audio VAE, on one device or on its cores."""
    sizes = audio_vae.Sizes(**task["sizes"])
    traffic: dict[str, Any] = {}

    def count(engine: Engine, batch: Mapping[str, np.ndarray]) -> None:
        if isinstance(engine, ManuallyPlaced):
            traffic.update(count_traffic(batch, engine))

    def arguments(weights: dict[str, np.ndarray], adam: AdamSettings) -> tuple:
        numbers = audio_random_numbers(sizes, task["seed"], task["batch"])
        return sizes, weights, adam, numbers

    result = step_timing.time_training(
        task,
        audio_program.model(sizes),
        datasets.synthetic_tones(length=sizes.length),
        "audio",
        clips.training_batches,
        arguments,
        mesh=task["mesh"],
        placement=audio_network.placement(sizes),
        before=count,
    )
    result["work"] |= traffic
    return result


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


def image_random_numbers(
    sizes: vq_vae.Sizes, codebook: vq_vae.Codebook, seed: int, batch: int
) -> RandomNumbers:
    """The random numbers that our program draws in a step, for other systems."""
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

    return _repeat(of_step)


def audio_random_numbers(
    sizes: audio_vae.Sizes, seed: int, batch: int
) -> RandomNumbers:
    """As `image_random_numbers`: the dequantisation's and the latents' noise."""

    def of_step(number: int) -> dict[str, np.ndarray]:
        random = BatchRng(tf.constant(step_seed(seed, number)), tf.constant(0))
        uniform = prng.uniform(random, "dequantize", (batch, sizes.length))
        noise = prng.normal(random, "z", (batch, sizes.latents))
        return {"dequantization": uniform.numpy(), "noise": noise.numpy()}

    return _repeat(of_step)


def _repeat(of_step: Callable[[int], Mapping[str, np.ndarray]]) -> RandomNumbers:
    """Those of the first steps, which include the compared ones, again and again."""
    first = [of_step(number) for number in range(step_timing.NUM_BATCHES)]
    return lambda number: first[number % step_timing.NUM_BATCHES]


MODES = {"probe": step_timing.probe, "images": train_images, "audio": train_audio}
