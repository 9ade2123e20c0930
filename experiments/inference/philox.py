"""Random numbers of many chains at once, each at its own place in its own stream.

TensorFlow's stateless functions take one seed for a whole array.  Chains that do not
wait for each other need one seed each.  This module computes the same numbers: what
`prng` draws for the seed of one transition, element by element.  Most are drawn by
NumPy before the compiled loop, and the rest by `philox_tensors` within it.

Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3: Philox-4x32-10.
"""

from typing import Any, NamedTuple

import numpy as np

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round
SEED_KEY = (0x3EC8F720, 0x02461E29)  # with which TensorFlow makes keys out of seeds
PASS_BLOCKS = 1 << 14  # of one pass by NumPy: its arrays then stay in a core's cache

FACTORS = tuple(np.uint64(factor) for factor in MULTIPLIERS)
LOW = np.uint64(0xFFFFFFFF)
WORD = np.uint64(32)  # bits

Words = tuple[Any, Any, Any, Any]  # of a counter or a block


class Stream(NamedTuple):
    """The numbers of one seed, for each chain: words of one shape, uint64 arrays."""

    key_0: np.ndarray
    key_1: np.ndarray
    counter_2: np.ndarray  # the counter's upper half; the lower is the place
    counter_3: np.ndarray


def stream(first: np.ndarray, second: np.ndarray) -> Stream:
    """The streams of the seeds [first, second], int32 of one shape."""
    first, second = (np.asarray(part).astype(np.int64) for part in (first, second))
    first, second = first.view(np.uint64), second.view(np.uint64)
    counter = (first & LOW, first >> WORD, second & LOW, second >> WORD)
    return Stream(*_words(counter, (np.uint64(SEED_KEY[0]), np.uint64(SEED_KEY[1]))))


def split(streams: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Four seeds out of each, as `prng.split(seed, 4)` makes them: [4, ...] int32."""
    block = np.arange(2, dtype=np.uint64)
    parts = _block(streams, block.reshape(2, *(1 for _ in streams.key_0.shape)))
    firsts, seconds = parts[0::2], parts[1::2]
    return (
        np.concatenate(list(zip(*firsts, strict=True))).astype(np.int32),
        np.concatenate(list(zip(*seconds, strict=True))).astype(np.int32),
    )


def fold(streams: Stream) -> np.ndarray:
    """What `prng.fold_in` makes of the seed: the first of its two numbers, int32."""
    return _block(streams, np.uint64(0))[0].astype(np.int32)


def fold_in(seed: Any, number: int) -> np.ndarray:
    """What `prng.fold_in` makes of a seed [2] and a number: [2] int32."""
    first = fold(stream(*np.asarray(seed, np.int32)[:, np.newaxis]))
    return np.array([first[0], number], np.int32)


def uniform(seed: Any, shape: tuple[int, int], first: int = 0) -> np.ndarray:
    """What `prng.uniform` draws with the seed [2]: float64 of this shape."""
    rows, num = shape
    one = stream(*np.asarray(seed, np.int32)[:, np.newaxis])
    of_rows = Stream(*(np.repeat(part, rows)[np.newaxis] for part in one))
    start = (np.arange(rows) + first) * num
    return consecutive(of_rows, start, num)[:, 0].T


def consecutive(streams: Stream, start: np.ndarray, num: int) -> np.ndarray:
    """Elements start, start + 1 ... of what `prng.uniform` draws: float64.

    streams: [rows, chains].
    start: [chains] int32.

    Returns [num, rows, chains].
    """
    rows, chains = streams.key_0.shape
    odd = start % 2 == 1
    # Blocks of two elements each, from that which holds the first.
    size = num // 2 + 1 if odd.any() else -(-num // 2)
    block = start // 2 + np.arange(size)[:, np.newaxis, np.newaxis]
    block = block.astype(np.uint64)
    found: np.ndarray = np.empty((size, 2, rows, chains))
    step = max(1, PASS_BLOCKS // (size * chains))
    for row in range(0, rows, step):
        some = slice(row, row + step)
        low_0, high_0, low_1, high_1 = _block(
            Stream(*(part[some] for part in streams)), block
        )
        found[:, 0, some] = _to_unit(low_0, high_0)
        found[:, 1, some] = _to_unit(low_1, high_1)
    found = found.reshape(2 * size, rows, chains)
    return np.where(odd, found[1 : num + 1], found[:num]) if odd.any() else found[:num]


def _block(streams: Stream, block: Any) -> Words:
    """The blocks of these numbers, uint64: four words of each stream."""
    counter = (block, np.uint64(0), streams.counter_2, streams.counter_3)
    return _words(counter, (streams.key_0, streams.key_1))


def _words(counter: Words, key: tuple[Any, Any]) -> Words:
    """Philox of words in the lower halves of uint64, whose shapes are broadcast."""
    c0, c1, c2, c3, _ = (part.copy() for part in np.broadcast_arrays(*counter, key[0]))
    product_0, product_1 = np.empty_like(c0), np.empty_like(c0)
    for k0, k1 in zip(*map(_schedule, key, WEYL), strict=True):
        np.multiply(c0, FACTORS[0], out=product_0)
        np.multiply(c2, FACTORS[1], out=product_1)
        np.right_shift(product_1, WORD, out=c0)
        np.right_shift(product_0, WORD, out=c2)
        c0 ^= c1
        c2 ^= c3
        c0 ^= k0
        c2 ^= k1
        np.bitwise_and(product_1, LOW, out=c1)
        np.bitwise_and(product_0, LOW, out=c3)
    return c0, c1, c2, c3


def _schedule(key: Any, weyl: int) -> np.ndarray:
    """The key of each round."""
    added = np.arange(ROUNDS, dtype=np.uint64) * np.uint64(weyl)
    return (key + added.reshape(-1, *(1 for _ in np.shape(key)))) & LOW


def _to_unit(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What `prng.uniform` makes of 64 bits, low and high words: float64."""
    bits = (high << np.uint64(20)) | (low >> np.uint64(12))
    return (bits.astype(np.float64) + 0.5) * 2.0**-52
