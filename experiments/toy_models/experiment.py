"""The experiment: train a toy model on its synthetic data, on any mesh."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import training
from experiments.engines.experiment import experiment
from experiments.records.media import Image
from experiments.toy_models.autoencoder import reconstruct
from experiments.toy_models.data import HELD_OUT, TRAINING, Examples, batches
from experiments.training.checks import check_count
from experiments.training.model import Model

NUM_SHOWN = 4  # pictures


@experiment
def train(
    *, seed: int, model: Model, examples: Examples, batch_size: int, num_held_out: int
) -> training.Task:
    """Trains a toy model on its synthetic data; returns the summary.

    num_held_out: examples that evaluation uses, in whole batches.

    The other arguments are those of `engines.experiment.run`.
    """
    check_count("num_held_out", num_held_out, minimum=0)
    if num_held_out % batch_size:
        raise ValueError(
            f"num_held_out: given {num_held_out} examples, wanted whole batches of "
            f"{batch_size}"
        )
    _check_fit(model, examples)
    data = training.process_data(
        examples.name,
        batch_size,
        training=functools.partial(batches, examples, seed=seed, split=TRAINING),
        held_out=functools.partial(batches, examples, seed=seed, split=HELD_OUT),
        num_held_out_batches=num_held_out // batch_size,
    )
    return training.Task(
        model=model,
        data=data,
        source=f"{examples.name}: {examples.source}",
        make_show=lambda: _show(data) if "codebook" in model.weights else None,
        num_shown=NUM_SHOWN if "codebook" in model.weights else 0,
    )


def _check_fit(model: Model, examples: Examples) -> None:
    """Raises ValueError for examples of another size than the model's."""
    (array,) = examples.make(np.random.default_rng(0)).values()
    if array.size != model.dims_per_example:
        raise ValueError(
            f"examples: given {examples.name} of {array.size} numbers, wanted the "
            f"{model.dims_per_example} of {model.name}"
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
