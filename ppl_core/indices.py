"""Indices of tensors by arrays, as NumPy's."""

from typing import Any

import numpy as np
import tensorflow as tf

from ppl_core import gathering


def get_item(value: tf.Tensor, key: Any, label: str) -> tf.Tensor:
    """`value[key]` of NumPy, where the key may hold arrays of numbers or booleans.

    Indices below 0 count from the end.  Booleans of several dimensions stand alone.

    label: the variable, in errors.

    Raises IndexError for an index outside the dimension, for more indices than
    dimensions, and for what is no index.
    """
    keys = key if isinstance(key, tuple) else (key,)
    keys = tuple(part.to_numpy() if _is_pandas(part) else part for part in keys)
    keys = tuple(np.asarray(part) if isinstance(part, range) else part for part in keys)
    if len(keys) == 1 and is_array(keys[0]) and _is_mask(keys[0]):
        return tf.boolean_mask(value, keys[0])
    if value.shape.rank is None and any(map(is_array, keys)):
        raise IndexError(
            f"{label}: given an array as an index into a tensor of unknown rank, "
            "wanted a known one"
        )
    keys = _whole(keys, value.shape, label)
    if not any(map(is_array, keys)):
        return value[keys]
    if any(part is None for part in keys):
        # To arrays beside it, a new axis is a dimension like any other.
        value = value[tuple(part if part is None else slice(None) for part in keys)]
        keys = tuple(slice(None) if part is None else part for part in keys)
    axes = [i for i, part in enumerate(keys) if not isinstance(part, slice)]
    slices = tuple(part if isinstance(part, slice) else slice(None) for part in keys)
    if any(part != slice(None) for part in slices):
        value = value[slices]
    arrays = [_indices(keys[axis], value.shape[axis], label) for axis in axes]
    if len(axes) == 1:
        places = tf.get_static_value(arrays[0])
        if places is not None:
            return gathering.take(value, places, axes[0])
        # Its gradient is sparse, unlike gather_nd's.
        return tf.gather(value, arrays[0], axis=axes[0])
    shape = _common_shape(arrays, label)
    others = [axis for axis in range(len(keys)) if axis not in axes]
    if axes != list(range(len(axes))):
        value = tf.transpose(value, axes + others)
    taken = _at_several(value, arrays, shape)
    if axes[-1] - axes[0] >= len(axes) or axes[0] == 0:
        return taken  # NumPy's rule: apart from each other, they come first
    lead = list(range(shape.rank))
    kept = [shape.rank + i for i in range(len(others))]
    return tf.transpose(taken, [*kept[: axes[0]], *lead, *kept[axes[0] :]])


def _at_several(
    value: tf.Tensor, arrays: list[tf.Tensor], shape: tf.TensorShape
) -> tf.Tensor:
    """The entries at indices of the first dimensions, that broadcast to `shape`."""
    sizes = value.shape[: len(arrays)]
    known = [tf.get_static_value(array) for array in arrays]
    if sizes.is_fully_defined() and all(part is not None for part in known):
        # One index into the entries in a row.
        places = np.zeros(shape, np.int64)
        for part, size in zip(known, sizes, strict=True):
            places = places * size + part
        rest = tf.shape(value)[len(arrays) :]
        flat = tf.concat([[sizes.num_elements()], rest], 0)
        return gathering.take(tf.reshape(value, flat), places, 0)
    places = tf.stack(
        [tf.broadcast_to(tf.cast(array, tf.int64), shape) for array in arrays], -1
    )
    return tf.gather_nd(value, places)


def is_array(part: Any) -> bool:
    """Whether it is an index of one dimension or more."""
    if isinstance(part, (list, range)):
        return True
    if isinstance(part, np.ndarray):
        return part.ndim > 0
    if tf.is_tensor(part):
        return part.shape.rank not in (0, None)
    return _is_pandas(part)


def _is_pandas(part: Any) -> bool:
    """Whether it is a column or an index of pandas."""
    return not tf.is_tensor(part) and hasattr(part, "to_numpy")


def _whole(keys: tuple[Any, ...], shape: tf.TensorShape, label: str) -> tuple[Any, ...]:
    """The keys with one for each dimension, numbers checked."""
    if shape.rank is None:
        return keys
    count = sum(part is not None and part is not Ellipsis for part in keys)
    if count > shape.rank:
        raise IndexError(
            f"{label}: given {count} indices, wanted at most {shape.rank} for the "
            f"shape {shape}"
        )
    fill = (slice(None),) * (shape.rank - count)
    dots = [i for i, part in enumerate(keys) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexError(f"{label}: given several ellipses as an index, wanted one")
    at = dots[0] if dots else len(keys)
    keys = (*keys[:at], *fill, *keys[at + 1 :])
    axis = 0
    for part in keys:
        if part is None:
            continue
        _check(part, shape[axis], label)
        axis += 1
    return keys


def _check(part: Any, size: int | None, label: str) -> None:
    """Raises IndexError for a number outside the dimension, and for no index at all."""
    if isinstance(part, slice) or is_array(part):
        return
    if isinstance(part, (str, bytes, float, bool, complex)) or part is None:
        raise IndexError(f"{label}: given the index {part!r}, wanted whole numbers")
    if tf.is_tensor(part) and part.dtype.is_integer:
        if size is None or tf.get_static_value(part) is None:
            return
    _indices(part, size, label)


def _is_mask(part: Any) -> bool:
    """Whether it is booleans for tf.Tensor's own operator, which takes any rank."""
    if isinstance(part, list):
        return False
    is_bool = part.dtype == tf.bool if tf.is_tensor(part) else part.dtype.kind == "b"
    return is_bool and (part.ndim != 1 or tf.get_static_value(part) is None)


def _common_shape(arrays: list[tf.Tensor], label: str) -> tf.TensorShape:
    shape = tf.TensorShape([])
    for array in arrays:
        try:
            shape = tf.broadcast_static_shape(shape, array.shape)
        except ValueError:
            shapes = [tuple(part.shape) for part in arrays]
            raise IndexError(
                f"{label}: given arrays of shapes {shapes} as an index, wanted shapes "
                "that broadcast"
            ) from None
    return shape


def _indices(part: Any, size: int | None, label: str) -> tf.Tensor:
    """An array of indices as whole numbers from 0 to size - 1."""
    static = tf.get_static_value(part) if tf.is_tensor(part) else np.asarray(part)
    if static is None:
        return _from_start(part, size, label)
    if static.dtype.kind == "b":
        if static.ndim != 1 or static.shape[0] != size:
            raise IndexError(
                f"{label}: given booleans of shape {static.shape} as an index, wanted "
                f"{(size,)}"
            )
        return tf.constant(np.flatnonzero(static), tf.int64)
    if static.dtype.kind not in "iu" and static.size:
        raise IndexError(
            f"{label}: given an index of {static.dtype.name}, wanted whole numbers"
        )
    static = static.astype(np.int64)
    if size is None:
        return _from_start(tf.constant(static), size, label)
    wrong = (static < -size) | (static >= size)
    if wrong.any():
        raise IndexError(
            f"{label}: given the index {static[wrong][0]}, wanted one from {-size} to "
            f"{size - 1}"
        )
    return tf.constant(np.where(static < 0, static + size, static))


def _from_start(part: tf.Tensor, size: int | None, label: str) -> tf.Tensor:
    """Indices that only a tf.function knows, those below 0 from the end."""
    if not part.dtype.is_integer:
        raise IndexError(
            f"{label}: given an index of {part.dtype.name} for a dimension of size "
            f"{size}, wanted whole numbers"
        )
    if size is None:
        raise IndexError(
            f"{label}: given an array as an index into a dimension of unknown size, "
            "wanted a known one"
        )
    return tf.where(part < 0, part + tf.cast(size, part.dtype), part)
