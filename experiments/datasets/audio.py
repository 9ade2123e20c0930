"""Audio clips of one length by number; their batches are those of `batches`."""

from typing import NamedTuple

from experiments.datasets.batches import (
    Split,
    held_out_batches,
    num_held_out_batches,
    training_batches,
)

__all__ = [
    "Audio",
    "Split",
    "held_out_batches",
    "num_held_out_batches",
    "training_batches",
]

LEAST, MOST = -(2**15), 2**15 - 1  # of a sample of 16 bits


class Audio(NamedTuple):
    """16-bit mono clips for training and for evaluation."""

    name: str  # kind, sizes and content; a checkpoint resumes only with the same name
    source: str  # origin, and what was left out
    length: int  # samples of a clip
    rate: int  # samples a second
    training: Split  # examples are [length] int16
    held_out: Split
    num_threads: int = 1  # for making a batch
    left_out: tuple[str, ...] = ()  # the names of corrupt files that were skipped

    what = "clips"
    key = "audio"

    def trained_on(self) -> Split:
        """The training clips as they are."""
        return self.training
