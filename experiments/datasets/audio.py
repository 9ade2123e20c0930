"""Audio clips of one length, by number, and their batches, by number."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.datasets import batches
from experiments.datasets.batches import (
    Examples,
    ordered_batches,
    shuffled_batches,
)

LEAST, MOST = -(2**15), 2**15 - 1  # of a sample of 16 bits


class Split(NamedTuple):
    """Clips by number.  No clip is in two splits."""

    num_clips: int | None  # None: as many as are asked for
    # (number, a generator of its own) -> [length] int16
    clip: Callable[[int, np.random.Generator], np.ndarray]


class Audio(NamedTuple):
    """16-bit mono clips for training and for evaluation."""

    name: str  # kind, sizes and content; a checkpoint resumes only with the same name
    source: str  # origin, and what was left out
    length: int  # samples of a clip
    rate: int  # samples a second
    training: Split
    held_out: Split
    num_threads: int = 1  # for making a batch


def training_batches(
    audio: Audio,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The training batches by number: {"audio": [share, length] int32}.

    Samples are from LEAST to MOST.  See `batches.shuffled_batches`.
    """
    return shuffled_batches(
        _examples(audio, audio.training),
        seed=seed,
        batch_size=batch_size,
        process=process,
        num_processes=num_processes,
    )


def held_out_batches(
    audio: Audio, *, batch_size: int, process: int = 0, num_processes: int = 1
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The held-out batches by number, in order, as dicts like the training batches.

    See `batches.ordered_batches`.
    """
    return ordered_batches(
        _examples(audio, audio.held_out),
        batch_size=batch_size,
        process=process,
        num_processes=num_processes,
    )


def num_held_out_batches(
    audio: Audio, batch_size: int, num_held_out: int | None
) -> int:
    """The number of batches for evaluation; see `batches.num_held_out_batches`."""
    examples = _examples(audio, audio.held_out)
    return batches.num_held_out_batches(examples, batch_size, num_held_out)


def _examples(audio: Audio, split: Split) -> Examples:
    return Examples(audio.name, "clips", "audio", *split, audio.num_threads)
