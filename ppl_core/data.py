"""Given values as tensors: right, or refused by the name of the variable."""

import inspect
import numbers
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from ppl_core import operators, preimages


def to_tensor(value: Any, dtype: tf.DType, label: str) -> tf.Tensor:
    """`value` as a tensor for a variable of `dtype`.

    Floats become `dtype` where both are floating.  For a variable of whole numbers,
    floats that are whole become `dtype`.

    label: the variable, in errors.

    Raises ValueError, with the index and the value, for missing entries (of masked
    arrays and pandas), for what is no real number, for rows of several lengths, and for
    numbers that `dtype` cannot hold.
    """
    if isinstance(value, tf.Tensor):
        if value.dtype == dtype:
            return value
    elif not tf.is_tensor(value):
        value = _check_present(value, label)
    value = check_numbers(value, label)
    if dtype.is_integer or dtype.is_bool:
        value = _to_whole(value, dtype, label)
    value = tf.convert_to_tensor(value, dtype_hint=dtype)
    is_number = value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool
    if is_number and (dtype.is_floating or value.dtype.is_bool):
        return tf.cast(value, dtype)
    return value


def to_tensors(value: Any, label: str) -> Any:
    """`value` with its leaves as tensors; a list of plain numbers is one tensor.

    Raises ValueError, which begins with the label, as `to_tensor` does.
    """
    if isinstance(value, (list, tuple)):
        leaves = tf.nest.flatten(value)
        if all(np.isscalar(leaf) or leaf is None for leaf in leaves):
            return tf.convert_to_tensor(check_numbers(value, label))
    return tf.nest.map_structure(
        lambda part: tf.convert_to_tensor(check_numbers(part, label)), value
    )


def to_seed(seed: Any, label: str, words: str = "two numbers of int32") -> tf.Tensor:
    """A seed as [2] int32.  Raises ValueError for what is no such seed.

    words: what else is wanted, in errors.
    """
    if tf.is_tensor(seed):
        if not (seed.dtype.is_integer and seed.shape.is_compatible_with([2])):
            raise ValueError(
                f"{label}: given a seed of {seed.dtype.name} and shape {seed.shape}, "
                f"wanted {words}"
            )
        return tf.cast(seed, tf.int32)
    numbers = np.asarray(seed)
    limit = 2**31
    fits = numbers.dtype.kind in "iu" and numbers.shape == (2,)
    if not fits or (numbers >= limit).any() or (numbers < -limit).any():
        raise ValueError(f"{label}: given the seed {seed!r}, wanted {words}")
    return tf.convert_to_tensor(seed, tf.int32)


def to_seed_of_draw(seed: Any, label: str) -> Any:
    """A seed that TFP takes: None, one whole number, or [2] int32.

    Raises ValueError for what is none of these.
    """
    if seed is None or isinstance(seed, int) or callable(seed):
        return seed
    if isinstance(seed, np.integer):
        return int(seed)
    return to_seed(seed, label, "a whole number, or two of int32")


def check_by_name(values: Any, what: str) -> None:
    """Raises TypeError for values that are not given by name."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"{what}: given {reprlib.repr(values)}, wanted values by name, such as "
            '{"y": y}'
        )


def to_array(value: Any, label: str) -> np.ndarray:
    """Numbers as an array of float64.  Raises ValueError as `to_tensor` does."""
    return np.asarray(check_numbers(_check_present(value, label), label), np.float64)


def copied(values: Any) -> Any:
    """`values` with a copy of each array: a program may run again, after a change."""
    if type(values) is dict:
        return {key: copied(part) for key, part in values.items()}
    if type(values) in (list, tuple):
        return type(values)(copied(part) for part in values)
    is_array = isinstance(values, np.ndarray) or hasattr(values, "to_numpy")
    return values.copy() if is_array and hasattr(values, "copy") else values


def check_labels(
    value: Any, dims: tuple[str, ...], coords: Mapping[str, Any], label: str
) -> None:
    """Raises ValueError for data of xarray or pandas in another order than the labels.

    Data are taken by position.  What names its own dimensions and labels would say
    something else.  Dimensions and labels that the variable lacks are not looked at.
    """
    if hasattr(value, "iloc"):  # a pandas object
        names: tuple[Any, ...] = dims[-np.ndim(value) :]
        axes = (value.index, getattr(value, "columns", None))
        found = dict(zip(names, axes, strict=False))
    elif hasattr(value, "dims") and hasattr(value, "coords"):  # one of xarray
        names = value.dims
        found = {name: value[name] for name in names if name in value.coords}
    else:
        return
    if set(names) == set(dims) and tuple(names) != tuple(dims):
        raise ValueError(
            f"{label}: given the dimensions {tuple(names)}, wanted {tuple(dims)}"
        )
    for name in found.keys() & coords.keys():
        wanted, given = np.asarray(coords[name]), np.asarray(found[name])
        # A number by itself is no label: the rows of a sorted frame keep theirs.
        if np.array_equal(wanted, np.arange(len(wanted))):
            continue
        same_ones = set(wanted.tolist()) == set(given.tolist())
        if same_ones and not np.array_equal(wanted, given):
            raise ValueError(
                f"{label}: given {name!r} in the order {reprlib.repr(given.tolist())}, "
                f"wanted that of its labels, {reprlib.repr(wanted.tolist())}"
            )


def fill_masked(value: Any, mask: Any, event_ndims: Any) -> Any:
    """`value` with masked entries replaced by the first entry that counts.

    A masked NaN would have no log prob, but a gradient of NaN.
    """
    if not isinstance(value, tf.Tensor) or None in (value.shape.rank, event_ndims):
        return value
    if value.shape.num_elements() == 0:
        return value
    ndims = value.shape.rank - event_ndims
    where = tf.convert_to_tensor(mask)
    if not value.dtype.is_floating or not _broadcasts(where.shape, value.shape[:ndims]):
        return value  # a wrong mask is an error, once the log prob is known
    entries = tf.shape(value)[:ndims]
    where = tf.broadcast_to(where, entries)
    first = tf.argmax(tf.cast(tf.reshape(where, [-1]), tf.int32))
    where = tf.reshape(where, tf.concat([entries, [1] * event_ndims], 0))

    def fill(part: tf.Tensor) -> tf.Tensor:
        events = tf.reshape(part, tf.concat([[-1], tf.shape(part)[ndims:]], 0))
        return tf.where(where, part, events[first])

    return preimages.moved(value, fill)


def _broadcasts(shape: tf.TensorShape, wanted: tf.TensorShape) -> bool:
    try:
        return bool(tf.broadcast_static_shape(shape, wanted).rank == wanted.rank)
    except ValueError:
        return False


def check_program(program: Any) -> None:
    """Raises TypeError for what is no program, such as what one returns."""
    if not callable(program):
        raise TypeError(
            f"given {reprlib.repr(program)} as a program, wanted a function that makes "
            "random variables"
        )


def check_observed(observed: Any, has_value: bool, label: str) -> None:
    """Raises an error for data given as `observed`, and for no data at all."""
    if not (observed is None or isinstance(observed, (bool, np.bool_))):
        raise TypeError(
            f"{label}: given {reprlib.repr(observed)} as observed, wanted True or "
            "False; data are given as `value`"
        )
    if observed and not has_value:
        raise ValueError(
            f"{label}: given observed=True without a value, wanted data as `value`"
        )


def check_bijector(bijector: Any, label: str) -> None:
    """Raises TypeError for what is no bijector, such as a class of them."""
    if isinstance(bijector, tfb.Bijector):
        return
    given = reprlib.repr(bijector)
    if inspect.isclass(bijector):
        given = f"the class {bijector.__name__}"
    raise TypeError(
        f"{label}: given {given} as bijector, wanted an instance, such as tfb.Exp()"
    )


def check_ranks(bijector: tfb.Bijector, shape: tf.TensorShape, label: str) -> None:
    """Raises ValueError for a bijector of values with more dimensions.

    shape: of the variable's value.
    """
    least = bijector.inverse_min_event_ndims
    if isinstance(least, int) and shape.rank is not None and shape.rank < least:
        raise ValueError(
            f"{label}: given {type(bijector).__name__} as bijector for a value of "
            f"shape {shape}, wanted one of {least} or more dimensions"
        )


def check_one_to_one(
    bijector: tfb.Bijector, shape: Any, dtype: Any, label: str
) -> None:
    """Raises ValueError for a bijector that is not one to one on all of R^k.

    shape: of the bijector's argument.
    """
    count = int(np.prod(shape))
    points = np.reshape(1.0 + 0.5 * np.sin(np.arange(1.0, count + 1.0)), shape)
    for given in (points, -points):
        try:
            with tf.init_scope():
                there = bijector.forward(tf.constant(given, dtype)).numpy()
                back = bijector.inverse(tf.constant(there))
        except (TypeError, ValueError, NotImplementedError):
            return  # its parameters are a tf.function's, or it has no inverse
        back = np.asarray(back[0] if isinstance(back, tuple) else back)
        if not np.allclose(back, given, atol=0.1):
            raise ValueError(
                f"{label}: given {type(bijector).__name__} as bijector, which takes "
                f"{given.flat[0]:.3g} to {there.flat[0]:.3g} and back to "
                f"{back.flat[0]:.3g}, wanted one that goes from R^k one to one"
            )


def check_values_of(bijector: tfb.Bijector, value: tf.Tensor, label: str) -> None:
    """Raises ValueError for data that are no values of the bijector."""
    given = tf.get_static_value(value)
    if given is None:
        return
    try:
        with tf.init_scope():
            vector = bijector.inverse(tf.constant(given)).numpy()
            # From a new tensor: TFP keeps the values that it has inverted.
            again = bijector.forward(tf.constant(vector)).numpy()
    except (TypeError, ValueError):  # its parameters are a tf.function's
        return
    if not np.allclose(given, again, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"{label}: given {given}, wanted values of {type(bijector).__name__}"
        )


def _check_present(value: Any, label: str) -> Any:
    """`value`, of pandas as an array.  Raises ValueError for missing entries."""
    if isinstance(value, np.ma.MaskedArray):
        missing, kind = np.ma.getmaskarray(value), "masked"
        value = value.filled() if not missing.any() else value
    elif hasattr(value, "isna"):  # a pandas object
        missing, kind = np.asarray(value.isna()), "missing"
        value = value if missing.any() else value.to_numpy()
    else:
        return value
    if missing.any():
        index = _first(missing)
        raise ValueError(
            f"{label}: given data with {int(missing.sum())} {kind} entries, the first "
            f"at {index}, wanted none: leave them out, or make each a latent variable"
        )
    return value


def check_numbers(value: Any, label: str) -> Any:
    """`value`; of objects that all are numbers, an array of numbers.

    Raises ValueError, with the first entry, for what is no array of real numbers.
    """
    if operators.is_variable(value):
        return value
    if tf.is_tensor(value):
        is_plain = isinstance(value, (tf.Tensor, tf.Variable))
        dtype = value.dtype
        if is_plain and (dtype.is_floating or dtype.is_integer or dtype.is_bool):
            return value
        raise ValueError(
            f"{label}: given a {type(value).__name__} of {dtype.name}, wanted a tensor "
            "of real numbers"
        )
    if operators.has_tensors(value):
        return value
    try:
        if np.asarray(value).dtype.kind in "biuf":
            return value
        entries = np.asarray(value, object)
    except ValueError:  # NumPy's, for rows of several lengths
        entries = _entries(value)
    for index, part in np.ndenumerate(entries):
        if isinstance(part, (numbers.Real, np.bool_)):
            continue
        if isinstance(part, (list, tuple, np.ndarray)):
            raise ValueError(
                f"{label}: given rows of different lengths, such as "
                f"{reprlib.repr(part)} at {index}, wanted one length"
            )
        at = f" at {index}" if index else ""
        raise ValueError(f"{label}: given {reprlib.repr(part)}{at}, wanted numbers")
    is_whole = all(isinstance(part, numbers.Integral) for part in entries.flat)
    return entries.astype(np.int64 if is_whole else np.float64)


def _entries(rows: Any) -> np.ndarray:
    """The rows as objects, whatever their lengths."""
    entries = np.empty(len(rows), object)
    entries[:] = [list(row) if isinstance(row, np.ndarray) else row for row in rows]
    return entries


def _to_whole(value: Any, dtype: tf.DType, label: str) -> Any:
    """`value` with whole floats as `dtype`; symbolic tensors are left as they are."""
    if isinstance(value, tf.Tensor):
        array = tf.get_static_value(value) if value.dtype.is_floating else None
    else:
        array = np.asarray(value)
    if array is None or array.dtype.kind not in "fiu":
        return value
    least, most = (0, 1) if dtype.is_bool else (dtype.min, dtype.max)
    # A comparison with NaN is false, and infinity is not within the limits.
    fits = (array >= least) & (array <= most) & (array == np.floor(array))
    if not fits.all():
        index = _first(~fits)
        raise ValueError(
            f"{label}: given {array[index]} at {index}, wanted whole numbers from "
            f"{least} to {most} ({dtype.name})"
        )
    return array.astype(dtype.as_numpy_dtype)


def _first(where: np.ndarray) -> tuple[int, ...]:
    """The index of the first True."""
    return tuple(int(i) for i in np.argwhere(where)[0])
