"""The posterior of data in shards: each shard's share on its own, and their sum."""

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ppl_core.posterior import Posterior, unconstrain
from ppl_core.transformations import Program


class Shard(NamedTuple):
    """Some of the data: what the program takes and what it is to have made of it."""

    args: tuple
    observed: Mapping[str, Any]
    device: str | None = None  # "GPU:1", that keeps and computes it; None: any


def unconstrain_shards(
    program: Program,
    shards: Sequence[Shard],
    *,
    num_streams: int = 1,
    shards_per_call: int = 16,
    dtype: tf.DType = tf.float64,
) -> Posterior:
    """The posterior given all shards, whose data are independent given the latents.

    It is what `unconstrain` makes of the whole data: log prob and gradient are sums
    over shards, with the prior once.  Within a call of XLA one shard follows another,
    so that the data of each are read for the log prob and read again for the gradient
    while they are still in cache, which one pass over everything and then another
    cannot have.

    Shards may be on several devices, each of which adds up its own: the vectors go
    there, a log prob and a gradient come back, and the data stay.  Not within a
    function that XLA compiles as a whole, which knows one device.  Data of int32 are
    for one device: TensorFlow keeps them in the host's memory and copies them at each
    call.

    num_streams: how many shards of a device are under way at once, each on a thread of
      TensorFlow's inter-op pool.
    shards_per_call: how many shards at most are compiled into one call, which costs ten
      microseconds or more however little it does; compiling takes longer for it.

    Raises ValueError as `unconstrain` does, when there is no shard, for less than one
    stream or shard a call, and for a device that is not there, instead of which
    TensorFlow would take another.
    """
    if not shards:
        raise ValueError("unconstrain_shards: given no shard, wanted at least one")
    if num_streams < 1 or shards_per_call < 1:
        raise ValueError(
            f"unconstrain_shards: given {num_streams} streams and {shards_per_call} "
            "shards a call, wanted at least 1 of each"
        )
    _check_devices({shard.device for shard in shards} - {None})
    shards = [_placed(shard) for shard in shards]
    first = unconstrain(
        program, *shards[0].args, observed=shards[0].observed, dtype=dtype
    )
    if len(shards) == 1 and shards[0].device is None:
        return first

    @tf.function(autograph=False)  # traced once for all shards of a shape
    def share(
        vectors: tf.Tensor, args: tuple, observed: dict, include_prior: bool
    ) -> tuple:
        posterior = unconstrain(
            program, *args, observed=observed, dtype=dtype, include_prior=include_prior
        )
        return posterior.log_prob_and_grad(vectors)

    def shares(vectors: tf.Tensor, data: list, include_prior: bool) -> tuple:
        done: list[tuple[tf.Tensor, tf.Tensor]] = []
        for args, observed in data:
            done.append(share(vectors, args, observed, include_prior and not done))
            # Each waits for the last, or XLA would read all of them before any twice;
            # it knows no control dependencies and must assume that 0 times this counts.
            grad = done[-1][1]
            zero = tf.where(tf.math.is_finite(grad), 0.0 * grad, tf.zeros_like(grad))
            vectors += zero
        return _sum(done)

    # Its gradient is its own work, and so on its device; a tape around would not be.
    compiled = tf.function(shares, jit_compile=True, autograph=False)
    by_device: dict[str | None, list[Shard]] = {}
    for shard in shards:
        by_device.setdefault(shard.device, []).append(shard)

    def sum_on(device: str | None, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        done: list[tuple[tf.Tensor, tf.Tensor]] = []
        with _on(device):
            vectors = tf.identity(vectors)
            calls = _calls(by_device[device], num_streams, shards_per_call)
            for i, call in enumerate(calls):
                # A call waits for its stream's last, for the same reason.
                before = [done[i - num_streams][1]] if i >= num_streams else []
                data = [(shard.args, shard.observed) for shard in call]
                with tf.control_dependencies(before):
                    first_of_all = call[0] is shards[0]
                    done.append(compiled(tf.identity(vectors), data, first_of_all))
            return _sum(done)

    def log_prob_and_grad(vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _sum([sum_on(device, vectors) for device in by_device])

    return first._replace(
        log_prob_and_grad=log_prob_and_grad,
        log_prob=lambda vectors: log_prob_and_grad(vectors)[0],
    )


def _calls(shards: list[Shard], num_streams: int, at_most: int) -> list[list[Shard]]:
    """The shards in order, a list a call: about as many in each, as many a stream."""
    rounds = math.ceil(len(shards) / (num_streams * at_most))
    count = min(len(shards), rounds * num_streams)
    edges = [i * len(shards) // count for i in range(count + 1)]
    return [shards[i:j] for i, j in itertools.pairwise(edges)]


def _placed(shard: Shard) -> Shard:
    """The shard as tensors on its device."""
    # Constants of their own, made once, are what the compiled share reads in place.
    with _on(shard.device):
        args, observed = tf.nest.map_structure(
            tf.convert_to_tensor, (shard.args, dict(shard.observed))
        )
    return Shard(args, observed, shard.device)


def _check_devices(wanted: set[str]) -> None:
    there = [device.name for device in tf.config.list_logical_devices()]
    known = {_kind_and_index(name) for name in there}
    for device in sorted(wanted):
        if _kind_and_index(device) not in known:
            raise ValueError(f"device: given {device!r}, wanted one of {there}")


def _kind_and_index(device: str) -> tuple[str | None, int | None]:
    spec = tf.DeviceSpec.from_string(device)
    return spec.device_type, spec.device_index


def _on(device: str | None) -> contextlib.AbstractContextManager:
    """Places what is made in the block; None leaves the choice to who calls."""
    return contextlib.nullcontext() if device is None else tf.device(device)


def _sum(parts: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> tuple[tf.Tensor, tf.Tensor]:
    log_probs, grads = zip(*parts, strict=True)
    return tf.add_n(log_probs), tf.add_n(grads)
