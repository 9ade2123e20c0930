"""What is run: a stand-in model trained on its synthetic data, on any topology."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.cluster import processes
from experiments.engines import selection
from experiments.records.media import Image
from experiments.toy_models.autoencoder import reconstructed
from experiments.toy_models.data import HELD_OUT, TRAINING, Examples, batches
from experiments.training import loop as optimize
from experiments.training import train_step
from experiments.training.engine import StepSettings
from experiments.training.model import Model, num_parameters
from experiments.training.optimizers import Optimizer
from experiments.training.topology import parse

NUM_SHOWN = 4  # pictures beside each other


def train(
    *,
    run_dir: Path,
    seed: int,
    model: Model,
    examples: Examples,
    optimizer: Optimizer,
    loop: optimize.LoopSettings,
    step: StepSettings,
    batch_size: int,
    num_held_out: int,
    mesh: str = "batch:1",
    device_type: str | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Trains a model; with `resume`, from the newest checkpoint in `run_dir`.

    batch_size: examples of all devices and processes together.
    num_held_out: examples to judge by, in whole batches.
    mesh: its dimensions and their sizes, such as "batch:4,model:2".
    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.

    In `run_dir` come checkpoints/, metrics.jsonl and TensorBoard events, and
    summary.json, which is also what comes back.

    Raises ValueError for what the machine or the model cannot do, before any work;
    `optimize.NotFinite` and `CheckpointError` as `optimize.train` does.
    """
    process = processes.current()
    topology = parse(mesh)
    model, num_traces = optimize.count_traces(model)
    train_step.check_batch_size(batch_size, topology, step.num_microbatches)
    if num_held_out < 0 or num_held_out % batch_size:
        raise ValueError(
            f"num_held_out: given {num_held_out} examples, wanted whole batches of "
            f"{batch_size}"
        )
    runtime = selection.make_engine(
        model, optimizer, topology, step, device_type=device_type
    )

    data = optimize.shared_data(
        examples.name,
        batch_size,
        training=functools.partial(batches, examples, seed=seed, split=TRAINING),
        held_out=functools.partial(batches, examples, seed=seed, split=HELD_OUT),
        num_held_out=num_held_out // batch_size,
    )
    if process.index == 0:
        print(
            f"{model.name}: {num_parameters(model):,} parameters\n"
            f"{examples.name}: {examples.source}\n"
            f"{topology}, {batch_size} examples a step",
            flush=True,
        )
    return optimize.run(
        runtime,
        data,
        run_dir=run_dir,
        seed=seed,
        settings=loop,
        about={"model": model.name, "topology": str(topology)},
        resume=resume,
        num_traces=num_traces,
        show=_show(data) if "codebook" in model.weights else None,
    )


def _show(
    data: optimize.Data,
) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """What the autoencoder makes of the first held-out pictures, below each of them."""
    given = data.held_out(0)["image"][:NUM_SHOWN]  # [pictures, height, width, 3]

    def show(weights: dict[str, np.ndarray]) -> dict[str, Any]:
        held = {name: tf.constant(array) for name, array in weights.items()}
        made = reconstructed(held, tf.constant(given))
        rows = [np.concatenate(row, axis=1) for row in (given / 255, made)]
        return {"pictures": Image(np.concatenate(rows, axis=0))}

    return show
