"""Operators on values: as tf.Tensor's, with NumPy's dtypes, indices and `@`.

They are those of random variables.  What a program computes from variables is a
tf.Tensor, so where TensorFlow's own operators fail (an index by an array, `@` with a
vector), or cut an array's fractions off beside whole numbers, tf.Tensor gets these too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ppl_core import indices
from ppl_core.trace import floating_dtype

Operator = Callable[..., Any]
TENSORFLOWS: dict[str, Operator] = {
    name: getattr(tf.Tensor, name) for name in tf.Tensor.OVERLOADABLE_OPERATORS
}
_SYMBOLS = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "mod": "%"},
    **{"floordiv": "//", "pow": "**", "lt": "<", "le": "<=", "gt": ">", "ge": ">="},
    **{"eq": "==", "ne": "!="},
}
_NUMPYS = ("__getitem__", "__matmul__", "__rmatmul__")
_PLAIN = {int, tf.__internal__.EagerTensor, tf.__internal__.SymbolicTensor}
_EQUALITIES = ("__eq__", "__ne__")  # False for what cannot be compared
_KINDS = {"b": 0, "i": 1, "u": 1, "f": 2}  # of NumPy's dtypes, in the order they widen


def tensor_operator(name: str) -> Operator:
    """tf.Tensor's operator `name` on the values of variables, in NumPy's dtypes."""
    theirs = TENSORFLOWS[name]
    symbol = _SYMBOLS.get(name.strip("_").removeprefix("r"))

    def apply(self: Any, *args: Any) -> Any:
        value = self.value if is_variable(self) else self
        label = _label(self, *args)
        if not args:
            return theirs(value)
        other = args[0]
        if name == "__getitem__":
            key = other if isinstance(other, tuple) else (other,)
            key = tuple(part.value if is_variable(part) else part for part in key)
            key = key if isinstance(other, tuple) else key[0]
            return indices.get_item(value, key, label)
        if name in ("__matmul__", "__rmatmul__"):
            if _has_own_product(other):
                return NotImplemented
            pair = (value, other) if name == "__matmul__" else (other, value)
            return matmul(*pair, label=label)
        if symbol is not None:
            is_strict = name not in _EQUALITIES
            value, other = _alike(value, other, f"{label} {symbol}", is_strict)
        elif is_variable(other):
            other = other.value
        return theirs(value, other)

    apply.__name__ = name
    return apply


def _extended(name: str) -> Operator:
    """tf.Tensor's operator, which leaves what fails in TensorFlow's to ours."""
    ours, theirs = tensor_operator(name), TENSORFLOWS[name]

    def is_ours(tensor: tf.Tensor, other: Any) -> bool:
        if type(other) is float and name not in _NUMPYS:
            return not tensor.dtype.is_floating
        if name == "__getitem__":
            keys = other if isinstance(other, tuple) else (other,)
            # To TensorFlow a list alone is a tuple.
            return not isinstance(other, list) and any(
                is_variable(key) or indices.is_array(key) for key in keys
            )
        if name in ("__matmul__", "__rmatmul__"):
            is_vector = tensor.shape.rank == 1 or _rank(other) == 1
            return is_vector or is_variable(other) or _has_own_product(other)
        if isinstance(other, tf.Tensor):
            return False
        is_array = isinstance(other, (float, np.ndarray, np.generic))
        is_array = is_array or hasattr(other, "iloc")
        return is_variable(other) or (is_array and not tensor.dtype.is_floating)

    # What is always left to TensorFlow, and what most of its own code is given.
    plain = set() if name in _NUMPYS else _PLAIN

    def apply(self: tf.Tensor, other: Any) -> Any:
        if type(other) not in plain and is_ours(self, other):
            return ours(self, other)
        return theirs(self, other)

    apply.__name__, apply.__doc__ = name, theirs.__doc__
    return apply


def extend_tensors() -> None:
    """Gives tf.Tensor these operators, `.T`, and precedence over pandas."""
    for name in _NUMPYS:
        setattr(tf.Tensor, name, _extended(name))
    for name in TENSORFLOWS:
        if name.strip("_").removeprefix("r") in _SYMBOLS:
            setattr(tf.Tensor, name, _extended(name))
    if not hasattr(tf.Tensor, "T"):  # as tf.experimental.numpy may give it
        tf.Tensor.T = property(tf.transpose, doc="The dimensions in opposite order.")
    tf.Tensor.__len__ = _extended_len(tf.Tensor.__len__)
    if not hasattr(tf.Tensor, "__pos__"):
        tf.Tensor.__pos__ = tf.identity
    tf.Tensor.__pandas_priority__ = 5000


def _extended_len(theirs: Callable[[tf.Tensor], int]) -> Callable[[tf.Tensor], int]:
    """len() of a tensor without numbers, such as rows in a tf.function, where known."""

    def apply(self: tf.Tensor) -> int:
        size = self.shape[0] if self.shape.rank else None
        return theirs(self) if size is None else int(size)

    return apply


def matmul(left: Any, right: Any, *, label: str) -> tf.Tensor:
    """`left @ right` of NumPy: a vector is a row on the left, a column on the right.

    label: the variable, in errors.

    Raises ValueError for numbers, and for shapes that do not fit.
    """
    what = f"{label} @"
    if is_variable(left):
        left = left.value
    if not tf.is_tensor(left):
        right, left = _alike(right, left, what, is_broadcast=False)
    else:
        left, right = _alike(left, right, what, is_broadcast=False)
    _check_product(left.shape, right.shape, what)
    if left.shape.rank == 1 and right.shape.rank == 1:
        return tf.tensordot(left, right, 1)
    if right.shape.rank == 1:
        return tf.linalg.matvec(left, right)
    if left.shape.rank == 1:
        return tf.linalg.matvec(right, left, transpose_a=True)
    return tf.matmul(left, right)


def _check_product(left: tf.TensorShape, right: tf.TensorShape, what: str) -> None:
    if None in (left.rank, right.rank):
        return
    given = f"{what}: given shapes {tuple(left)} and {tuple(right)}"
    if 0 in (left.rank, right.rank):
        raise ValueError(f"{given}, wanted vectors or matrices; `*` multiplies numbers")
    inner = (left[-1], right[-1 if right.rank == 1 else -2])
    if None not in inner and inner[0] != inner[1]:
        raise ValueError(f"{given}, wanted equal inner sizes, not {inner}")
    try:
        tf.broadcast_static_shape(left[:-2], right[:-2])
    except ValueError:
        raise ValueError(f"{given}, wanted leading sizes that broadcast") from None


def _alike(
    value: Any,
    other: Any,
    what: str,
    is_strict: bool = True,
    is_broadcast: bool = True,
) -> tuple[tf.Tensor, Any]:
    """Both operands in NumPy's common dtype.

    TensorFlow would refuse them, or, in a tf.function, cut an array's fractions off
    beside whole numbers.  An array beside a floating tensor takes the tensor's dtype.

    is_strict: whether what is no number is refused.
    is_broadcast: whether the shapes have to broadcast.
    """
    value = value.value if is_variable(value) else value
    other = other.value if is_variable(other) else other
    is_plain = type(other) is float and value.dtype.is_floating
    if is_broadcast and (is_plain or other is None):
        return value, other
    if isinstance(other, (list, tuple)) and has_tensors(other):
        other = tf.stack([tf.convert_to_tensor(part) for part in other])
    if isinstance(other, tf.Variable):
        other = tf.convert_to_tensor(other)
    if tf.is_tensor(other) and not isinstance(other, tf.Tensor):
        return value, other  # sparse, or of another composite kind
    if not isinstance(other, tf.Tensor):
        number = _to_numbers(other, what, is_strict)
        if number is None:
            return value, other
        other = _in_place_of(number, value.dtype)
    mine, others = (_kind(part.dtype) for part in (value, other))
    if mine is None or others is None:
        return value, other
    if (mine, value.dtype.size) != (others, other.dtype.size):
        wider = max((mine, value.dtype.size), (others, other.dtype.size))
        dtype = value.dtype if wider == (mine, value.dtype.size) else other.dtype
        value, other = tf.cast(value, dtype), tf.cast(other, dtype)
    if is_strict and is_broadcast:
        _check_broadcast(value.shape, other.shape, what)
    return value, other


def _in_place_of(number: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    """The numbers as a tensor beside one of `dtype`."""
    kind = _KINDS[number.dtype.kind]
    own = _kind(dtype)
    if own == kind == 1 and not (
        (number >= dtype.min).all() and (number <= dtype.max).all()
    ):
        return tf.constant(number)
    if own is None or own >= kind:
        return tf.constant(number.astype(dtype.as_numpy_dtype))
    if kind == 2:
        return tf.constant(number, floating_dtype() or tf.float32)
    return tf.constant(number.astype(np.int32))


def _to_numbers(part: Any, what: str, is_strict: bool) -> np.ndarray | None:
    """The operand as an array; None, or TypeError, for what is none of real numbers."""
    try:
        array = np.asarray(part)
        kind = array.dtype.kind
    except (ValueError, NotImplementedError):
        kind = "O"
    if kind in _KINDS:
        return array
    if is_strict:
        raise TypeError(f"{what}: given {part!r}, wanted real numbers")
    return None


def _kind(dtype: tf.DType) -> int | None:
    """The place in the order in which dtypes widen; None for others."""
    if dtype.is_bool:
        return 0
    if dtype.is_integer:
        return 1
    return 2 if dtype.is_floating else None


def _check_broadcast(left: tf.TensorShape, right: tf.TensorShape, what: str) -> None:
    try:
        tf.broadcast_static_shape(left, right)
    except ValueError:
        raise ValueError(
            f"{what}: given shapes {tuple(left)} and {tuple(right)}, wanted shapes "
            "that broadcast"
        ) from None


def _has_own_product(part: Any) -> bool:
    """Whether `x @ part` is for the part's class, such as a DesignMatrix."""
    known = (tf.Tensor, tf.Variable, np.ndarray, np.generic)
    is_known = isinstance(part, known) or is_variable(part) or hasattr(part, "iloc")
    return not is_known and hasattr(type(part), "__rmatmul__")


def _rank(part: Any) -> int | None:
    if hasattr(part, "shape"):
        return len(part.shape) if isinstance(part.shape, tuple) else part.shape.rank
    return np.ndim(part) if isinstance(part, (list, tuple)) else None


def _label(*parts: Any) -> str:
    """The first variable among the operands, in errors."""
    return next((part.label for part in parts if is_variable(part)), "a tensor")


def has_tensors(part: Any) -> bool:
    """Whether it is a tensor or a variable, or a list of some."""
    if isinstance(part, (list, tuple)):
        return any(map(has_tensors, part))
    return tf.is_tensor(part) or is_variable(part)


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
    return tf.stack(_in_one_dtype(value, dtype), name=name)


def concat(values: Any, axis: Any, name: str = "concat") -> tf.Tensor:
    """tf.concat of a list with random variables; NotImplemented for other lists."""
    if not any(map(is_variable, values)):
        return NotImplemented
    return tf.concat(_in_one_dtype(values, None), axis, name=name)


def _in_one_dtype(parts: Any, dtype: tf.DType | None) -> list[tf.Tensor]:
    """The parts as tensors, literals and arrays in the dtype of the first tensor.

    TensorFlow would make float32 of literals beside a variable of float64.
    """
    parts = [part.value if is_variable(part) else part for part in parts]
    if dtype is None:
        dtype = next((part.dtype for part in parts if tf.is_tensor(part)), None)
    return [
        tf.convert_to_tensor(part, None if tf.is_tensor(part) else dtype)
        for part in parts
    ]


# Before TensorFlow's own conversion of lists, which takes no composite tensors.
tf.register_tensor_conversion_function((list, tuple), stack_list, priority=98)


def is_variable(part: Any) -> bool:
    """Whether `part` is a RandomVariable, whose module is above this one."""
    return hasattr(part, "constructor_name")
