"""Random numbers of an example's place in the batch, not of the device it is on.

TensorFlow's stateless draws depend on the shape drawn and, under DTensor, on the mesh.
Here each number is the Philox of the seed, the name and its own place in the global
batch: a batch cut over devices in any way draws what it would whole.
"""

import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Philox-4x32-10: Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3,
# section 3.3.  A 64-bit key; a 128-bit counter, each value of which is four words.
PHILOX = tf.random.Algorithm.PHILOX
WORDS = 4


class BatchRng(NamedTuple):
    """Where the draws of a batch, or of some of its examples, come from."""

    seed: tf.Tensor  # [2] int32, of the run and the step
    first_example: (
        tf.Tensor
    )  # scalar int32: the number, in the global batch, of example 0 here
    # Puts what was drawn of all examples [batch, ...] on the devices that have them.
    distribute: Callable[[tf.Tensor], tf.Tensor] | None = None
    training: bool = True  # False: dropout drops nothing; latent variables are drawn
    num_examples: int | None = None  # in the global batch, where a loss is computed


def bits(rng: BatchRng, name: str, shape: tuple[int, ...]) -> tf.Tensor:
    """Uniform uint32 of `shape`, which is [batch, ...]: of name, example and place."""
    num_places = math.prod(shape[1:])
    if num_places >= 2**31:
        raise ValueError(f"{name}: {num_places} draws an example, wanted below 2**31")
    # The counter's upper half is the name's; the lower one runs over the examples,
    # each of which has whole values of it to itself.
    counts = -(-num_places // WORDS)
    low = tf.cast(rng.first_example, tf.int64) * counts
    words = tf.cast(rng.seed, tf.int64) & 0xFFFFFFFF
    key = tf.reduce_sum(words * tf.constant([1, 2**32], tf.int64), keepdims=True)
    whole = num_places == WORDS * counts
    drawn = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape if whole else (shape[0], WORDS * counts),
        key=tf.bitcast(key, tf.uint64),  # DTensor cannot from words of another size
        counter=tf.bitcast(tf.stack([low, zlib.crc32(name.encode())]), tf.uint64),
        alg=int(PHILOX.value),
        dtype=tf.uint32,
    )
    if not whole:
        drawn = tf.reshape(drawn[:, :num_places], shape)
    return rng.distribute(drawn) if rng.distribute else drawn


def uniform(rng: BatchRng, name: str, shape: tuple[int, ...]) -> tf.Tensor:
    """Float32 strictly between 0 and 1, of 23 bits: [batch, ...]."""
    high = tf.bitwise.right_shift(bits(rng, name, shape), tf.constant(9, tf.uint32))
    return (tf.cast(tf.cast(high, tf.int32), tf.float32) + 0.5) * 2.0**-23


def normal(rng: BatchRng, name: str, shape: tuple[int, ...]) -> tf.Tensor:
    """Standard normal float32 [batch, ...], by the inverse distribution function."""
    return tf.math.ndtri(uniform(rng, name, shape))


def dropout(rng: BatchRng, name: str, x: tf.Tensor, rate: float) -> tf.Tensor:
    """`x` [batch, ...] with entries 0 at `rate`, and the rest scaled to keep its mean.

    `x` itself where nothing is trained.

    Raises ValueError for a rate outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: dropout rate {rate}, wanted at least 0 and below 1")
    if rate == 0 or not rng.training:
        return x
    kept = uniform(rng, name, tuple(x.shape)) >= rate
    return x * tf.cast(kept, x.dtype) * tf.cast(1 / (1 - rate), x.dtype)
