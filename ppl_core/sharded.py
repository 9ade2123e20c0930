"""The posterior of data in shards: each shard's share on its own, and their sum."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ppl_core.transformations import Program
from ppl_core.unconstrained import Unconstrained, unconstrain


class Shard(NamedTuple):
    """Some of the data: what the program takes and what it is to have made of it."""

    args: tuple
    observed: Mapping[str, Any]


def unconstrain_shards(
    program: Program,
    shards: Sequence[Shard],
    *,
    streams: int = 1,
    dtype: tf.DType = tf.float64,
) -> Unconstrained:
    """The posterior given all shards, whose data are independent given the latents.

    It is what `unconstrain` makes of the whole data: log prob and gradient are sums
    over shards, with the prior once.  Each shard is compiled by XLA for itself, so that
    its data are read for the log prob and read again for the gradient while they are
    still in cache, which one pass over everything and then another cannot have.

    streams: how many shards are under way at once, each on a thread of TensorFlow's
      inter-op pool.

    Raises ValueError as `unconstrain` does, and when there is no shard.
    """
    if not shards:
        raise ValueError("unconstrain_shards: given no shard, wanted at least one")
    # Constants of their own, made once, are what the compiled share reads in place.
    shards = [tf.nest.map_structure(tf.convert_to_tensor, shard) for shard in shards]
    first = unconstrain(
        program, *shards[0].args, observed=shards[0].observed, dtype=dtype
    )
    if len(shards) == 1:
        return first

    def share(vectors: tf.Tensor, shard: Shard, prior: bool) -> tuple:
        posterior = unconstrain(
            program, *shard.args, observed=shard.observed, dtype=dtype, prior=prior
        )
        return posterior.log_prob_and_grad(vectors)

    compiled = tf.function(share, jit_compile=True, autograph=False)

    def log_prob_and_grad(vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        done: list[tuple[tf.Tensor, tf.Tensor]] = []
        for i, shard in enumerate(shards):
            # Each waits for its stream's last, or all would be read before any twice.
            before = [done[i - streams][1]] if i >= streams else []
            with tf.control_dependencies(before):
                done.append(compiled(tf.identity(vectors), shard, i == 0))
        log_probs, grads = zip(*done, strict=True)
        return tf.add_n(log_probs), tf.add_n(grads)

    return first._replace(
        log_prob_and_grad=log_prob_and_grad,
        log_prob=lambda vectors: log_prob_and_grad(vectors)[0],
    )
