"""Checks of settings: a wrong type or value is refused where it is given."""

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any


def check_count(
    name: str, value: Any, *, minimum: int = 1, optional: bool = False
) -> None:
    """Raises ValueError unless `value` is a whole number of at least `minimum`."""
    if optional and value is None:
        return
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < minimum:
        raise ValueError(
            f"{name}: given {value!r}, wanted a whole number of at least {minimum}"
            + (" or None" if optional else "")
        )


def check_counts(minimum: int = 1, /, **values: Any) -> None:
    """Raises ValueError, naming it, for a value that `check_count` refuses."""
    for name, value in values.items():
        check_count(name, value, minimum=minimum)


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    optional: bool = False,
) -> None:
    """Raises ValueError unless `value` is a finite number between these bounds."""
    if optional and value is None:
        return
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not (above < value < below and value >= at_least):
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("above", above),
                ("at least", at_least),
                ("below", below),
            )
            if math.isfinite(bound)
        ]
        wanted = " ".join(["a finite number", " and ".join(bounds)]).strip()
        raise ValueError(
            f"{name}: given {value!r}, wanted {wanted}"
            + (" or None" if optional else "")
        )


def check_memory(name: str, value: int, bytes_each: int) -> None:
    """Raises ValueError unless this machine's memory holds so many."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if value * bytes_each > memory:
        raise ValueError(
            f"{name}: given {value}, wanted fewer: they take {value * bytes_each:,} "
            f"bytes, and this machine has {memory:,}"
        )


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of those known."""
    if value not in known:
        raise ValueError(f"{name}: given {value!r}, wanted one of {known}")


def check_bool(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: given {value!r}, wanted True or False")


def check_instance(name: str, value: Any, wanted: type) -> None:
    """Raises ValueError unless `value` is of that type."""
    if not isinstance(value, wanted):
        raise ValueError(f"{name}: given {value!r}, wanted {wanted.__name__}")
