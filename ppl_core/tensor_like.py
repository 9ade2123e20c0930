"""What of tf.Tensor a random variable has: operators, conversions, entries."""

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ppl_core import operators, symbolic

# NumPy's methods and attributes, and what to use in their place for a variable `x`.
_INSTEAD = {
    **{name: f"tf.reduce_{name}(x)" for name in ("sum", "prod", "max", "min")},
    **{name: f"tf.reduce_{name}(x)" for name in ("all", "any")},
    **{"std": "tf.math.reduce_std(x)", "var": "tf.math.reduce_variance(x)"},
    **{name: f"tf.{name}(x)" for name in ("argmax", "argmin", "argsort", "sort")},
    **{name: f"tf.{name}(x)" for name in ("exp", "sqrt", "round", "squeeze")},
    **{"cumsum": "tf.cumsum(x)", "cumprod": "tf.math.cumprod(x)"},
    **{"log": "tf.math.log(x)", "size": "tf.size(x)", "clip": "tf.clip_by_value"},
    **{"transpose": "tf.transpose(x, axes)", "reshape": "tf.reshape(x, shape)"},
    **{"astype": "tf.cast(x, dtype)"},
    **{"flatten": "tf.reshape(x, [-1])", "ravel": "tf.reshape(x, [-1])"},
    **{"dot": "x @ y", "repeat": "tf.repeat(x, n)", "copy": "x.value"},
    **{"item": "float(x)", "tolist": "x.numpy().tolist()"},
}


class TensorLike:
    """The methods of tf.Tensor for a class with a `value`, a `label` and a `shape`."""

    # With these, an array of NumPy or of pandas on the left leaves operators to this.
    __array_priority__ = 200
    __pandas_priority__ = 5000

    def __tf_tensor__(
        self: Any, dtype: Any = None, name: str | None = None
    ) -> tf.Tensor:
        return tf.convert_to_tensor(self.value, dtype=dtype, name=name)

    def __array__(self: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if not symbolic.has_number(self.value):
            # With this error tf.stack and the like take the tensor instead.
            raise NotImplementedError(symbolic.no_number(self.label))
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __iter__(self: Any) -> Iterator[tf.Tensor]:
        len(self)  # or it raises
        has_number = symbolic.has_number(self.value)
        return iter(self.value if has_number else tf.unstack(self.value))

    def __len__(self: Any) -> int:
        rank, size = self.ndim, self.shape[0] if self.ndim else None
        if size is None:
            given = "one number" if rank == 0 else f"shape {self.shape}"
            raise TypeError(
                f"{self.label}: given {given}, wanted entries to go through"
            )
        return size

    def __format__(self: Any, spec: str) -> str:
        has_number = symbolic.has_number(self.value)
        return format(self.numpy(), spec) if spec and has_number else str(self)

    def __round__(self: Any, digits: int = 0) -> tf.Tensor:
        if not self.dtype.is_floating:
            return self.value
        factor = tf.constant(10.0**digits, self.dtype)
        return tf.round(self.value * factor) / factor

    def __pos__(self: Any) -> tf.Tensor:
        return self.value

    @property
    def ndim(self: Any) -> int:
        """The number of the value's dimensions."""
        return self.shape.rank

    @property
    def T(self: Any) -> tf.Tensor:  # as NumPy calls it
        """The value with its dimensions in the opposite order."""
        return tf.transpose(self.value)

    def get_shape(self: Any) -> tf.TensorShape:
        """The shape of the value."""
        return self.shape

    def __bool__(self: Any) -> bool:
        return symbolic.as_python(bool, self.value, self.label)

    def __int__(self: Any) -> int:
        return symbolic.as_python(int, self.value, self.label)

    def __float__(self: Any) -> float:
        return symbolic.as_python(float, self.value, self.label)

    def __index__(self: Any) -> int:
        return symbolic.as_python(operator.index, self.value, self.label)

    def __getattr__(self: Any, name: str) -> Any:
        instead = _INSTEAD.get(name)
        if instead is None or "_value" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        raise AttributeError(f"{self.label}: given .{name}, wanted {instead}")


for _name in tf.Tensor.OVERLOADABLE_OPERATORS:
    setattr(TensorLike, _name, operators.tensor_operator(_name))
operators.extend_tensors()
