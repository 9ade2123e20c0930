"""Images of one size by number, and batches that are functions of their number."""

import concurrent.futures
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.datasets.batches import process_share

TRAINING, HELD_OUT = 0, 1  # numbered apart, so that they draw apart


class Split(NamedTuple):
    """Images by number; `check_apart` is for those who make two of them."""

    num_images: int | None  # None: as many as are asked for
    # (number, a generator of its own) -> [size, size, 3] uint8
    image: Callable[[int, np.random.Generator], np.ndarray]


class Images(NamedTuple):
    """Square colour images of 8 bits, to be trained on and to be judged by."""

    name: str  # of kind, sizes and content: a checkpoint goes on with no other
    source: str  # where they came from, and what was left out
    size: int  # pixels of a side
    training: Split
    held_out: Split
    flip: bool = False  # whether half of those trained on are mirrored left to right
    num_threads: int = 1  # that make a batch


class Part(NamedTuple):
    """Some of the images of a file."""

    file: Hashable  # the same for the same file, however it is reached
    label: str  # what an error calls them
    numbers: range = range(1)  # which of the file's images


def check_apart(training: Iterable[Part], held_out: Iterable[Part]) -> None:
    """Raises ValueError, naming it, where an image is trained on and held out."""
    of_file: dict[Hashable, list[Part]] = {}
    for part in training:
        of_file.setdefault(part.file, []).append(part)
    for part in held_out:
        for other in of_file.get(part.file, ()):
            first = max(part.numbers.start, other.numbers.start)
            if first < min(part.numbers.stop, other.numbers.stop):
                also = f", as {other.label}" if other.label != part.label else ""
                raise ValueError(
                    f"{part.label}: is to be trained on and held out{also}"
                )


def training_batches(
    images: Images,
    *,
    seed: int,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The batches to train on by number: {"image": [share, size, size, 3] int32}.

    Every image comes once an epoch, in an order of the seed and the epoch alone.
    Numbers have no end, and cost the same in whatever order they are asked for.

    batch_size: of all processes; example i of it is the same however many there are,
      and `process` gets its share of them.

    Raises ValueError when it does not divide, and for fewer images than a batch.
    """
    split = images.training
    share = process_share(batch_size, num_processes)
    _check_enough(images, "training", split, batch_size)
    num_images = split.num_images

    @functools.lru_cache(2)  # a batch may begin in one epoch and end in the next
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, TRAINING, epoch]).permutation(num_images)

    def example(place: int) -> np.ndarray:
        # 2**32 sets these seeds apart from those of the orders, an epoch each.
        random = np.random.default_rng([seed, TRAINING, 2**32, place])
        number = place
        if num_images is not None:
            epoch, within = divmod(place, num_images)
            number = int(order(epoch)[within])
        image = split.image(number, random)
        return image[:, ::-1] if images.flip and random.random() < 0.5 else image

    return _batches(
        example,
        batch_size=batch_size,
        share=share,
        process=process,
        num_threads=images.num_threads,
    )


def held_out_batches(
    images: Images, *, batch_size: int, process: int = 0, num_processes: int = 1
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """The batches of what is held out, as `training_batches` gives those of the rest.

    In order and as they are: the same for every seed, so that runs can be compared.

    Raises ValueError as `training_batches` does, and for a batch after the last.
    """
    split = images.held_out
    share = process_share(batch_size, num_processes)
    _check_enough(images, "held out", split, batch_size)
    num_batches = num_held_out_batches(images, batch_size)

    def example(place: int) -> np.ndarray:
        return split.image(place, np.random.default_rng([HELD_OUT, place]))

    made = _batches(
        example,
        batch_size=batch_size,
        share=share,
        process=process,
        num_threads=images.num_threads,
    )

    def batch(number: int) -> Mapping[str, np.ndarray]:
        if num_batches is not None and number >= num_batches:
            raise ValueError(
                f"{images.name}: held-out batch {number} of {batch_size} images, "
                f"there are {num_batches}"
            )
        return made(number)

    return batch


def num_held_out_batches(images: Images, batch_size: int) -> int | None:
    """How many whole batches are held out; None where there is no end to them."""
    num_images = images.held_out.num_images
    return None if num_images is None else num_images // batch_size


def num_judged(images: Images, batch_size: int, num_held_out: int | None) -> int:
    """The batches to judge by: those wanted, or with None all that there are.

    Raises ValueError for more than there are, and for None where there is no end.
    """
    there = num_held_out_batches(images, batch_size)
    if num_held_out is None:
        if there is None:
            raise ValueError(
                f"num_held_out: given None, wanted a number of batches: there is no "
                f"end to {images.name}"
            )
        return there
    if num_held_out < 0 or (there is not None and num_held_out > there):
        raise ValueError(
            f"num_held_out: given {num_held_out} batches of {batch_size}, "
            f"{images.name} has {images.held_out.num_images} images held out"
        )
    return num_held_out


def _check_enough(images: Images, which: str, split: Split, batch_size: int) -> None:
    if split.num_images is not None and split.num_images < batch_size:
        raise ValueError(
            f"{images.name}: {split.num_images} images ({which}), wanted at least the "
            f"{batch_size} of a batch"
        )


def _batches(
    example: Callable[[int], np.ndarray],
    *,
    batch_size: int,
    share: int,
    process: int,
    num_threads: int,
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """Batches of `example(place)`, made on threads where there are several."""
    pool = None
    if num_threads > 1:
        pool = concurrent.futures.ThreadPoolExecutor(num_threads, "images")

    def batch(number: int) -> Mapping[str, np.ndarray]:
        first = number * batch_size + process * share
        places = range(first, first + share)
        made = list(pool.map(example, places) if pool else map(example, places))
        return {"image": np.stack(made).astype(np.int32)}

    return batch
