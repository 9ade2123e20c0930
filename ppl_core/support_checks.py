"""Data outside a support are refused; other values there have a log prob of -inf.

TFP's densities outside their support are often finite (an Exponential at -1, a Poisson
at 1.5).
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core import arguments
from ppl_core.regions import Unknown, event_rank, finite
from ppl_core.supports import inside, support_of, whole_events


def check_data(
    distribution: tfd.Distribution, value: Any, mask: Any, label: str
) -> bool:
    """Whether data are known to lie inside the support.

    It is False where that depends on what is known only inside a tf.function.

    mask: entries to look at; None: all.

    Raises ValueError for NaN, for infinite numbers and for data outside, with the first
    such index and value.
    """
    if not isinstance(value, tf.Tensor):
        is_joint = isinstance(distribution, tfd.JointDistribution)
        return is_joint and mask is None and _check_parts(distribution, value, label)
    array = value.numpy() if hasattr(value, "numpy") else tf.get_static_value(value)
    if array is None:
        return False
    if mask is not None:
        mask = _of_entries(mask, array, event_rank(distribution))
    # Of a single number NumPy would make an array first.
    is_finite = isinstance(array, np.floating) and math.isfinite(array)
    if not is_finite and value.dtype.is_floating:
        _refuse(finite(array), array, mask, label, "finite numbers")
    support = support_of(distribution)
    if support is None:
        return True
    try:
        ok = support.inside(array, distribution)
    except Unknown:
        return False
    _refuse(ok, array, mask, label, support.words)
    return True


def check_exact(
    distribution: tfd.Distribution, given: Any, value: Any, label: str
) -> None:
    """Raises ValueError for whole numbers that the distribution's dtype has rounded.

    given: what `value` was made from, cast to the dtype.
    """
    if tf.is_tensor(given) or not isinstance(value, tf.Tensor):
        return
    if not value.dtype.is_floating:
        return
    support = support_of(distribution)
    if support is None or not support.is_whole:
        return
    limit = 2 ** (np.finfo(value.dtype.as_numpy_dtype).nmant + 1)
    array = value.numpy() if hasattr(value, "numpy") else tf.get_static_value(value)
    if array is None or not array.size or np.max(np.abs(array)) < limit:
        return
    numbers = np.asarray(given)
    exact = numbers.dtype if numbers.dtype.kind in "iu" else np.dtype(np.float64)
    words = f"whole numbers that {value.dtype.name} holds, as all up to {limit}"
    _refuse(numbers == array.astype(exact), numbers, None, label, words)


def log_prob(
    distribution: tfd.Distribution, value: Any, is_inside: bool, label: str
) -> tf.Tensor:
    """The log prob, -inf outside the support and for arguments that are not allowed.

    is_inside: whether the value is known to lie inside.

    Raises ValueError for whole numbers that the dtype cannot hold.
    """
    wrong = arguments.invalid(distribution)
    if not is_inside:
        if isinstance(distribution.dtype, tf.DType):
            given = value
            value = tf.convert_to_tensor(given, dtype_hint=distribution.dtype)
            check_exact(distribution, given, value, label)
        beyond = outside(distribution, value)
        if beyond is not None:
            value = with_point(distribution, value, beyond)
            wrong = beyond if wrong is None else beyond | wrong
    log_prob = distribution.log_prob(value)
    if wrong is None:
        return log_prob
    return tf.where(wrong, tf.constant(-np.inf, log_prob.dtype), log_prob)


def outside(distribution: tfd.Distribution, value: Any) -> tf.Tensor | None:
    """Whether each entry lies outside the support: sample + batch shape.

    None where all are known to lie inside, or where nothing is known.
    """
    if isinstance(distribution, tfd.JointDistribution):
        return _parts_outside(distribution, value)
    if not isinstance(value, tf.Tensor):
        return None
    if support_of(distribution) is None and not value.dtype.is_floating:
        return None
    if hasattr(value, "numpy"):
        try:
            wrong = ~np.asarray(inside(distribution, value.numpy()))
        except Unknown:
            pass
        else:
            if not wrong.any():
                return None
    ndims = event_rank(distribution)
    if ndims is None or value.shape.rank is None:
        return None
    ndims += distribution.batch_shape.rank or 0
    for _ in range(ndims - value.shape.rank):  # an entry for the whole batch
        value = value[tf.newaxis]
    return ~whole_events(inside(distribution, value), value, distribution)


def with_point(
    distribution: tfd.Distribution, value: Any, wrong: tf.Tensor
) -> tf.Tensor:
    """`value` with a value inside the support in place of each entry outside.

    A log prob of -inf is chosen by tf.where, whose gradient would be NaN if that of the
    other choice were.
    """
    support = support_of(distribution)
    if support is None or support.point is None:
        return value
    point = tf.cast(support.point(value, distribution), value.dtype)
    for _ in range(event_rank(distribution) or 0):
        wrong = wrong[..., tf.newaxis]
    return tf.where(wrong, point, value)


def _of_entries(mask: Any, array: np.ndarray, event_ndims: int | None) -> Any:
    """The mask of each entry, None if unknown; as log probs, it broadcasts."""
    known = tf.get_static_value(tf.convert_to_tensor(mask))
    if known is None or event_ndims is None:
        return known
    return np.broadcast_to(known, array.shape[: array.ndim - event_ndims])


def _refuse(ok: Any, array: np.ndarray, mask: Any, label: str, words: str) -> None:
    if mask is None and (ok.all() if ok.ndim else ok):
        return
    wrong = ~np.asarray(ok)
    if mask is not None:
        counted = np.asarray(mask)
        counted = counted.reshape(counted.shape + (1,) * (wrong.ndim - counted.ndim))
        wrong = wrong & counted
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        given = " ".join(str(array[index]).split())
        raise ValueError(f"{label}: given {given} at {index}, wanted {words}")


def _check_parts(distribution: tfd.JointDistribution, value: Any, label: str) -> bool:
    """`check_data` of each part of a joint distribution."""
    found: list[tuple[tfd.Distribution, Any]] = []

    def note(part: tfd.Distribution, x: Any) -> tf.Tensor:
        found.append((part, x))
        return tf.zeros([])

    distribution._map_measure_over_dists(note, value)
    names = distribution._flat_resolve_names()
    checked = [
        check_data(part, x, None, f"{label}, part {name!r}")
        for name, (part, x) in zip(names, found, strict=False)
    ]
    return len(checked) == len(names) and all(checked)


def _parts_outside(distribution: tfd.JointDistribution, value: Any) -> tf.Tensor:
    def count(part: tfd.Distribution, x: Any) -> tf.Tensor:
        wrong = outside(part, x)
        if wrong is None:
            return tf.zeros([])
        return tf.cast(wrong, tf.float32)

    counts = distribution._map_measure_over_dists(count, value)
    return sum(distribution._reduce_measure_over_dists(counts, tf.reduce_sum)) > 0
