"""What the compiled loop reads of its random numbers, each chain at its own draw."""

import tensorflow as tf

from experiments.inference import philox_tensors
from experiments.inference.streams import Numbers


def momentum(numbers: Numbers, drawn: tf.Tensor) -> tf.Tensor:
    """The white momenta of the transitions `drawn` [chains]: [dim, chains]."""
    dim, chains = numbers.momenta.shape[1:]
    rows = tf.broadcast_to(_row(numbers, drawn), [dim, chains])
    index = tf.stack(
        [
            rows,
            tf.broadcast_to(tf.range(dim)[:, tf.newaxis], [dim, chains]),
            tf.broadcast_to(tf.range(chains), [dim, chains]),
        ],
        axis=-1,
    )
    return tf.gather_nd(numbers.momenta, index)


def is_forward(numbers: Numbers, drawn: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
    """Whether their doubling `depth` [chains] goes forward: [chains] bool."""
    bits = _pick(numbers.directions, _row(numbers, drawn))
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, depth), 1) == 1


def doubling_uniform(numbers: Numbers, drawn: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
    """The uniform number that doubling `depth` is decided by: [chains]."""
    depth = tf.minimum(depth, numbers.doublings.shape[1] - 1)
    return _pick(numbers.doublings, _row(numbers, drawn), depth)


def leaf_uniform(
    numbers: Numbers, drawn: tf.Tensor, leaf: tf.Tensor, chains: tf.Tensor
) -> tf.Tensor:
    """The uniform number that leaf `leaf` [chains] is decided by: [chains]."""
    seed = _pick(numbers.leaf_seed, _row(numbers, drawn))
    return philox_tensors.uniform(seed, leaf, chains)


def _row(numbers: Numbers, drawn: tf.Tensor) -> tf.Tensor:
    # A chain that has all its draws is past the last row, and reads nothing of it.
    return tf.minimum(drawn - numbers.first, numbers.leaf_seed.shape[0] - 1)


def _pick(table: tf.Tensor, *rows: tf.Tensor) -> tf.Tensor:
    chains = tf.range(table.shape[-1])
    return tf.gather_nd(table, tf.stack([*rows, chains], axis=-1))
