"""Philox of tensors: the random numbers that the compiled loop draws for itself."""

from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference.philox import MULTIPLIERS, ROUNDS, SEED_KEY, WEYL, Words


def uniform(first: tf.Tensor, second: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Element `place` of what `prng.uniform` draws with the seed [first, second].

    All are int32 of one shape; the result is float64.
    """
    zeros = tf.zeros_like(first, tf.uint32)
    counter = (_bits(first), _sign(first), _bits(second), _sign(second))
    seed_key = tuple(zeros + np.uint32(part) for part in SEED_KEY)
    key_0, key_1, *upper = _tensor_words(counter, seed_key)
    low_0, high_0, low_1, high_1 = _tensor_words(
        (_bits(place // 2), zeros, *upper), (key_0, key_1)
    )
    odd = place % 2 == 1
    low, high = tf.where(odd, low_1, low_0), tf.where(odd, high_1, high_0)
    low = tf.cast(tf.bitwise.right_shift(low, tf.constant(12, tf.uint32)), tf.float64)
    return (tf.cast(high, tf.float64) * 2.0**20 + low + 0.5) * 2.0**-52


def _tensor_words(counter: Words, key: Any) -> Words:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    # Made once, since each constant takes time to trace.
    factors = [tf.constant(factor, tf.uint64) for factor in MULTIPLIERS]
    weyl = [tf.constant(part, tf.uint32) for part in WEYL]
    word = tf.constant(32, tf.uint64)
    for _ in range(ROUNDS):
        product_0 = tf.cast(c0, tf.uint64) * factors[0]
        product_1 = tf.cast(c2, tf.uint64) * factors[1]
        high_0, high_1 = (
            tf.cast(tf.bitwise.right_shift(product, word), tf.uint32)
            for product in (product_0, product_1)
        )
        c0, c2 = high_1 ^ c1 ^ k0, high_0 ^ c3 ^ k1
        c1, c3 = tf.cast(product_1, tf.uint32), tf.cast(product_0, tf.uint32)
        k0, k1 = k0 + weyl[0], k1 + weyl[1]
    return c0, c1, c2, c3


def _bits(number: tf.Tensor) -> tf.Tensor:
    return tf.bitcast(number, tf.uint32)


def _sign(number: tf.Tensor) -> tf.Tensor:
    """The upper word of the number as int64."""
    return tf.where(number < 0, tf.constant(0xFFFFFFFF, tf.uint32), np.uint32(0))
