"""Whether a value is of the type that a parameter's annotation asks for."""

import collections.abc
import inspect
import math
import numbers
import types
import typing
from pathlib import Path
from typing import Any

_ACCEPTED = {  # annotation: what is taken for it, besides its own instances
    float: (numbers.Real,),
    int: (numbers.Integral,),
    Path: (str,),
    tuple: (list,),
    list: (tuple,),
}


def annotations(target: Any) -> dict[str, Any]:
    """The annotation of each parameter of a function or class that has one."""
    try:
        parameters = inspect.signature(target, eval_str=True).parameters.values()
    except (ValueError, TypeError, NameError, AttributeError):
        return {}
    return {p.name: p.annotation for p in parameters if p.annotation is not p.empty}


def fits(value: Any, annotation: Any) -> bool:
    """Whether `value` may be given for a parameter annotated so; True where unknown."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is types.NoneType:
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in inside)
    if origin is typing.Annotated:
        return fits(value, inside[0])
    if origin is typing.Literal:
        return value in inside
    kind = origin or annotation
    unknown = kind is Any or not isinstance(kind, type)
    if unknown or getattr(kind, "_is_protocol", False):
        return True
    if kind is not bool and isinstance(value, bool):
        return kind is object
    if isinstance(value, str) and issubclass(kind, collections.abc.Iterable):
        return kind is str
    if not isinstance(value, (kind, *_ACCEPTED.get(kind, ()))):
        return False
    if isinstance(value, dict) and len(inside) == 2:
        return all(fits(k, inside[0]) and fits(v, inside[1]) for k, v in value.items())
    if isinstance(value, (tuple, list)) and inside:
        if kind is tuple and inside[-1] is not Ellipsis:
            return len(value) == len(inside) and all(map(fits, value, inside))
        return all(fits(item, inside[0]) for item in value)
    return True


def wanted(annotation: Any) -> str:
    """An annotation in words for an error: "float", "str | None", "SamplerSettings"."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return "None" if annotation is types.NoneType else annotation.__name__
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " | ".join(map(wanted, typing.get_args(annotation)))
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")
