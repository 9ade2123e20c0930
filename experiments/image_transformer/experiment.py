"""The experiment: train an Image Transformer on images, evaluate it, sample from it."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import training
from experiments.datasets.images import (
    Images,
    held_out_batches,
    num_held_out_batches,
    training_batches,
)
from experiments.engines.experiment import experiment
from experiments.image_transformer import likelihood, network, program, sampling
from experiments.image_transformer.network import Sizes
from experiments.records.media import Image
from experiments.training import train_step
from experiments.training.checks import check_count, check_memory
from experiments.training.model import Model

NUM_VALUES = 256  # of images of 8 bits
GAP = 2  # white pixels between the pictures of a grid
HIDDEN_GREY = 128  # of the pixels that a completion does not see


@experiment
def train(
    *,
    seed: int,
    sizes: Sizes,
    images: Images,
    batch_size: int,
    model: Model | None = None,
    num_held_out: int | None = None,
    num_samples: int = 4,
    temperature: float = 1.0,
) -> training.Task:
    """Trains an Image Transformer; returns the summary.

    Bits per dimension are of whole held-out images, exact under the model.

    model: another model to train, on images of these sizes, without samples; None: the
      Image Transformer of these sizes.
    num_held_out: images that evaluation uses, in whole batches; None: all that make
      whole batches.
    num_samples: images sampled at every evaluation, and held-out images completed from
      the first half of their positions; 0: none.
    temperature: of the samples.

    The other arguments, and what is written, are those of `engines.experiment.run`.
    Tran et al. (2018), section 4.1.
    """
    _check_fit(sizes, images, model)
    _check_samples(images, model, num_samples, temperature)
    show = functools.partial(_show, sizes, images, seed, num_samples, temperature)
    return training.Task(
        model=model or program.model(sizes),
        data=training.process_data(
            images.name,
            batch_size,
            training=functools.partial(training_batches, images, seed=seed),
            held_out=functools.partial(held_out_batches, images),
            num_held_out_batches=num_held_out_batches(images, batch_size, num_held_out),
        ),
        source=images.source,
        left_out=images.left_out,
        data_kind="images",
        unit="images",
        make_show=lambda: show() if num_samples else None,
        num_shown=num_samples,
    )


def _check_fit(sizes: Sizes, images: Images, model: Model | None) -> None:
    if (sizes.height, sizes.width) != (images.size, images.size):
        raise ValueError(
            f"sizes: a model of {sizes.height} x {sizes.width} pixels, wanted the "
            f"{images.size} x {images.size} of {images.name}"
        )
    if sizes.channels != likelihood.CHANNELS:
        raise ValueError(
            f"channels: given {sizes.channels}, wanted the {likelihood.CHANNELS} of "
            "images"
        )
    dims = sizes.height * sizes.width * likelihood.CHANNELS
    if model is not None and model.dims_per_example != dims:
        raise ValueError(
            f"model: {model.name} has {model.dims_per_example:,} sub-pixels, wanted "
            f"the {dims:,} of {images.name}"
        )
    if sizes.num_values != NUM_VALUES:
        raise ValueError(
            f"num_values: given {sizes.num_values}, wanted the {NUM_VALUES} of images"
        )


def _check_samples(
    images: Images, model: Model | None, num_samples: int, temperature: float
) -> None:
    sampling.check_temperature(temperature)
    check_count("num_samples", num_samples, minimum=0)
    check_memory("num_samples", num_samples, 4 * 3 * images.size**2)
    if model is not None and num_samples:
        raise ValueError(
            f"num_samples: given {num_samples}, wanted 0 with another model than the "
            "Image Transformer, the only one with a sampler"
        )
    num_images = images.held_out.num
    if num_images is not None and num_samples > num_images:
        raise ValueError(
            f"num_samples: given {num_samples}, wanted at most the {num_images} images "
            f"held out of {images.name}, of which as many are completed"
        )


def _show(
    sizes: Sizes, images: Images, seed: int, num_samples: int, temperature: float
) -> training.Show:
    """Samples, and completions of held-out images from their first half.

    Every evaluation uses the same seed and images.
    """
    held_out = held_out_batches(images, batch_size=num_samples)(0)["image"]
    half = len(network.blocks(sizes).order) // 2
    values = np.array(network.to_generation_order(sizes, tf.constant(held_out)))
    values[:, half:] = HIDDEN_GREY
    masked = network.to_image(sizes, tf.constant(values)).numpy()
    sample_seed = train_step.step_seed(seed, 0)

    def show(weights: dict[str, np.ndarray]) -> dict[str, Any]:
        tensors = {name: tf.constant(array) for name, array in weights.items()}
        sample = functools.partial(
            sampling.sample,
            tensors,
            sizes,
            sample_seed,
            num_samples,
            temperature=temperature,
        )
        completed = sample(prompt=held_out, prompt_positions=half)
        completions = np.concatenate([held_out, masked, completed])
        rows = max(1, int(num_samples**0.5))
        return {
            "samples": Image(grid(sample(), rows)),
            "completions": Image(grid(completions, 3)),
        }

    return show


def grid(images: np.ndarray, rows: int) -> np.ndarray:
    """The images in a grid, row by row: [height, width, 3] uint8.

    images: [images, height, width, 3] of 0 to 255.  Empty cells are white.
    """
    num_images, height, width, _ = images.shape
    columns = -(-num_images // rows)
    cell = (height + GAP, width + GAP)
    canvas = np.full((rows * cell[0] - GAP, columns * cell[1] - GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * cell[0], number % columns * cell[1]
        canvas[top : top + height, left : left + width] = image
    return canvas
