"""Batches that are functions of their number, and how processes share them out."""

import concurrent.futures
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

TRAINING, HELD_OUT = 0, 1  # numbered apart, so that they draw apart


class Examples(NamedTuple):
    """A split of a data set, whatever its examples are."""

    name: str  # of the data set
    what: str  # they are: "images"
    key: str  # in a batch: "image"
    num: int | None  # None: as many as are asked for
    # (number, a generator of its own) -> an array of whole numbers
    example: Callable[[int, np.random.Generator], np.ndarray]
    num_threads: int = 1  # that make a batch


def shuffled_batches(
    examples: Examples,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The batches to train on by number: {key: [share, ...] int32}.

    Every example comes once an epoch, in an order of the seed and the epoch alone.
    Numbers have no end, and cost the same in whatever order they are asked for.

    batch_size: of all processes; example i of it is the same however many there are,
      and `process` gets its share of them.

    Raises ValueError when it does not divide, and for fewer examples than a batch.
    """
    share = process_share(batch_size, num_processes)
    _check_enough(examples, "training", batch_size)
    num = examples.num

    @functools.lru_cache(2)  # a batch may begin in one epoch and end in the next
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, TRAINING, epoch]).permutation(num)

    def example(place: int) -> np.ndarray:
        # 2**32 sets these seeds apart from those of the orders, an epoch each.
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
    """The batches of what is held out, as `shuffled_batches` gives those of the rest.

    In order: the same for every seed, so that runs can be compared.

    Raises ValueError as `shuffled_batches` does, and for a batch after the last.
    """
    share = process_share(batch_size, num_processes)
    _check_enough(examples, "held out", batch_size)
    num_batches = num_whole_batches(examples.num, batch_size)

    def example(place: int) -> np.ndarray:
        return examples.example(place, np.random.default_rng([HELD_OUT, place]))

    made = _batches(examples, example, batch_size, share, process)

    def batch(number: int) -> Mapping[str, np.ndarray]:
        if num_batches is not None and number >= num_batches:
            raise ValueError(
                f"{examples.name}: held-out batch {number} of {batch_size} "
                f"{examples.what}, there are {num_batches}"
            )
        return made(number)

    return batch


def num_whole_batches(num: int | None, batch_size: int) -> int | None:
    """How many whole batches `num` examples make; None where there is no end."""
    return None if num is None else num // batch_size


def num_judged(examples: Examples, batch_size: int, wanted: int | None) -> int:
    """The batches of what is held out to judge by: those wanted, or with None all.

    wanted: examples; all those that make whole batches where it is None.

    Raises ValueError for more than there are, for what makes no whole batches, and for
    None where there is no end.
    """
    there = num_whole_batches(examples.num, batch_size)
    if wanted is None:
        if there is None:
            raise ValueError(
                f"num_held_out: given None, wanted a number of {examples.what}: there "
                f"is no end to {examples.name}"
            )
        return there
    if wanted < 0 or (examples.num is not None and wanted > examples.num):
        raise ValueError(
            f"num_held_out: given {wanted} {examples.what}, {examples.name} has "
            f"{'no end of them' if examples.num is None else examples.num} held out"
        )
    if wanted % batch_size:
        raise ValueError(
            f"num_held_out: {wanted} {examples.what} do not divide by batches of "
            f"{batch_size}"
        )
    return wanted // batch_size


def process_share(batch_size: int, num_processes: int) -> int:
    """How many of a batch's examples each process has.

    Raises ValueError when they do not divide.
    """
    if batch_size < 1 or batch_size % num_processes:
        raise ValueError(
            f"batch_size: {batch_size} examples do not divide over "
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
    """Batches of `example(place)`, made on threads where there are several."""
    pool = None
    if examples.num_threads > 1:
        pool = concurrent.futures.ThreadPoolExecutor(
            examples.num_threads, examples.what
        )

    def batch(number: int) -> Mapping[str, np.ndarray]:
        first = number * batch_size + process * share
        places = range(first, first + share)
        made = list(pool.map(example, places) if pool else map(example, places))
        return {examples.key: np.stack(made).astype(np.int32)}

    return batch
