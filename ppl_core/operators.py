"""Operators on values: as tf.Tensor's, with NumPy's indices and matrix products."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def get_item(value: tf.Tensor, key: Any, label: str) -> tf.Tensor:
    """`value[key]`, where the key may hold arrays of whole numbers or of booleans.

    The result is NumPy's for one array beside slices, and for several arrays in front.
    Indices below 0 count from the end.

    label: the variable, in errors.

    Raises IndexError for an index outside the dimension, and TypeError for arrays
    between slices and numbers, where NumPy's rules are a matter of their own.
    """
    keys = key if isinstance(key, tuple) else (key,)
    places = [i for i, part in enumerate(keys) if _is_array(part)]
    if not places or (places == [0] and len(keys) == 1 and _is_mask(key)):
        return value[key]
    if places == list(range(len(keys))) and len(keys) > 1:
        arrays = [
            tf.cast(_indices(part, value.shape[axis], label), tf.int64)
            for axis, part in enumerate(keys)
        ]
        shape = arrays[0].shape
        for array in arrays[1:]:
            shape = tf.broadcast_static_shape(shape, array.shape)
        return tf.gather_nd(
            value, tf.stack([tf.broadcast_to(array, shape) for array in arrays], -1)
        )
    others = [part for i, part in enumerate(keys) if i not in places]
    if len(places) > 1 or not all(_is_slice(part) for part in others):
        raise TypeError(
            f"{label}: given the index {key}, wanted one array beside slices, or "
            "arrays alone"
        )
    (place,) = places
    if Ellipsis in others:
        before = keys.index(Ellipsis) < place
        axis = place - len(keys) + value.shape.rank if before else place
    else:
        axis = place
    if others:
        value = value[(*keys[:place], slice(None), *keys[place + 1 :])]
    return tf.gather(value, _indices(keys[place], value.shape[axis], label), axis=axis)


def matmul(left: Any, right: Any) -> tf.Tensor:
    """`left @ right` of NumPy: a vector is a row on the left, a column on the right."""
    left, right = _same_dtype(left, right)
    if left.shape.rank == 1 and right.shape.rank == 1:
        return tf.tensordot(left, right, 1)
    if right.shape.rank == 1:
        return tf.linalg.matvec(left, right)
    if left.shape.rank == 1:
        return tf.linalg.matvec(right, left, transpose_a=True)
    return tf.matmul(left, right)


def tensor_operator(name: str) -> Callable[..., Any]:
    """tf.Tensor's operator `name`, acting on the values of variables."""
    operator: Any = getattr(tf.Tensor, name)
    special: dict[str, Callable[[Any, Any], Any]] = {
        "__matmul__": matmul,
        "__rmatmul__": lambda left, right: matmul(right, left),
    }

    def apply(self: Any, *args: Any) -> Any:
        operands = [
            part.value if is_variable(part) else _widened(part, self.dtype)
            for part in args
        ]
        if name == "__getitem__" and isinstance(operands[0], tuple):
            key = (part.value if is_variable(part) else part for part in operands[0])
            operands = [tuple(key)]
        if name == "__getitem__":
            return get_item(self.value, operands[0], self.label)
        return special.get(name, operator)(self.value, *operands)

    apply.__name__ = name
    return apply


def _widened(part: Any, dtype: tf.DType) -> Any:
    """A float32 tensor as float64 beside a float64 variable; all else as it is."""
    if dtype == tf.float64 and isinstance(part, tf.Tensor) and part.dtype == tf.float32:
        return tf.cast(part, dtype)
    return part


def stack_list(
    value: Any, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    """A list with random variables as a tensor; NotImplemented for other lists."""

    def contains_variables(part: Any) -> bool:
        if isinstance(part, (list, tuple)):
            return any(map(contains_variables, part))
        return is_variable(part)

    if not contains_variables(value):
        return NotImplemented
    return tf.stack([tf.convert_to_tensor(p, dtype) for p in value], name=name)


# Before TensorFlow's own conversion of lists, which takes no composite tensors.
tf.register_tensor_conversion_function((list, tuple), stack_list, priority=98)


def to_tensors(value: Any) -> Any:
    """`value` with its leaves as tensors; a list of plain numbers is one tensor."""
    if isinstance(value, (list, tuple)) and all(
        map(np.isscalar, tf.nest.flatten(value))
    ):
        return tf.convert_to_tensor(value)
    return tf.nest.map_structure(tf.convert_to_tensor, value)


def is_variable(part: Any) -> bool:
    """Whether `part` is a RandomVariable, whose module is above this one."""
    return hasattr(part, "constructor_name")


def _is_array(part: Any) -> bool:
    if isinstance(part, (list, np.ndarray)):
        return True
    return tf.is_tensor(part) and part.shape.rank != 0


def _is_mask(part: Any) -> bool:
    """Whether it is booleans for tf.Tensor's own operator, which takes any rank."""
    if isinstance(part, (list, tuple)):
        return False
    is_bool = part.dtype == tf.bool if tf.is_tensor(part) else part.dtype.kind == "b"
    return is_bool and (part.ndim != 1 or tf.get_static_value(part) is None)


def _is_slice(part: Any) -> bool:
    return isinstance(part, slice) or part is Ellipsis


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
    if size is None or not part.dtype.is_integer:
        raise IndexError(
            f"{label}: given an index of {part.dtype.name} for a dimension of size "
            f"{size}, wanted whole numbers and a known size"
        )
    return tf.where(part < 0, part + tf.cast(size, part.dtype), part)


def _same_dtype(left: Any, right: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Both as tensors; numbers of NumPy take the tensor's dtype."""
    dtype = next((part.dtype for part in (left, right) if tf.is_tensor(part)), None)

    def convert(part: Any) -> tf.Tensor:
        if tf.is_tensor(part):
            return part
        return tf.convert_to_tensor(np.asarray(part), dtype)

    return convert(left), convert(right)
