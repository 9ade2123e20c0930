"""Batches by number, and each process's part of them."""

import concurrent.futures
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

# Part of the seeds, so that the splits draw different numbers.
TRAINING, HELD_OUT = 0, 1


class Examples(NamedTuple):
    """A split of a data set with examples of any kind."""

    name: str  # of the data set
    what: str  # of the examples in errors: "images"
    key: str  # of the examples in a batch: "image"
    num: int | None  # None: unlimited
    # (number, a generator of its own) -> an array of whole numbers
    example: Callable[[int, np.random.Generator], np.ndarray]
    num_threads: int = 1  # for making a batch


def shuffled_batches(
    examples: Examples,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The training batches by number: {key: [share, ...] int32}.

    Every example comes once an epoch, in an order that depends on seed and epoch alone.
    The number of batches is unlimited.  Random access costs no more than order.

    batch_size: of all processes.  Its example i does not depend on their number, and
      `process` gets an equal share.

    Raises ValueError if the batch does not divide, and for fewer examples than a batch.
    """
    share = process_share(batch_size, num_processes)
    _check_enough(examples, "training", batch_size)
    num = examples.num

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
        return examples.example(number, random)

    return _batches(examples, example, batch_size, share, process)


def ordered_batches(
    examples: Examples, *, batch_size: int, process: int = 0, num_processes: int = 1
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The held-out batches by number, in order: {key: [share, ...] int32}.

    They are the same for every seed, so that runs can be compared.

    Raises ValueError as `shuffled_batches` does, and for a batch after the last.
    """
    share = process_share(batch_size, num_processes)
    _check_enough(examples, "held out", batch_size)
    num_batches = num_whole_batches(examples.num, batch_size)

    def example(place: int) -> np.ndarray:
        return examples.example(place, np.random.default_rng([HELD_OUT, place]))

    load = _batches(examples, example, batch_size, share, process)

    def batch(number: int) -> Mapping[str, np.ndarray]:
        if num_batches is not None and number >= num_batches:
            raise ValueError(
                f"{examples.name}: held-out batch {number} of {batch_size} "
                f"{examples.what}, there are {num_batches}"
            )
        return load(number)

    return batch


def num_whole_batches(num: int | None, batch_size: int) -> int | None:
    """The number of whole batches in `num` examples; None if unlimited."""
    return None if num is None else num // batch_size


def num_held_out_batches(
    examples: Examples, batch_size: int, wanted: int | None
) -> int:
    """The number of held-out batches for evaluation.

    wanted: examples; None: all that make whole batches.

    Raises ValueError for more examples than there are, for examples that do not divide
    into batches, and for None if the examples are unlimited.
    """
    num_batches = num_whole_batches(examples.num, batch_size)
    if wanted is None:
        if num_batches is None:
            raise ValueError(
                f"num_held_out: given None, wanted a number of {examples.what}: there "
                f"is no end to {examples.name}"
            )
        return num_batches
    if wanted < 0 or (examples.num is not None and wanted > examples.num):
        raise ValueError(
            f"num_held_out: given {wanted} {examples.what}, {examples.name} has "
            f"{'no end of them' if examples.num is None else examples.num} held out"
        )
    if wanted % batch_size:
        raise ValueError(
            f"num_held_out: given {wanted} {examples.what}, wanted a multiple of the "
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


def _check_enough(examples: Examples, which: str, batch_size: int) -> None:
    if examples.num is not None and examples.num < batch_size:
        raise ValueError(
            f"{examples.name}: {examples.num} {examples.what} ({which}), wanted at "
            f"least the {batch_size} of a batch"
        )


def _batches(
    examples: Examples,
    example: Callable[[int], np.ndarray],
    batch_size: int,
    share: int,
    process: int,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """Batches of `example(place)`, on several threads if `num_threads` is above 1."""
    pool = None
    if examples.num_threads > 1:
        pool = concurrent.futures.ThreadPoolExecutor(
            examples.num_threads, examples.what
        )

    def batch(number: int) -> Mapping[str, np.ndarray]:
        first = number * batch_size + process * share
        places = range(first, first + share)
        arrays = list(pool.map(example, places) if pool else map(example, places))
        return {examples.key: np.stack(arrays).astype(np.int32)}

    return batch
