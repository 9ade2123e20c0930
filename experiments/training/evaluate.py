"""Evaluation on held-out data, and what it shows."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.records import checkpoint
from experiments.training.checkpoints import NotFinite
from experiments.training.engine import Engine
from experiments.training.model import Model
from experiments.training.state import loss_inputs
from experiments.training.task import Data, Show


def held_out_metrics(
    engine: Engine, data: Data, seed: int, *, step: int, folder: Path | None
) -> dict[str, float]:
    """Means over the held-out batches, loss and bits_per_dim among them; {} of none.

    step, folder: of the training and its checkpoints, for the error.

    Raises NotFinite, which names the batch.
    """
    batches = [
        as_floats(engine.evaluate(data.held_out_batch(index), index, seed))
        for index in range(data.num_held_out_batches)
    ]
    for index, metrics in enumerate(batches):
        if not math.isfinite(metrics["loss"]):
            latest = checkpoint.latest(folder) if folder else None
            raise NotFinite(
                f"held-out batch {index} after {step} steps: loss {metrics['loss']}; "
                f"the last checkpoint is {latest}"
            )
    return mean_metrics(batches, engine.model) if batches else {}


def shown(engine: Engine, show: Show | None) -> dict[str, Any]:
    """What `show` makes of the weights that evaluation uses; {} without it."""
    if show is None:
        return {}
    arrays = engine.read_variables()
    inputs = loss_inputs(engine.model, ema=engine.settings.ema_decay is not None)
    return show({name: arrays[variable] for name, variable in inputs.items()})


def as_floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Waits for the devices."""
    return {name: float(value) for name, value in metrics.items()}


def mean_metrics(
    metrics: Sequence[Mapping[str, float]], model: Model
) -> dict[str, float]:
    """Means over steps or batches, and the loss as bits per dimension of the data."""
    means = {name: float(np.mean([m[name] for m in metrics])) for name in metrics[0]}
    means["bits_per_dim"] = means["loss"] / math.log(2) / model.dims_per_example
    return means
