"""The experiment: train a toy model on its synthetic data, on any mesh."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import training
from experiments.engines.selection import make_engine
from experiments.records.media import Image
from experiments.toy_models.autoencoder import reconstruct
from experiments.toy_models.data import HELD_OUT, TRAINING, Examples, batches
from experiments.training.checks import check_count
from experiments.training.model import Model
from experiments.training.optimizers import Optimizer

NUM_SHOWN = 4  # pictures


def train(
    *,
    run_dir: Path,
    seed: int,
    model: Model,
    examples: Examples,
    optimizer: Optimizer,
    loop: training.LoopSettings,
    step: training.StepSettings,
    batch_size: int,
    num_held_out: int,
    mesh: str = "batch:1",
    device_type: str | None = None,
    mode: str = "train",
    resume: bool = False,
    init_from: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Trains a toy model on its synthetic data; returns the summary.

    batch_size: examples of all devices and processes together.
    num_held_out: examples that evaluation uses, in whole batches.
    mesh: its dimensions and their sizes, such as "batch:4,model:2".
    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.
    mode: "train"; "evaluate" computes metrics on the held-out examples, and "sample"
      writes what evaluation shows, both with the weights of `init_from`.
    resume: continues from the latest checkpoint in `run_dir`.
    init_from: a run folder or a checkpoint, whose weights a new run starts from.
    dry_run: checks all arguments, and returns {} without a run.

    Writes checkpoints/, best/, metrics.jsonl, TensorBoard events and summary.json to
    `run_dir`.

    Raises ValueError for what the machine or the model cannot do, before any work, and
    what `training.loop.train` raises.
    """
    topology = training.check_arguments(
        mesh=mesh, batch_size=batch_size, optimizer=optimizer, step=step, loop=loop
    )
    check_count("num_held_out", num_held_out, minimum=0)
    if num_held_out % batch_size:
        raise ValueError(
            f"num_held_out: given {num_held_out} examples, wanted whole batches of "
            f"{batch_size}"
        )
    data = training.process_data(
        examples.name,
        batch_size,
        training=functools.partial(batches, examples, seed=seed, split=TRAINING),
        held_out=functools.partial(batches, examples, seed=seed, split=HELD_OUT),
        num_held_out_batches=num_held_out // batch_size,
    )
    task = training.Task(
        model=model,
        data=data,
        source=f"{examples.name}: {examples.source}",
        make_show=lambda: _show(data) if "codebook" in model.weights else None,
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


def _show(data: training.Data) -> training.Show:
    """The first held-out pictures, and their reconstructions below them."""
    originals = data.held_out_batch(0)["image"][
        :NUM_SHOWN
    ]  # [pictures, height, width, 3]

    def show(weights: dict[str, np.ndarray]) -> dict[str, Any]:
        tensors = {name: tf.constant(array) for name, array in weights.items()}
        reconstructions = reconstruct(tensors, tf.constant(originals))
        rows = [
            np.concatenate(row, axis=1) for row in (originals / 255, reconstructions)
        ]
        return {"pictures": Image(np.concatenate(rows, axis=0))}

    return show
