"""The experiment: train an Image Transformer on images, evaluate it, sample from it."""

import functools
from pathlib import Path
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
from experiments.engines.selection import make_engine
from experiments.image_transformer import likelihood, network, program, sampling
from experiments.image_transformer.network import Sizes
from experiments.records.media import Image
from experiments.training import train_step
from experiments.training.checks import check_count
from experiments.training.model import Model
from experiments.training.optimizers import Optimizer

NUM_VALUES = 256  # of images of 8 bits
GAP = 2  # white pixels between the pictures of a grid
HIDDEN_GREY = 128  # of the pixels that a completion does not see


def train(
    *,
    run_dir: Path,
    seed: int,
    sizes: Sizes,
    images: Images,
    optimizer: Optimizer,
    loop: training.LoopSettings,
    step: training.StepSettings,
    batch_size: int,
    model: Model | None = None,
    num_held_out: int | None = None,
    num_samples: int = 4,
    temperature: float = 1.0,
    mesh: str = "batch:1",
    device_type: str | None = None,
    mode: str = "train",
    resume: bool = False,
    init_from: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Trains an Image Transformer; returns the summary.

    Bits per dimension are of whole held-out images, exact under the model.

    batch_size: images of all devices and processes together.
    model: another model to train, on images of these sizes, without samples; None: the
      Image Transformer of these sizes.
    num_held_out: images that evaluation uses, in whole batches; None: all that make
      whole batches.
    num_samples: images sampled at every evaluation, and held-out images completed from
      the first half of their positions; 0: none.
    temperature: of the samples.
    mesh: its dimensions and their sizes, such as "batch:4,model:2".
    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.
    mode: "train"; "evaluate" computes metrics on the held-out images, and "sample"
      writes what evaluation shows, both with the weights of `init_from`.
    resume: continues from the latest checkpoint in `run_dir`.
    init_from: a run folder or a checkpoint, whose weights a new run starts from.
    dry_run: checks all arguments, and returns {} without a run.

    Writes checkpoints/, best/, metrics.jsonl, media/ with samples and completions,
    TensorBoard events with both, and summary.json to `run_dir`.

    Raises ValueError for what the machine, the model or the images cannot do, before
    any work, and what `training.loop.train` raises.  Tran et al. (2018), section 4.1.
    """
    topology = training.check_arguments(
        mesh=mesh, batch_size=batch_size, optimizer=optimizer, step=step, loop=loop
    )
    _check_fit(sizes, images, model)
    _check_samples(images, model, num_samples, temperature)
    show = functools.partial(_show, sizes, images, seed, num_samples, temperature)
    task = training.Task(
        model=model or program.model(sizes),
        data=training.process_data(
            images.name,
            batch_size,
            training=functools.partial(training_batches, images, seed=seed),
            held_out=functools.partial(held_out_batches, images),
            num_held_out_batches=num_held_out_batches(images, batch_size, num_held_out),
        ),
        source=images.source,
        data_kind="images",
        unit="images",
        make_show=lambda: show() if num_samples else None,
    )
    return training.run_task(
        task,
        functools.partial(
            make_engine,
            optimizer=optimizer,
            topology=topology,
            settings=step,
            device_type=device_type,
        ),
        run_dir=run_dir,
        seed=seed,
        loop_settings=loop,
        mode=mode,
        resume=resume,
        init_from=init_from,
        dry_run=dry_run,
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
    if model is not None and num_samples:
        raise ValueError(
            f"num_samples: given {num_samples}, wanted 0 with another model than the "
            "Image Transformer, the only one with a sampler"
        )
    num_images = images.held_out.num_images
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
        samples = sampling.sample(
            tensors, sizes, sample_seed, num_samples, temperature=temperature
        )
        completed = sampling.sample(
            tensors,
            sizes,
            sample_seed,
            num_samples,
            temperature=temperature,
            prompt=held_out,
            prompt_positions=half,
        )
        rows = max(1, int(num_samples**0.5))
        return {
            "samples": Image(grid(samples, rows)),
            "completions": Image(
                grid(np.concatenate([held_out, masked, completed]), 3)
            ),
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
