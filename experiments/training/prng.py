"""Random numbers that depend on an example's index in the batch, not on its device.

The numbers of TensorFlow's stateless ops depend on the shape and, under DTensor, on the
mesh.  Here each is the Philox of the seed, a name and its index in the global batch: a
batch has the same numbers however it is split over devices.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

# Philox-4x32-10: Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3,
# section 3.3.  A 64-bit key; a 128-bit counter, each value of which is four words.
PHILOX = tf.random.Algorithm.PHILOX
WORDS = 4


class BatchRng(NamedTuple):
    """The source of random numbers for a batch, or for some of its examples."""

    seed: tf.Tensor  # [2] int32, of the run and the step
    first_example: tf.Tensor  # int32: the index of example 0 in the global batch
    # Shards random numbers of all examples [batch, ...] as the examples are.
    distribute: Callable[[tf.Tensor], tf.Tensor] | None = None
    training: bool = True  # False: no dropout; latent variables are still sampled
    num_examples: int | None = None  # in the global batch; set while a loss is computed


def checked_seed(seed: Any) -> tf.Tensor:
    """The seed as a tensor.  Raises ValueError unless it is [2] int32."""
    seed = tf.convert_to_tensor(seed)
    if seed.dtype != tf.int32 or seed.shape != (2,):
        raise ValueError(
            f"seed: given {seed.dtype.name} of shape {seed.shape}, wanted two int32"
        )
    return seed


def bits(rng: BatchRng, name: str, shape: tuple[int, ...]) -> tf.Tensor:
    """Uniform uint32 of `shape` [batch, ...], by seed, name, example and position."""
    num_per_example = math.prod(shape[1:])
    if num_per_example >= 2**31:
        raise ValueError(
            f"{name}: given {num_per_example} numbers an example, wanted below 2**31"
        )
    # The counter's upper half is the name; the lower half runs over the examples, and
    # no two examples share a value of it.
    counts = -(-num_per_example // WORDS)
    low = tf.cast(rng.first_example, tf.int64) * counts
    words = tf.cast(rng.seed, tf.int64) & 0xFFFFFFFF
    key = tf.reduce_sum(words * tf.constant([1, 2**32], tf.int64), keepdims=True)
    whole = num_per_example == WORDS * counts
    numbers = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape if whole else (shape[0], WORDS * counts),
        key=tf.bitcast(key, tf.uint64),  # DTensor cannot from words of another size
        counter=tf.bitcast(tf.stack([low, zlib.crc32(name.encode())]), tf.uint64),
        alg=int(PHILOX.value),
        dtype=tf.uint32,
    )
    if not whole:
        numbers = tf.reshape(numbers[:, :num_per_example], shape)
    return rng.distribute(numbers) if rng.distribute else numbers


def uniform(rng: BatchRng, name: str, shape: tuple[int, ...]) -> tf.Tensor:
    """Float32 strictly between 0 and 1, of 23 bits: [batch, ...]."""
    high = tf.bitwise.right_shift(bits(rng, name, shape), tf.constant(9, tf.uint32))
    return (tf.cast(tf.cast(high, tf.int32), tf.float32) + 0.5) * 2.0**-23


def normal(rng: BatchRng, name: str, shape: tuple[int, ...]) -> tf.Tensor:
    """Standard normal float32 [batch, ...], by the inverse distribution function."""
    return tf.math.ndtri(uniform(rng, name, shape))


def dropout(rng: BatchRng, name: str, x: tf.Tensor, rate: float) -> tf.Tensor:
    """`x` [batch, ...], entries 0 with probability `rate`, others scaled by 1/(1-rate).

    Outside of training, `x` itself.

    Raises ValueError for a rate outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: dropout rate {rate}, wanted at least 0 and below 1")
    if rate == 0 or not rng.training:
        return x
    mask = uniform(rng, name, tuple(x.shape)) >= rate
    return x * tf.cast(mask, x.dtype) * tf.cast(1 / (1 - rate), x.dtype)
