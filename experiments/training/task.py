"""One description of what is trained, on which data, and what is reported of it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.cluster import processes
from experiments.training.model import Model

Batch = Mapping[str, np.ndarray]
# Weights (the average where one is kept) and state by name -> numbers, and `Image` and
# `Audio` of `experiments.records.media`, by name.
Show = Callable[[dict[str, np.ndarray]], dict[str, Any]]


class Data(NamedTuple):
    """Batches by index: the same ones whenever and in whatever order asked for."""

    name: str
    batch_size: int  # examples of all processes together
    training_batch: Callable[[int], Batch]  # this process's part of the batch
    held_out_batch: Callable[[int], Batch]
    num_held_out_batches: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained and reported; where it runs is the engine's."""

    model: Model
    data: Data
    source: str  # of the data: a reader must know real data from synthetic
    data_kind: str = "examples"  # the key of the data's name in the summary
    left_out: tuple[str, ...] = ()  # files of the data that were skipped as corrupt
    unit: str = "examples"  # what an example is called: "images"
    placement: Any = None  # of the model's parts: an engines.manual_placement.Placement
    # Both are called in the first process alone, when the engine has its devices.
    reference_bits: Callable[[], Mapping[str, float]] = dict  # other codecs' bits
    make_show: Callable[[], Show | None] = lambda: None  # what evaluation shows
    num_shown: int = 0  # how many samples; 0: none

    @property
    def summary(self) -> dict[str, Any]:
        """What the summary says of the task."""
        return {
            "model": self.model.name,
            self.data_kind: self.data.name,
            "source": self.source,
            f"num_held_out_{self.unit}": self.num_held_out,
            **({"left_out": list(self.left_out)} if self.left_out else {}),
        }

    @property
    def num_held_out(self) -> int:
        """Examples that evaluation uses."""
        return self.data.num_held_out_batches * self.data.batch_size


def process_data(
    name: str,
    batch_size: int,
    *,
    training: Callable[..., Callable[[int], Batch]],
    held_out: Callable[..., Callable[[int], Batch]],
    num_held_out_batches: int,
) -> Data:
    """The data as this process has them: its part of every batch.

    training, held_out: functions of `batch_size`, `process` and `num_processes` that
      return a process's parts of the batches by index.
    """
    process = processes.current()
    part = {
        "batch_size": batch_size,
        "process": process.index,
        "num_processes": process.count,
    }
    return Data(
        name, batch_size, training(**part), held_out(**part), num_held_out_batches
    )
