"""The random numbers of the transitions of many chains, each at a draw of its own."""

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special

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
        return philox.uniform(seed, leaf, chains)

    def _row(self, drawn: tf.Tensor) -> tf.Tensor:
        # A chain that has all its draws is past the last row, and reads nothing of it.
        return tf.minimum(drawn - self.first, self.leaf_seed.shape[0] - 1)

    def _pick(self, table: tf.Tensor, *rows: tf.Tensor) -> tf.Tensor:
        chains = tf.range(table.shape[-1])
        return tf.gather_nd(table, tf.stack([*rows, chains], axis=-1))


def draw(
    seed: tf.Tensor,  # [2] int32
    chains: np.ndarray,  # [chains] int32
    first: np.ndarray,  # [chains] int32: the number of the transition of row 0
    num_rows: int,  # at most `rows`
    *,
    rows: int,  # of the arrays: those behind `num_rows` are zeros
    dim: int,
    max_depth: int,
    dtype: tf.DType,
    energy_dtype: tf.DType,
) -> Numbers:
    """The random numbers of `num_rows` transitions of each chain.

    By NumPy, which is as fast here as XLA's code, and needs no compilation.
    """
    # What depends on the transition alone is shared by the chains that come to it.
    number, row = np.unique(
        first + np.arange(num_rows, dtype=np.int32)[:, np.newaxis], return_inverse=True
    )
    root = np.full_like(number, _root(*np.asarray(seed).tolist()))
    seeds = philox.split(philox.stream(root, number))
    normals, directions, doublings, leaves = (
        philox.Stream(*parts) for parts in zip(*philox.stream(*seeds), strict=True)
    )

    def uniform(streams: philox.Stream, num: int) -> np.ndarray:
        of_chains = philox.Stream(*(part[row] for part in streams))
        return philox.consecutive(of_chains, chains * np.int32(num), num)

    forward = uniform(directions, max_depth) < 0.5
    bits = forward << np.arange(max_depth, dtype=np.int32)[:, np.newaxis, np.newaxis]

    def padded(array: np.ndarray, dtype: Any) -> tf.Tensor:
        """[..., num_rows, chains] as [rows, ..., chains]."""
        whole = np.zeros((rows, *array.shape[:-2], len(chains)), dtype)
        whole[:num_rows] = np.moveaxis(array, -2, 0)
        return tf.constant(whole)

    return Numbers(
        first=tf.constant(first),
        momenta=padded(special.ndtri(uniform(normals, dim)), dtype.as_numpy_dtype),
        directions=padded(bits.sum(axis=0), np.int32),
        doublings=padded(uniform(doublings, max_depth), energy_dtype.as_numpy_dtype),
        leaf_seed=padded(philox.fold(leaves)[row], np.int32),
    )


@functools.lru_cache
def _root(*seed: int) -> int:
    """What the transitions' numbers are folded into."""
    first, second = np.array(seed, np.int32)[:, np.newaxis]
    return int(philox.fold(philox.stream(first, second))[0])
