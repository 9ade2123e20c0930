"""Batches by number, and each process's part of them."""

import concurrent.futures
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

# Part of the seeds, so that the splits draw different numbers.
TRAINING, HELD_OUT = 0, 1
Batches = Callable[[int], Mapping[str, np.ndarray]]


class Split(NamedTuple):
    """Examples by number.  No example is in two splits."""

    num: int | None  # None: as many as are asked for
    # (number, a generator of its own) -> an array of whole numbers
    example: Callable[[int, np.random.Generator], np.ndarray]


class Dataset(Protocol):
    """Examples for training and for evaluation: `Images` and `Audio` are such."""

    name: str
    held_out: Split
    num_threads: int  # for making a batch
    what: str  # of the examples in errors: "images"
    key: str  # of the examples in a batch: "image"

    def trained_on(self) -> Split:
        """The training examples."""


def training_batches(
    data: Dataset,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Batches:
    """The training batches by number: {key: [share, ...] int32}.

    Every example comes once an epoch, in an order that depends on seed and epoch alone.
    The number of batches is unlimited.  Random access costs no more than order.

    batch_size: of all processes.  Its example i does not depend on their number, and
      `process` gets an equal share.

    Raises ValueError if the batch does not divide, and for fewer examples than a batch.
    """
    num, load = data.trained_on()

    @functools.lru_cache(2)  # a batch may begin in one epoch and end in the next
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, TRAINING, epoch]).permutation(num)

    def example(place: int) -> np.ndarray:
        # 2**32 keeps these seeds different from those of the epochs' orders.
        random = np.random.default_rng([seed, TRAINING, 2**32, place])
        number = place
        if num is not None:
            epoch, within = divmod(place, num)
            number = int(order(epoch)[within])
        return load(number, random)

    _check_enough(data, num, "training", batch_size)
    return _batches(data, example, batch_size, process, num_processes)


def held_out_batches(
    data: Dataset, *, batch_size: int, process: int = 0, num_processes: int = 1
) -> Batches:
    """The held-out batches by number, in order, as dicts like the training batches.

    They are the same for every seed, so that runs can be compared.

    Raises ValueError as `training_batches` does, and for a batch after the last.
    """
    num, load = data.held_out

    def example(place: int) -> np.ndarray:
        return load(place, np.random.default_rng([HELD_OUT, place]))

    _check_enough(data, num, "held out", batch_size)
    batches = _batches(data, example, batch_size, process, num_processes)

    def batch(number: int) -> Mapping[str, np.ndarray]:
        if num is not None and number >= num // batch_size:
            raise ValueError(
                f"{data.name}: held-out batch {number} of {batch_size} {data.what}, "
                f"there are {num // batch_size}"
            )
        return batches(number)

    return batch


def num_held_out_batches(data: Dataset, batch_size: int, wanted: int | None) -> int:
    """The number of held-out batches for evaluation.

    wanted: examples; None: all that make whole batches.

    Raises ValueError for more examples than there are, for examples that do not divide
    into batches, and for None if the examples are unlimited.
    """
    num, what = data.held_out.num, data.what
    if wanted is None and num is None:
        raise ValueError(
            f"num_held_out: given None, wanted a number of {what}: there is no end to "
            f"{data.name}"
        )
    if wanted is None:
        return num // batch_size
    if wanted < 0 or (num is not None and wanted > num):
        raise ValueError(
            f"num_held_out: given {wanted} {what}, {data.name} has "
            f"{'no end of them' if num is None else num} held out"
        )
    if wanted % batch_size:
        raise ValueError(
            f"num_held_out: given {wanted} {what}, wanted a multiple of the "
            f"{batch_size} of a batch"
        )
    return wanted // batch_size


def process_share(batch_size: int, num_processes: int) -> int:
    """The number of a batch's examples for each process.

    Raises ValueError if they do not divide.
    """
    if batch_size < 1 or batch_size % num_processes:
        raise ValueError(
            f"batch_size: given {batch_size}, wanted a positive multiple of the "
            f"{num_processes} processes"
        )
    return batch_size // num_processes


def _check_enough(data: Dataset, num: int | None, which: str, batch_size: int) -> None:
    if num is not None and num < batch_size:
        raise ValueError(
            f"{data.name}: {num} {data.what} ({which}), wanted at least the "
            f"{batch_size} of a batch"
        )


def _batches(
    data: Dataset,
    example: Callable[[int], np.ndarray],
    batch_size: int,
    process: int,
    num_processes: int,
) -> Batches:
    """Batches of `example(place)`, on several threads if `num_threads` is above 1."""
    share = process_share(batch_size, num_processes)
    pool = None
    if data.num_threads > 1:
        pool = concurrent.futures.ThreadPoolExecutor(data.num_threads, data.what)

    def batch(number: int) -> Mapping[str, np.ndarray]:
        first = number * batch_size + process * share
        places = range(first, first + share)
        arrays = list(pool.map(example, places) if pool else map(example, places))
        return {data.key: np.stack(arrays, dtype=np.int32)}

    return batch
