"""The random numbers of the transitions of many chains, each at a draw of its own."""

from typing import NamedTuple

import tensorflow as tf

from experiments.inference import philox


class Numbers(NamedTuple):
    """The random numbers of some consecutive transitions of each chain.

    A chain's row 0 is of its transition `first`.  A chain's numbers depend on the seed,
    the chain's number and the transition's: they are those that `prng` draws for all
    chains of one transition.
    """

    first: tf.Tensor  # [chains] int32
    momenta: tf.Tensor  # [rows, dim, chains], white
    directions: tf.Tensor  # [rows, chains] int32: bit k is set if doubling k is forward
    doublings: tf.Tensor  # [rows, max_depth, chains], uniform
    leaf_seed: tf.Tensor  # [rows, chains] int32

    def momentum(self, drawn: tf.Tensor) -> tf.Tensor:
        """The momenta of the transitions `drawn` [chains]: [dim, chains]."""
        dim, chains = self.momenta.shape[1:]
        rows = tf.broadcast_to(self._row(drawn), [dim, chains])
        index = tf.stack(
            [
                rows,
                tf.broadcast_to(tf.range(dim)[:, tf.newaxis], [dim, chains]),
                tf.broadcast_to(tf.range(chains), [dim, chains]),
            ],
            axis=-1,
        )
        return tf.gather_nd(self.momenta, index)

    def is_forward(self, drawn: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
        """Whether their doubling `depth` [chains] goes forward: [chains] bool."""
        bits = self._pick(self.directions, self._row(drawn))
        return tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, depth), 1) == 1

    def doubling_uniform(self, drawn: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
        """The uniform number that doubling `depth` is decided by: [chains]."""
        depth = tf.minimum(depth, self.doublings.shape[1] - 1)
        return self._pick(self.doublings, self._row(drawn), depth)

    def leaf_uniform(
        self, drawn: tf.Tensor, leaf: tf.Tensor, chains: tf.Tensor
    ) -> tf.Tensor:
        """The uniform number that leaf `leaf` [chains] is decided by: [chains]."""
        seed = self._pick(self.leaf_seed, self._row(drawn))
        return philox.uniform(philox.stream(seed, leaf), chains)

    def _row(self, drawn: tf.Tensor) -> tf.Tensor:
        # A chain that has all its draws is past the last row, and reads nothing of it.
        return tf.minimum(drawn - self.first, self.leaf_seed.shape[0] - 1)

    def _pick(self, table: tf.Tensor, *rows: tf.Tensor) -> tf.Tensor:
        chains = tf.range(table.shape[-1])
        return tf.gather_nd(table, tf.stack([*rows, chains], axis=-1))


def draw(
    seed: tf.Tensor,  # [2] int32
    chains: tf.Tensor,  # [chains] int32
    first_draw: tf.Tensor,  # scalar int32: the number of the first transition of all
    first: tf.Tensor,  # [chains] int32: the number after that of row 0
    *,
    rows: int,
    dim: int,
    max_depth: int,
    dtype: tf.DType,
    energy_dtype: tf.DType,
) -> Numbers:
    """The random numbers of `rows` transitions of each chain."""
    root = philox.fold(philox.stream(*tf.unstack(seed[:, tf.newaxis]), loop=True))
    number = first_draw + first + tf.range(rows)[:, tf.newaxis]  # [rows, chains]
    of_draw = philox.stream(tf.broadcast_to(root, number.shape), number, loop=True)
    streams = philox.stream(*philox.split(of_draw), loop=True)  # [4, rows, chains]
    normals, directions, doublings, leaf_seed = philox.several(
        streams,
        [(chains * dim, dim), (chains * max_depth, max_depth)]
        + [(chains * max_depth, max_depth), (tf.zeros_like(chains), 1)],
    )
    depths = tf.range(max_depth)[:, tf.newaxis]
    forward = tf.cast(philox.to_unit(directions) < 0.5, tf.int32)
    return Numbers(
        first=first,
        momenta=tf.cast(tf.math.ndtri(philox.to_unit(normals)), dtype),
        directions=tf.reduce_sum(tf.bitwise.left_shift(forward, depths), axis=1),
        doublings=tf.cast(philox.to_unit(doublings), energy_dtype),
        leaf_seed=tf.bitcast(leaf_seed[0][:, 0], tf.int32),
    )
