"""Errors where Python or NumPy wants the number of a tensor that has none yet.

While a program is traced, its random variables are tensors without numbers.
TensorFlow's errors name neither the program nor what to use instead.
"""

import contextlib
import operator
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

_WANTS = "given where Python or NumPy wants a number, which it has not"
_WANTED = (
    "TensorFlow's functions: tf.maximum (max), tf.minimum (min), tf.sort (sorted), "
    "tf.round, tf.floor, tf.exp, tf.where (if, and, or), tf.gather (an index), "
    "`array @ x` (np.dot, or a data frame's product)"
)
# In TensorFlow's, Python's and NumPy's errors.
_WORDS = (
    "symbolic tf.Tensor",
    "SymbolicTensor",
    "symbolic `tf.Tensor`",
    "symbolic Tensor",
)


@contextlib.contextmanager
def explained(label: str) -> Iterator[None]:
    """Names what is traced, the line, and what to use, where a number is wanted.

    Raises TypeError in place of the block's error.
    """
    try:
        yield
    except Exception as error:
        message = str(error)
        if any(words in message for words in _WORDS):
            message = no_number("a tensor")
        if message.startswith("`") or _WANTS not in message:  # explained within
            raise
        raise TypeError(f"{_line_of(error)} in {label}: {message}") from error


def has_number(value: Any) -> bool:
    """Whether a tensor has its number now, and is no symbol of a tf.function."""
    return not tf.is_tensor(value) or hasattr(value, "numpy")


def graph_and_loops() -> tuple[Any, int]:
    """The graph being built (None: eager), and how many tf.vectorized_maps are open."""
    if tf.executing_eagerly():
        return None, 0
    scopes = tf.get_current_name_scope().split("/")
    # tf.vectorized_map traces its function in the graph around it, in this scope.
    loops = sum(
        re.fullmatch(r"loop_body(_\d+)?", scope) is not None for scope in scopes
    )
    return tf.compat.v1.get_default_graph(), loops


def no_number(label: str) -> str:
    """The error where a variable is taken for a number."""
    return f"{label}: {_WANTS} while a program is traced; wanted {_WANTED}"


def as_python(convert: Callable[[tf.Tensor], Any], value: tf.Tensor, label: str) -> Any:
    """The value as one number of Python.

    Raises TypeError where it has none, and ValueError for several entries.
    """
    if not has_number(value):
        raise TypeError(no_number(label))
    if value.shape.num_elements() != 1:
        raise ValueError(
            f"{label}: given shape {value.shape} where Python wants one number or "
            "boolean, wanted one entry, or a function such as tf.reduce_any"
        )
    if convert is operator.index and not value.dtype.is_integer:
        raise TypeError(
            f"{label}: given {value.dtype.name} as an index, wanted whole numbers, "
            "such as tf.cast(x, tf.int32)"
        )
    return convert(value)


def _line_of(error: Exception) -> str:
    """The last line of the user's that the error passed."""
    ours = Path(__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        is_installed = "site-packages" in path.parts or ours in path.parents
        if not is_installed and frame.line:
            return f"`{frame.line.strip()}` (line {frame.lineno} of {path.name})"
    return "`...`"
