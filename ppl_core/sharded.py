"""The posterior of data in shards: one part of the log prob for each, and their sum."""

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ppl_core.censoring import Interval, to_bounds
from ppl_core.data import to_tensor
from ppl_core.design import DesignMatrix
from ppl_core.gradients import reached_from
from ppl_core.precision import cast, in_dtype
from ppl_core.random_variable import RandomVariable
from ppl_core.sites import Site, bijector_of, find_sites, run_in_the_middle
from ppl_core.trace import checked_data, only_tracers
from ppl_core.tracers import inherited_tracers
from ppl_core.transformations import Program, label_of
from ppl_core.unconstrained import Posterior, unconstrain

_Result = tuple[tf.Tensor, tf.Tensor]  # log prob [chains], gradient [chains, dim]


class Shard(NamedTuple):
    """Some of the data: the program's arguments and the observed values.

    An `Interval` among the values has its own bounds in each shard.
    """

    args: tuple[Any, ...]
    observed: Mapping[str, Any]
    device: str | None = None  # such as "GPU:1", which keeps the data; None: any


def unconstrain_shards(
    program: Program,
    shards: Sequence[Shard],
    *,
    num_streams: int = 1,
    shards_per_call: int = 16,
    dtype: tf.DType = tf.float64,
) -> Posterior:
    """Returns the posterior given all shards, independent given the latent variables.

    It equals what `unconstrain` returns for the whole data: log prob and gradient are
    sums over shards.  The prior counts once, and so does every other term that depends
    neither on a shard's data nor on its arguments, nor on their number of rows.

    Within one call of XLA the shards follow each other.  The data of a shard are then
    still in the CPU's cache when the gradient reads them again after the log prob.
    With the whole data in one shard they are not.

    Shards may be on several devices.  Each device adds up its own; only the vectors,
    the log prob and the gradient are copied.  Several devices do not work inside a
    function that XLA compiles as a whole, because XLA compiles for one device.  Use
    one device for int32 data: TensorFlow keeps them in host memory and copies them at
    each call.

    num_streams: the number of shards of a device that run at the same time, each on a
      thread of TensorFlow's inter-op pool.
    shards_per_call: the most shards that are compiled into one call.  A call costs at
      least ten microseconds; more shards a call take longer to compile.

    Raises ValueError as `unconstrain` does, if there is no shard, for less than one
    stream or shard per call, for a latent variable whose prior differs between shards,
    and for an unknown device (TensorFlow would silently use another one).
    """
    if not isinstance(shards, Sequence) or isinstance(shards, Shard):
        raise TypeError(
            f"unconstrain_shards: given a {type(shards).__name__}, wanted a list of "
            "Shards"
        )
    if not shards:
        raise ValueError("unconstrain_shards: given no shard, wanted at least one")
    if min(num_streams, shards_per_call) < 1:
        raise ValueError(
            f"unconstrain_shards: given {num_streams=}, {shards_per_call=}, wanted at "
            "least 1 of each"
        )
    for shard in shards:
        is_shard = isinstance(shard, Shard) and isinstance(shard.args, tuple)
        if not is_shard or not isinstance(shard.observed, Mapping):
            raise TypeError(
                f"unconstrain_shards: given a {type(shard).__name__}, wanted Shards, "
                "each of a tuple of arguments and a dict of observed values"
            )
    if dtype not in (tf.float32, tf.float64):
        raise ValueError(f"dtype: given {dtype}, wanted tf.float64 or tf.float32")
    dtype = tf.as_dtype(dtype)
    _check_devices({s.device for s in shards if s.device is not None})
    shards = [_on_its_device(shard, dtype) for shard in shards]
    inherited = inherited_tracers()
    first = unconstrain(
        program, *shards[0].args, observed=shards[0].observed, dtype=dtype
    )
    if len(shards) == 1 and shards[0].device is None:
        return first
    shorter = _without_a_row(shards[-1])
    _check_shards(program, shards, shorter, dtype)
    shards = [_with_bounds(shard) for shard in shards]
    if shorter is not None:
        shorter = _with_bounds(shorter)
    of_rows = _terms_of_rows(program, shards, shorter, dtype)

    @tf.function(autograph=False)  # traced once for all shards of one shape
    def part_of_one(
        vectors: tf.Tensor,
        args: tuple[Any, ...],
        observed: dict[str, Any],
        is_first: bool,
    ) -> _Result:
        with only_tracers(inherited), checked_data():
            posterior = unconstrain(
                program,
                *args,
                observed=observed,
                dtype=dtype,
                only=None if is_first else of_rows,
            )
        return posterior.log_prob_and_grad(vectors)

    def sum_of_parts(vectors: tf.Tensor, data: list[Any], is_first: bool) -> _Result:
        parts: list[_Result] = []
        for args, observed in data:
            parts.append(part_of_one(vectors, args, observed, is_first and not parts))
            # Each shard depends on the last one's result.  Otherwise XLA would read all
            # shards for the log prob before any for the gradient.  XLA ignores control
            # dependencies, but cannot assume that 0 times the gradient is 0.
            grad = parts[-1][1]
            zero = tf.where(tf.math.is_finite(grad), 0.0 * grad, tf.zeros_like(grad))
            vectors += zero
        return _sum(parts)

    # It computes its own gradient, on its own device; an outer tape's would not be.
    compiled = tf.function(sum_of_parts, jit_compile=True, autograph=False)
    by_device: dict[str | None, list[Shard]] = {}
    for shard in shards:
        by_device.setdefault(shard.device, []).append(shard)

    def sum_on(device: str | None, vectors: tf.Tensor) -> _Result:
        sums: list[_Result] = []
        with _on(device):
            vectors = tf.identity(vectors)
            calls = _calls(by_device[device], num_streams, shards_per_call)
            for i, call in enumerate(calls):
                # A call waits for the last one of its stream, for the same reason.
                before = [sums[i - num_streams][1]] if i >= num_streams else []
                data = [(shard.args, shard.observed) for shard in call]
                with tf.control_dependencies(before):
                    is_first = call[0] is shards[0]
                    sums.append(compiled(tf.identity(vectors), data, is_first))
            return _sum(sums)

    def log_prob_and_grad(vectors: tf.Tensor) -> _Result:
        vectors = to_tensor(vectors, dtype, f"{label_of(program)}: vectors")
        return _sum([sum_on(device, vectors) for device in by_device])

    vars(log_prob_and_grad)["dtype"] = dtype  # for samplers
    return first._replace(
        log_prob_and_grad=log_prob_and_grad,
        log_prob=lambda vectors: log_prob_and_grad(vectors)[0],
    )


def _calls(
    shards: list[Shard], num_streams: int, shards_per_call: int
) -> list[list[Shard]]:
    """The shards of each call, in order: equal calls, the same number per stream."""
    rounds = math.ceil(len(shards) / (num_streams * shards_per_call))
    count = min(len(shards), rounds * num_streams)
    edges = [i * len(shards) // count for i in range(count + 1)]
    return [shards[i:j] for i, j in itertools.pairwise(edges)]


def _on_its_device(shard: Shard, dtype: tf.DType) -> Shard:
    """The shard as tensors on its device, floating ones in `dtype`."""
    for name, part in shard.observed.items():
        if part is None:
            raise ValueError(
                f"unconstrain_shards: given None for {name!r}, wanted data"
            )

    def to_tensors(part: Any) -> Any:
        if isinstance(part, Interval):
            return part
        leaves = tf.nest.flatten(part)
        if isinstance(part, list) and all(map(np.isscalar, leaves)):
            part = np.asarray(part)
        return tf.nest.map_structure(placed, part)

    def placed(leaf: Any) -> Any:
        leaf = cast(leaf, dtype)
        if isinstance(leaf, DesignMatrix):
            return tf.nest.map_structure(tf.identity, leaf, expand_composites=True)
        return tf.convert_to_tensor(leaf)

    # The compiled function reads these constants in place.
    with _on(shard.device):
        args = tuple(to_tensors(part) for part in shard.args)
        observed = {name: to_tensors(part) for name, part in shard.observed.items()}
    return Shard(args, observed, shard.device)


def _with_bounds(shard: Shard) -> Shard:
    """The shard with tensors in place of Intervals, as a tf.function takes them."""
    with _on(shard.device):
        observed = {
            name: to_bounds(part) if isinstance(part, Interval) else part
            for name, part in shard.observed.items()
        }
    return shard._replace(observed=observed)


def _check_shards(
    program: Program, shards: Sequence[Shard], shorter: Shard | None, dtype: tf.DType
) -> None:
    """Raises ValueError for data outside a support, and for latents of each shard.

    A latent variable is one for all shards.  If its shape follows the rows of a shard,
    it would be another in each.
    """
    inherited = inherited_tracers()

    def latent(shard: Shard) -> list[Site]:
        with in_dtype(dtype):
            return find_sites(program, shard.args, {}, shard.observed, inherited).latent

    sites = [latent(shard) for shard in shards]
    if shorter is not None:
        with contextlib.suppress(tf.errors.OpError, ValueError):
            sites.append(latent(shorter))
    shapes = [{site.name: site.shape for site in of_shard} for of_shard in sites]
    for name, shape in shapes[0].items():
        if any(other.get(name) != shape for other in shapes[1:]):
            raise ValueError(
                f"{label_of(program)}: given latent variable {name!r}, whose shape "
                f"{shape} follows the rows of a shard, wanted one for all shards"
            )


def _terms_of_rows(
    program: Program, shards: Sequence[Shard], shorter: Shard | None, dtype: tf.DType
) -> tuple[str, ...]:
    """The variables whose terms depend on a shard's data or arguments, and so count in
    each shard.

    shorter: the last shard with a row less.  Terms that differ between it and the
      others depend on the number of rows.

    Raises ValueError for data whose term is a sum over a variable of all shards, and
    for a latent variable whose prior differs between shards.
    """
    inherited = inherited_tracers()
    found: list[str] = []
    others: list[str] = []  # whose terms must be the same in all shards

    def look(
        args: tuple[Any, ...], observed: dict[str, Any]
    ) -> dict[str, list[tf.Tensor]]:
        with in_dtype(dtype):
            variables, latent = run_in_the_middle(
                program, args, {}, observed, inherited, _somewhere
            )
        names = {site.name for site in latent}
        if not others:
            terms = {name: part.unscaled_log_prob() for name, part in variables.items()}
            tensors = tf.nest.flatten((args, observed), expand_composites=True)
            of_rows = set().union(*(reached_from(tensor) for tensor in tensors))
            for name, term in terms.items():
                if term.ref() not in of_rows or name in names:
                    others.append(name)
                    continue
                if variables[name].is_marginal and term.shape.rank == 0:
                    raise ValueError(
                        f"{label_of(program)}: given {name!r} in shards and summed "
                        "over a variable that the shards share, wanted this variable "
                        "in a plate of the rows"
                    )
                found.append(name)
        return {
            name: [part.log_prob(), *([part.value] if name in names else [])]
            for name, part in variables.items()
            if name in others
        }

    look_at = tf.function(look, autograph=False)
    parts = [look_at(shard.args, shard.observed) for shard in shards]
    if shorter is not None:
        with contextlib.suppress(tf.errors.OpError, ValueError):
            parts.append(look_at(shorter.args, shorter.observed))
    for name, part in parts[0].items():
        if all(_are_alike(part, other.get(name)) for other in parts[1:]):
            continue
        if len(part) > 1:
            raise ValueError(
                f"{label_of(program)}: given latent variable {name!r}, whose prior "
                "differs between shards or follows their rows, wanted one prior for "
                "all shards"
            )
        found.append(name)
    return tuple(found)


def _somewhere(variable: RandomVariable, site: Site) -> tf.Tensor:
    """A value of a latent variable at which two priors have two densities."""
    bijector: Any = bijector_of(variable)
    point = 0.6 * np.sin(np.arange(1.0, site.size + 1.0))
    return bijector.forward(tf.constant(point, site.dtype, site.shape))


def _are_alike(part: list[tf.Tensor], other: list[tf.Tensor] | None) -> bool:
    """Whether the numbers are the same but for rounding."""
    return other is not None and all(
        one.shape == two.shape
        and np.allclose(one, two, 1e-4 if one.dtype == tf.float32 else 1e-8, 1e-8)
        for one, two in zip(part, other, strict=True)
    )


def _without_a_row(shard: Shard) -> Shard | None:
    """The shard with one row less; None if rows are not plain."""
    parts = tf.nest.flatten((shard.args, shard.observed))
    rows = {part.shape[0] for part in shard.observed.values() if len(part.shape)}
    num = rows.pop() if len(rows) == 1 else 0
    if num < 2 or any(list(part.shape).count(num) > 1 for part in parts):
        return None

    def cut(part: tf.Tensor) -> tf.Tensor:
        if num not in part.shape:
            return part
        if isinstance(part, DesignMatrix):
            return part[: num - 1]
        if isinstance(part, Interval):
            return Interval(cut(part.low), cut(part.high))
        axis = list(part.shape).index(num)
        return tf.gather(part, tf.range(num - 1), axis=axis)

    args, observed = tf.nest.map_structure(cut, (shard.args, dict(shard.observed)))
    return Shard(args, observed, shard.device)


def _check_devices(devices: set[str]) -> None:
    available = [device.name for device in tf.config.list_logical_devices()]
    known = {_kind_and_index(name) for name in available}
    for device in sorted(devices):
        if _kind_and_index(device) not in known:
            raise ValueError(f"device: given {device!r}, wanted one of {available}")


def _kind_and_index(device: str) -> tuple[str | None, int | None]:
    spec = tf.DeviceSpec.from_string(device)
    return spec.device_type, spec.device_index


def _on(device: str | None) -> contextlib.AbstractContextManager[Any]:
    """Places the block's ops on `device`; None leaves the placement to the caller."""
    return contextlib.nullcontext() if device is None else tf.device(device)


def _sum(parts: Sequence[_Result]) -> _Result:
    log_probs, grads = zip(*parts, strict=True)
    return tf.add_n(log_probs), tf.add_n(grads)
