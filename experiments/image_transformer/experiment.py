"""What is run: an Image Transformer trained on images, judged and sampled from."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.cluster import processes
from experiments.datasets.images import (
    Images,
    held_out_batches,
    num_judged,
    training_batches,
)
from experiments.engines import selection
from experiments.image_transformer import likelihood, network, program, sampling
from experiments.image_transformer.network import Sizes
from experiments.records.media import Image
from experiments.training import loop as optimize
from experiments.training import train_step
from experiments.training.engine import StepSettings
from experiments.training.model import Model, num_parameters
from experiments.training.optimizers import Optimizer
from experiments.training.topology import parse

NUM_VALUES = 256  # of images of 8 bits
GAP = 2  # white pixels between the pictures of a grid
HIDDEN_GREY = 128  # of what a completion is not told


def train(
    *,
    run_dir: Path,
    seed: int,
    sizes: Sizes,
    images: Images,
    optimizer: Optimizer,
    loop: optimize.LoopSettings,
    step: StepSettings,
    batch_size: int,
    model: Model | None = None,
    num_held_out: int | None = None,
    num_samples: int = 4,
    temperature: float = 1.0,
    mesh: str = "batch:1",
    device_type: str | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Trains the model; with `resume`, from the newest checkpoint in `run_dir`.

    Bits per dimension are of whole images held out, exactly as the model has them.

    batch_size: images of all devices and processes together.
    model: another that is trained alike, on images of these sizes, and draws none;
      None: the Image Transformer of these sizes.
    num_held_out: images to judge by, in whole batches; None: all of those held out that
      make whole batches.
    num_samples: images drawn at every evaluation, and as many held-out ones completed
      from the first half of their positions; 0: none.
    temperature: of what is drawn.
    mesh: its dimensions and their sizes, such as "batch:4,model:2".
    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.

    In `run_dir` come checkpoints/, metrics.jsonl, media/ with the samples and the
    completions, TensorBoard events with both, and summary.json, which is also what
    comes back.

    Raises ValueError for what the machine, the model or the images cannot do, before
    any work; `optimize.NotFinite` and `CheckpointError` as `optimize.train` does.
    Tran et al. (2018), section 4.1.
    """
    process = processes.current()
    topology = parse(mesh)
    _check_fit(sizes, images, model)
    _check_drawing(images, model, num_samples, temperature)
    train_step.check_batch_size(batch_size, topology, step.num_microbatches)
    data = optimize.shared_data(
        images.name,
        batch_size,
        training=functools.partial(training_batches, images, seed=seed),
        held_out=functools.partial(held_out_batches, images),
        num_held_out=num_judged(images, batch_size, num_held_out),
    )
    model, num_traces = optimize.count_traces(model or program.model(sizes))
    runtime = selection.make_engine(
        model, optimizer, topology, step, device_type=device_type
    )
    # From here on TensorFlow may begin: the runtime has said on which devices.
    writes = process.index == 0
    show = None
    if writes and num_samples:
        show = _show(sizes, images, seed, num_samples, temperature)
    if writes:
        print(
            f"{model.name}: {num_parameters(model):,} parameters\n"
            f"{images.source}\n"
            f"{topology}, {batch_size} examples a step, judged by "
            f"{data.num_held_out * batch_size} images held out",
            flush=True,
        )
    return optimize.run(
        runtime,
        data,
        run_dir=run_dir,
        seed=seed,
        settings=loop,
        about={
            "model": model.name,
            "images": images.name,
            "source": images.source,
            "num_held_out_images": data.num_held_out * batch_size,
            "topology": str(topology),
        },
        resume=resume,
        num_traces=num_traces,
        show=show,
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


def _check_drawing(
    images: Images, model: Model | None, num_samples: int, temperature: float
) -> None:
    sampling.check_temperature(temperature)
    if num_samples < 0:
        raise ValueError(f"num_samples: given {num_samples}, wanted 0 or more")
    if model is not None and num_samples:
        raise ValueError(
            f"num_samples: given {num_samples}, wanted 0 with another model than the "
            "Image Transformer, which alone is drawn from"
        )
    there = images.held_out.num_images
    if there is not None and num_samples > there:
        raise ValueError(
            f"num_samples: given {num_samples}, wanted at most the {there} images held "
            f"out of {images.name}, of which as many are completed"
        )


def _show(
    sizes: Sizes, images: Images, seed: int, num_samples: int, temperature: float
) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """What weights draw: some images, and below some held out what they make of half.

    The same seed and the same images at every evaluation, so that they compare.
    """
    held_out = held_out_batches(images, batch_size=num_samples)(0)["image"]
    half = len(network.blocks(sizes).order) // 2
    values = np.array(network.to_generation_order(sizes, tf.constant(held_out)))
    values[:, half:] = HIDDEN_GREY
    masked = network.to_image(sizes, tf.constant(values)).numpy()
    drawing_seed = train_step.step_seed(seed, 0)

    def show(weights: dict[str, np.ndarray]) -> dict[str, Any]:
        held = {name: tf.constant(array) for name, array in weights.items()}
        drawn = sampling.sample(
            held, sizes, drawing_seed, num_samples, temperature=temperature
        )
        completed = sampling.sample(
            held,
            sizes,
            drawing_seed,
            num_samples,
            temperature=temperature,
            prompt=held_out,
            prompt_positions=half,
        )
        rows = max(1, int(num_samples**0.5))
        return {
            "samples": Image(grid(drawn, rows)),
            "completions": Image(
                grid(np.concatenate([held_out, masked, completed]), 3)
            ),
        }

    return show


def grid(images: np.ndarray, rows: int) -> np.ndarray:
    """The images beside and below each other, row by row: [height, width, 3] uint8.

    images: [images, height, width, 3] of 0 to 255; what a last row lacks is white.
    """
    num_images, height, width, _ = images.shape
    columns = -(-num_images // rows)
    cell = (height + GAP, width + GAP)
    made = np.full((rows * cell[0] - GAP, columns * cell[1] - GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * cell[0], number % columns * cell[1]
        made[top : top + height, left : left + width] = image
    return made
