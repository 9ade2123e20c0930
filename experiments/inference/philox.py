"""Random numbers of many chains at once, each at its own place in its own stream.

TensorFlow's stateless functions take one seed for a whole array.  Chains that do not
wait for each other need one seed each.  This module computes the same numbers: what
`prng` draws for the seed of one transition, element by element.

Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3: Philox-4x32-10.
"""

from typing import NamedTuple

import tensorflow as tf

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round
SEED_KEY = (0x3EC8F720, 0x02461E29)  # with which TensorFlow makes keys out of seeds

Words = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]  # four of uint32


class Stream(NamedTuple):
    """The numbers of one seed, for each chain: uint32 tensors of one shape."""

    key_0: tf.Tensor
    key_1: tf.Tensor
    counter_2: tf.Tensor  # the counter's upper half; the lower is the place
    counter_3: tf.Tensor


def stream(first: tf.Tensor, second: tf.Tensor, *, loop: bool = False) -> Stream:
    """The streams of the seeds [first, second], int32 tensors of one shape.

    loop: whether the rounds are a loop, which compiles faster, or unrolled, which runs
      faster; so everywhere here.
    """
    zeros = tf.zeros_like(_bits(first))
    words = _philox(
        (_bits(first), _sign(first), _bits(second), _sign(second)),
        (zeros + _constant(SEED_KEY[0]), zeros + _constant(SEED_KEY[1])),
        loop,
    )
    return Stream(*words)


def words(streams: Stream, block: tf.Tensor, *, loop: bool = False) -> Words:
    """The block numbered `block`, int32: four words of each stream."""
    block = _bits(block)
    return _philox(
        (block, tf.zeros_like(block), streams.counter_2, streams.counter_3),
        (streams.key_0, streams.key_1),
        loop,
    )


def split(streams: Stream) -> tuple[tf.Tensor, tf.Tensor]:
    """Four seeds out of each, as `prng.split(seed, 4)` makes them: [4, ...] int32."""
    shape = [2, *streams.key_0.shape]
    block = tf.range(2)[:, *(tf.newaxis for _ in shape[1:])]
    both = Stream(*(tf.broadcast_to(part, shape) for part in streams))
    parts = tf.bitcast(
        tf.stack(words(both, tf.broadcast_to(block, shape), loop=True)), tf.int32
    )  # [word, block, ...], two words a seed
    seeds = [(parts[i, j], parts[i + 1, j]) for j in (0, 1) for i in (0, 2)]
    return tuple(tf.stack(halves) for halves in zip(*seeds, strict=True))


def fold(streams: Stream) -> tf.Tensor:
    """What `prng.fold_in` makes of the seed: the first of its two numbers, int32."""
    zeros = tf.zeros(streams.key_0.shape, tf.int32)
    return tf.bitcast(words(streams, zeros, loop=True)[0], tf.int32)


def uniform(streams: Stream, place: tf.Tensor) -> tf.Tensor:
    """Element `place`, int32, of what `prng.uniform` draws with the seed: float64."""
    low_0, high_0, low_1, high_1 = words(streams, place // 2)
    odd = place % 2 == 1
    return to_unit((tf.where(odd, low_1, low_0), tf.where(odd, high_1, high_0)))


def several(
    streams: Stream, places: list[tuple[tf.Tensor, int]]
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Elements start, start + 1 ... of each of several streams, `num` of each.

    streams: [len(places), rows, chains].
    places: for each, its start [chains] and num.

    Returns for each the low and the high words of 64-bit numbers, uint32 of
    [rows, num, chains]: see `to_unit`.
    """
    _, rows, chains = streams.key_0.shape
    # From the block that holds the first, of two elements each.
    sizes = [num // 2 + 1 for _, num in places]
    blocks = tf.concat(
        [
            start // 2 + tf.range(size)[:, tf.newaxis]
            for (start, _), size in zip(places, sizes, strict=True)
        ],
        axis=0,
    )
    wide = Stream(
        *(
            tf.concat(
                [
                    tf.broadcast_to(part[i, :, tf.newaxis], [rows, size, chains])
                    for i, size in enumerate(sizes)
                ],
                axis=1,
            )
            for part in streams
        )
    )
    parts = words(wide, tf.broadcast_to(blocks, [rows, *blocks.shape]), loop=True)

    def elements(first: tf.Tensor, second: tf.Tensor) -> list[tf.Tensor]:
        pairs = tf.stack([first, second], axis=2)
        found = []
        for (start, num), part in zip(places, tf.split(pairs, sizes, 1), strict=True):
            flat = tf.reshape(part, [rows, -1, chains])
            odd = start % 2 == 1
            found.append(tf.where(odd, flat[:, 1 : num + 1], flat[:, :num]))
        return found

    low_0, high_0, low_1, high_1 = parts
    low, high = elements(low_0, low_1), elements(high_0, high_1)
    return list(zip(low, high, strict=True))


def to_unit(words: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """What `prng.uniform` makes of 64 bits, low and high words: float64."""
    low, high = words
    low = tf.cast(tf.bitwise.right_shift(low, _constant(12)), tf.float64)
    return (tf.cast(high, tf.float64) * 2.0**20 + low + 0.5) * 2.0**-52


def _philox(counter: Words, key: tuple[tf.Tensor, tf.Tensor], loop: bool) -> Words:
    def one_round(
        number: tf.Tensor, counter: Words, key: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, Words, tuple[tf.Tensor, tf.Tensor]]:
        c0, c1, c2, c3 = counter
        k0, k1 = key
        high_0, low_0 = _multiply(MULTIPLIERS[0], c0)
        high_1, low_1 = _multiply(MULTIPLIERS[1], c2)
        counter = (_xor(_xor(high_1, c1), k0), low_1, _xor(_xor(high_0, c3), k1), low_0)
        return number + 1, counter, (k0 + _constant(WEYL[0]), k1 + _constant(WEYL[1]))

    state = (tf.constant(0), counter, key)
    if loop:
        state = tf.while_loop(
            lambda number, *_: number < ROUNDS, one_round, state, parallel_iterations=1
        )
    else:
        for _ in range(ROUNDS):
            state = one_round(*state)
    return state[1]


def _multiply(factor: int, word: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The upper and the lower word of a product."""
    product = tf.cast(word, tf.uint64) * tf.constant(factor, tf.uint64)
    high = tf.bitwise.right_shift(product, tf.constant(32, tf.uint64))
    return tf.cast(high, tf.uint32), tf.cast(product, tf.uint32)


def _xor(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(a, b)


def _bits(number: tf.Tensor) -> tf.Tensor:
    return tf.bitcast(number, tf.uint32)


def _sign(number: tf.Tensor) -> tf.Tensor:
    """The upper word of the number as int64."""
    return tf.where(number < 0, _constant(0xFFFFFFFF), _constant(0))


def _constant(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)
