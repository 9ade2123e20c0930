"""Random numbers that are the same on every device, with XLA or without.

TensorFlow's own float draws are not: XLA makes others of the same seed.  Its integers
of the whole range agree, and everything here is made of them.
"""

import tensorflow as tf

RNG = "philox"  # named, since what TensorFlow picks by itself depends on the device


def split(seed: tf.Tensor, num: int) -> list[tf.Tensor]:
    """`num` seeds out of one, each [2] int32."""
    return tf.unstack(tf.random.split(seed, num, alg=RNG))


def fold_in(seed: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """The seed numbered `number` of those made from `seed`: [2] int32."""
    return tf.random.fold_in(seed, number, alg=RNG)


def uniform(seed: tf.Tensor, shape: tuple[int, ...], first: int = 0) -> tf.Tensor:
    """Uniform draws strictly between 0 and 1: float64, 52 bits each.

    A larger first dimension adds draws behind the others and leaves those as they were.

    first: where in such a larger first dimension these draws begin.
    """
    bits = tf.random.stateless_uniform(
        (first + shape[0], *shape[1:]),
        seed,
        minval=None,
        maxval=None,
        dtype=tf.int64,
        alg=RNG,
    )
    bits = bits[first:] if first else bits
    # Not 53: the largest, with its half, would round to 1.
    high = tf.bitwise.right_shift(
        tf.bitcast(bits, tf.uint64), tf.constant(12, tf.uint64)
    )
    return (tf.cast(tf.bitcast(high, tf.int64), tf.float64) + 0.5) * 2.0**-52


def normal(
    seed: tf.Tensor, shape: tuple[int, ...], dtype: tf.DType, first: int = 0
) -> tf.Tensor:
    """Standard normal draws, by the inverse of the distribution function.

    first: as of `uniform`.
    """
    return tf.cast(tf.math.ndtri(uniform(seed, shape, first)), dtype)
