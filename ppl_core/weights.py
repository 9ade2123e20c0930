"""The factors and masks of log probs, as `scale`, `mask` and `plate` take them."""

from typing import Any

import numpy as np
import tensorflow as tf

from ppl_core import data, operators


def to_factor(given: Any) -> Any:
    """A factor of log probs: a number, an array or a tensor.

    Raises ValueError for what is no finite number or array of these.
    """
    if operators.is_variable(given):
        given = given.value
    if tf.is_tensor(given):
        number = tf.get_static_value(given)
    else:
        number = data.check_numbers(given, "scale: the factor")
        # A list by itself would be repeated by a product with a whole number.
        number = number if np.isscalar(number) else np.asarray(number)
    if number is not None:
        data.check_numbers(number, "scale: the factor")
        if not np.isfinite(np.asarray(number, np.float64)).all():
            raise ValueError(f"scale: given {given!r} as the factor, wanted numbers")
    return given if tf.is_tensor(given) else number


def product(inner: Any, outer: Any) -> Any:
    """The product of two factors; None as the first stands for 1."""
    if inner is None:
        return outer
    if tf.is_tensor(inner) or tf.is_tensor(outer):
        return tf.cast(inner, tf.float64) * tf.cast(outer, tf.float64)
    return inner * outer


def to_mask(given: Any) -> Any:
    """A mask of log probs: booleans.

    Raises ValueError for what is none.
    """
    if operators.is_variable(given):
        given = given.value
    is_mask = (
        given.dtype == tf.bool
        if tf.is_tensor(given)
        else np.asarray(given).dtype.kind == "b"
    )
    if not is_mask:
        raise ValueError(f"mask: given {given!r}, wanted booleans, and then names")
    return given


def both(inner: Any, outer: Any) -> Any:
    """Where both masks are true; None as the first stands for everywhere."""
    return outer if inner is None else tf.logical_and(inner, outer)
