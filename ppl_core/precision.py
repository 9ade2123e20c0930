"""One floating dtype for all variables of a program, whatever its literals and data."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ppl_core import data
from ppl_core.design import DesignMatrix
from ppl_core.operators import is_variable
from ppl_core.trace import floating_dtype, use_floating_dtype

Make = Callable[..., tfd.Distribution]


def make_distribution(
    make: Make, args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> tfd.Distribution:
    """`make(*args, **kwargs)` in the dtype of the `in_dtype` block, if there is one.

    Raises ValueError where the distribution's parts keep another dtype, and for
    arguments that are no numbers.
    """
    try:
        return _make(make, args, kwargs, label)
    except (TypeError, ValueError) as error:
        if label not in str(error):
            _check_parts(make, args, kwargs, label)
            _check_numbers(make, args, kwargs, label)
        raise
    except AttributeError:
        _check_parts(make, args, kwargs, label)
        raise


# Errors of TFP's, and of this package's, that a variable's label makes clear.
REFUSALS = (TypeError, ValueError, tf.errors.InvalidArgumentError)


def labelled(error: Exception, label: str) -> Exception:
    """The error as one line that begins with the label."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{label}: {' '.join(str(error).split())}")


def _make(
    make: Make, args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> tfd.Distribution:
    dtype = floating_dtype()
    if make is tfd.Inflated:
        args, kwargs = (), _as_inflated(args, kwargs, label)
    args, kwargs = _with_fractions(make, args, kwargs, dtype)
    if dtype is not None:
        args = tuple(cast(part, dtype) for part in args)
        kwargs = {key: cast(part, dtype) for key, part in kwargs.items()}
    try:
        distribution = make(*args, **kwargs)
    except TypeError:  # TFP's, for parameters of several dtypes
        check_signature(make, args, kwargs, label)
        args, kwargs = _as_one_dtype(args, kwargs)
        distribution = make(*args, **kwargs)
    if dtype is None or _fits(distribution, dtype):
        return distribution
    distribution = make(**_all_arguments(make, distribution, args, kwargs, dtype))
    if not _fits(distribution, dtype):
        raise ValueError(
            f"{label}: given parts of {distribution.dtype.name}, wanted {dtype.name}, "
            "the posterior's dtype: make them of it, or choose another by "
            "unconstrain(..., dtype=...)"
        )
    return distribution


# What they return is what they are given, whole numbers too.
_KEEP_WHOLE = (
    tfd.Deterministic,
    tfd.VectorDeterministic,
    tfd.Empirical,
    tfd.FiniteDiscrete,
)


def _with_fractions(
    make: Make, args: tuple[Any, ...], kwargs: dict[str, Any], dtype: tf.DType | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with floating numbers for arrays and tensors of whole ones.

    So TFP takes lists of whole numbers; of arrays, it would make a Normal of integers.

    dtype: of these; None: the widest of the other arguments, or float32.
    """
    given = (*args, *kwargs.values())
    if {*map(type, given)} == {float}:  # most often
        return args, kwargs
    parts = [_kind(part) for part in given]
    if not any(kind is not None and kind.is_integer for kind in parts):
        return args, kwargs
    distribution_class: Any = make
    is_class = inspect.isclass(make) and issubclass(
        distribution_class, tfd.Distribution
    )
    if not is_class or issubclass(distribution_class, _KEEP_WHOLE):
        return args, kwargs
    try:
        properties = distribution_class.parameter_properties()
    except NotImplementedError:
        return args, kwargs
    names = list(_signature(make).parameters)
    wanted = dtype or max(
        (kind for kind in parts if kind is not None and kind.is_floating),
        key=lambda kind: kind.size,
        default=tf.float32,
    )

    def to_fractions(name: str, part: Any) -> Any:
        kind, known = _kind(part), properties.get(name)
        is_whole = kind is not None and kind.is_integer
        if not is_whole or not known or known.specifies_shape or not known.is_tensor:
            return part
        return tf.cast(part.value if is_variable(part) else part, wanted)

    args = tuple(
        part if index >= len(names) else to_fractions(names[index], part)
        for index, part in enumerate(args)
    )
    return args, {name: to_fractions(name, part) for name, part in kwargs.items()}


def _as_inflated(
    args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> dict[str, Any]:
    """The arguments of tfd.Inflated in the dtype of the distribution inside.

    TFP takes the other arguments' own, so that a whole inflated_loc cuts fractions off.
    """
    check_signature(tfd.Inflated, args, kwargs, label)
    bound = _signature(tfd.Inflated).bind(*args, **kwargs)
    dtype = getattr(bound.arguments["distribution"], "dtype", None)
    if isinstance(dtype, tf.DType) and not dtype.is_floating:
        raise ValueError(
            f"{label}: given a distribution of {dtype.name}, wanted one of fractions, "
            "such as a FiniteDiscrete"
        )

    def cast_number(part: Any) -> Any:
        kinds = (int, float, list, tuple)
        is_number = isinstance(part, kinds) and not isinstance(part, bool)
        if not isinstance(dtype, tf.DType) or not (is_number or _kind(part)):
            return part
        if is_number:
            return tf.convert_to_tensor(part, dtype)
        return tf.cast(part.value if is_variable(part) else part, dtype)

    return {
        name: part if name in ("distribution", "name") else cast_number(part)
        for name, part in bound.arguments.items()
    }


def _kind(part: Any) -> tf.DType | None:
    """The dtype of numbers, or of a distribution; None of other arguments."""
    if isinstance(part, tf.Tensor):
        return part.dtype
    kind = getattr(np.asarray(part) if hasattr(part, "iloc") else part, "dtype", None)
    if isinstance(kind, np.dtype) and kind.kind in "fiu":
        return tf.as_dtype(kind)
    return kind if isinstance(kind, tf.DType) else None


# Arguments of TFP's classes that are distributions, or lists of them.
_DISTRIBUTIONS = set(
    "cat components components_distribution distribution mixture_distribution "
    "initial_distribution transition_distribution observation_distribution".split()
)


def _check_parts(
    make: Make, args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> None:
    """Raises TypeError for a class among the arguments, or for no distribution."""
    arguments = _signature(make).bind(*args, **kwargs).arguments
    for name, part in arguments.items():
        parts = part if isinstance(part, (list, tuple)) else [part]
        for one in parts:
            if inspect.isclass(one):
                raise TypeError(
                    f"{label}: given the class {one.__name__} as {name}, wanted an "
                    f"instance, such as {one.__name__}(...)"
                )
            is_distribution = isinstance(one, tfd.Distribution)
            if name in _DISTRIBUTIONS and not is_distribution:
                given = one.label if is_variable(one) else repr(one)
                raise TypeError(
                    f"{label}: given {given} as {name}, wanted a distribution, such as "
                    "one of TFP or a variable's `.distribution`"
                )


def _check_numbers(
    make: Make, args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> None:
    """Raises ValueError for an argument that contains what is no number."""
    arguments = _signature(make).bind(*args, **kwargs).arguments
    for name, part in arguments.items():
        is_list = isinstance(part, (list, tuple))
        kinds = (int, float, complex, str, type(None), np.generic)
        is_plain = all(isinstance(leaf, kinds) for leaf in tf.nest.flatten(part))
        if (
            hasattr(part, "iloc")
            or isinstance(part, np.ndarray)
            or is_list
            and is_plain
        ):
            data.check_numbers(part, f"{label}: {name}")


def _signature(make: Make) -> inspect.Signature:
    """The signature; of a class, that of its own __init__.

    Some of TFP's classes are made by a wrapper that takes any arguments.
    """
    if not inspect.isclass(make):
        return inspect.signature(make)
    made: Any = make
    parameters = [*inspect.signature(made.__init__).parameters.values()]
    return inspect.Signature(parameters[1:])


def check_signature(
    make: Make, args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> None:
    """Raises TypeError for arguments that `make` lacks, and for a name among them."""
    signature = _signature(make)
    if args and isinstance(args[0], str):
        raise TypeError(
            f"{label}: given {args[0]!r} as an argument, wanted name={args[0]!r}"
        )
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        options = {"validate_args", "allow_nan_stats", "name", "kwargs"}
        names = [name for name in signature.parameters if name not in options]
        raise TypeError(f"{label}: {error}; its arguments are {names}") from None


def _all_arguments(
    make: Make,
    distribution: tfd.Distribution,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dtype: tf.DType,
) -> dict[str, Any]:
    """The arguments by name with defaults and whole numbers in `dtype`.

    `Uniform()` and `Normal(0, 1)` are float32 to TFP.
    """
    bound = _signature(make).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    if "dtype" in arguments:
        arguments["dtype"] = dtype
    try:
        properties = type(distribution).parameter_properties()
    except NotImplementedError:
        properties = {}
    for name, part in arguments.items():
        arguments[name] = cast(part, dtype)
        known = properties.get(name)
        is_whole = isinstance(part, int) and not isinstance(part, bool)
        if is_whole and known is not None and not known.specifies_shape:
            arguments[name] = tf.constant(part, dtype)
    return arguments


def cast_tensors(structure: Any, dtype: tf.DType) -> Any:
    """The arguments with their floating tensors, arrays and designs in `dtype`."""
    kinds = (tf.Tensor, np.ndarray, DesignMatrix)
    return tf.nest.map_structure(
        lambda part: cast(part, dtype) if isinstance(part, kinds) else part, structure
    )


@contextlib.contextmanager
def in_dtype(dtype: tf.DType) -> Iterator[None]:
    """Makes the block's variables in `dtype`: their parameters are cast to it.

    Errors of mixed dtypes say what to do.
    """
    with use_floating_dtype(dtype):
        try:
            yield
        except Exception as error:
            if "float32" in str(error) and dtype == tf.float64:
                error.add_note(
                    "The posterior is computed in float64, and so are its variables. "
                    "Make the program's tensors of it (tf.cast, dtype=), use Python's "
                    "and NumPy's numbers, or give unconstrain dtype=tf.float32."
                )
            raise


def cast(part: Any, dtype: tf.DType) -> Any:
    """`part` with its floating numbers in `dtype`.

    It looks into lists, dictionaries, design matrices, and the parameters of
    distributions, bijectors, kernels and linear operators.
    """
    if isinstance(part, float) and not isinstance(part, np.generic):
        # A float32 literal is what TFP makes of it.
        return part if dtype == tf.float32 else tf.constant(part, dtype)
    if isinstance(part, (np.ndarray, np.generic)):
        # As a tensor, since TFP's Bernoulli makes float32 of float64 arrays.
        return tf.constant(part, dtype) if part.dtype.kind == "f" else part
    if hasattr(part, "iloc"):  # of pandas
        array = np.asarray(part)
        return tf.constant(array, dtype) if array.dtype.kind == "f" else part
    if isinstance(part, DesignMatrix):
        return part.cast(dtype)
    if isinstance(part, (list, dict)) or type(part) is tuple:
        return _cast_entries(part, dtype)
    if isinstance(part, tf.DType):
        return dtype if part.is_floating else part
    if tf.is_tensor(part):
        is_other = part.dtype.is_floating and part.dtype != dtype
        return tf.cast(part, dtype) if is_other else part
    parameters = getattr(part, "parameters", None)
    if not isinstance(parameters, Mapping):
        return part
    other = {
        key: new
        for key, old in parameters.items()
        if (new := cast(old, dtype)) is not old
    }
    if isinstance(part, tf.linalg.LinearOperator):
        if "dtype" in parameters and part.dtype.is_floating and part.dtype != dtype:
            other["dtype"] = dtype
        return type(part)(**{**parameters, **other}) if other else part
    return part.copy(**other) if other and hasattr(part, "copy") else part


def _cast_entries(part: Any, dtype: tf.DType) -> Any:
    """The list, tuple or dictionary with its entries cast; of numbers, one tensor."""
    is_dict = isinstance(part, dict)
    entries = [*part.values()] if is_dict else [*part]
    leaves = tf.nest.flatten(entries)
    if all(isinstance(leaf, (int, float)) for leaf in leaves):
        is_literal = not any(isinstance(leaf, float) for leaf in leaves)
        is_same = is_literal or is_dict or dtype == tf.float32
        return part if is_same else tf.constant(entries, dtype)
    new = [cast(entry, dtype) for entry in entries]
    if all(a is b for a, b in zip(new, entries, strict=True)):
        return part
    if is_dict:
        return dict(zip(part, new, strict=True))
    if all(tf.is_tensor(entry) for entry in new):
        return tf.stack(new)
    return tuple(new) if isinstance(part, tuple) else new


def _fits(distribution: tfd.Distribution, dtype: tf.DType) -> bool:
    own = distribution.dtype
    return not isinstance(own, tf.DType) or not own.is_floating or own == dtype


def _as_one_dtype(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments in the widest floating dtype of the tensors among them.

    Data come as float64 or whole numbers, whatever the dtype of the program.
    """
    tensors = [
        a for a in (*args, *kwargs.values()) if tf.is_tensor(a) or is_variable(a)
    ]
    dtypes = [tensor.dtype for tensor in tensors if tensor.dtype.is_floating]
    if not dtypes:
        return args, kwargs
    dtype = max(dtypes, key=lambda part: part.size)

    def to_dtype(argument: Any) -> Any:
        if isinstance(argument, (np.ndarray, np.generic)):
            is_number = argument.dtype.kind in "fiu"
            return argument.astype(dtype.as_numpy_dtype) if is_number else argument
        argument = argument.value if is_variable(argument) else argument
        is_float = isinstance(argument, tf.Tensor) and argument.dtype.is_floating
        return tf.cast(argument, dtype) if is_float else argument

    return tuple(map(to_dtype, args)), {k: to_dtype(a) for k, a in kwargs.items()}
