"""The random numbers of the transitions of many chains, each at a draw of its own."""

import functools
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from experiments.inference import philox

Array = Any  # a tensor within the compiled loop, or an array


class Numbers(NamedTuple):
    """The random numbers of some consecutive transitions of each chain.

    A chain's row 0 is of its transition `first`.  A chain's numbers depend on the seed,
    the chain's number and the transition's: they are those that `prng` draws for all
    chains of one transition.
    """

    first: Array  # [chains] int32
    momenta: Array  # [rows, dim, chains], white
    directions: Array  # [rows, chains] int32: bit k is set if doubling k is forward
    doublings: Array  # [rows, max_depth, chains], uniform
    leaf_seed: Array  # [rows, chains] int32


def draw(
    seed: np.ndarray,  # [2] int32
    chains: np.ndarray,  # [chains] int32
    first: np.ndarray,  # [chains] int32: the number of the transition of row 0
    num_rows: int,  # at most `rows`
    *,
    rows: int,  # of the arrays: those behind `num_rows` are zeros
    dim: int,
    max_depth: int,
    dtype: Any,
    energy_dtype: Any,
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

    def padded(array: np.ndarray, dtype: Any) -> np.ndarray:
        """[..., num_rows, chains] as [rows, ..., chains]."""
        whole = np.zeros((rows, *array.shape[:-2], len(chains)), dtype)
        whole[:num_rows] = np.moveaxis(array, -2, 0)
        return whole

    return Numbers(
        first=first,
        momenta=padded(special.ndtri(uniform(normals, dim)), dtype),
        directions=padded(bits.sum(axis=0), np.int32),
        doublings=padded(uniform(doublings, max_depth), energy_dtype),
        leaf_seed=padded(philox.fold(leaves)[row], np.int32),
    )


@functools.lru_cache
def _root(*seed: int) -> int:
    """What the transitions' numbers are folded into."""
    first, second = np.array(seed, np.int32)[:, np.newaxis]
    return int(philox.fold(philox.stream(first, second))[0])
