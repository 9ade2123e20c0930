"""Clips of sound of one length by number, and batches that are functions of it."""

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
    """Clips by number; those of two splits are never the same."""

    num_clips: int | None  # None: as many as are asked for
    # (number, a generator of its own) -> [length] int16
    clip: Callable[[int, np.random.Generator], np.ndarray]


class Audio(NamedTuple):
    """Clips of one channel of 16 bits, to be trained on and to be judged by."""

    name: str  # of kind, sizes and content: a checkpoint goes on with no other
    source: str  # where they came from, and what was left out
    length: int  # samples of a clip
    rate: int  # samples a second
    training: Split
    held_out: Split
    num_threads: int = 1  # that make a batch


def training_batches(
    audio: Audio,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The batches to train on by number: {"audio": [share, length] int32}.

    Samples are from LEAST to MOST.  The rest is as `batches.shuffled_batches` has it.
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
    """The batches of what is held out, as `training_batches` gives those of the rest.

    In order.  The rest is as `batches.ordered_batches` has it.
    """
    return ordered_batches(
        _examples(audio, audio.held_out),
        batch_size=batch_size,
        process=process,
        num_processes=num_processes,
    )


def num_judged(audio: Audio, batch_size: int, num_held_out: int | None) -> int:
    """The batches to judge by, as `batches.num_judged` has them."""
    examples = _examples(audio, audio.held_out)
    return batches.num_judged(examples, batch_size, num_held_out)


def _examples(audio: Audio, split: Split) -> Examples:
    return Examples(audio.name, "clips", "audio", *split, audio.num_threads)
