"""Plates and labelled dimensions."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ppl_core import weights
from ppl_core.trace import forward, trace
from ppl_core.tracers import Constructor


@contextlib.contextmanager
def coords(**labels: Sequence[Any]) -> Iterator[None]:
    """Gives dimensions their labels: names of schools, years, and so on.

    A variable of the block that names its dimensions by `dims` takes its shape from the
    labels, and summaries show them.

    Raises ValueError for labels that are not one list of different ones.

    >>> with ppl.coords(school=["A", "B", "C"]):
    ...     theta = ppl.Normal(0.0, 1.0, dims="school", name="theta")
    >>> theta.shape.as_list(), theta.dims
    ([3], ('school',))
    """
    tables = {dim: _labels(dim, part) for dim, part in labels.items()}

    def label(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        if _takes_options(construct):
            kwargs["coords"] = {**tables, **kwargs.get("coords", {})}
        return forward(construct, *args, **kwargs)

    with trace(label):
        yield


@contextlib.contextmanager
def plate(name: str, size: Any, *, total: int | None = None) -> Iterator[np.ndarray]:
    """Repeats the variables of the block, independent given what is outside.

    Each variable has one entry for each entry of the plate.  Its parameters broadcast
    to the plate's size.  Nested plates make one dimension each, the outer plate's
    first.  A sample_shape comes before the plates.

    size: a number, or the labels of the entries.
    total: for a minibatch, the number of entries that it stands for.  The log probs of
      the block are multiplied by total / size.

    Yields the indices of the entries, from 0.

    Raises ValueError for parameters that do not broadcast to the plate, and TypeError
    for a variable of `ppl_core.scipy`, whose size is an argument of its own.

    >>> with ppl.plate("row", 3, total=300):
    ...     x = ppl.Normal([0.0, 1.0, 2.0], 1.0, name="x")
    ...     y = ppl.Normal(0.0, 1.0, name="y")
    >>> y.shape.as_list(), y.dims, round(float(x.log_prob(x.mean())[0]), 1)
    ([3], ('row',), -91.9)
    """
    if not isinstance(name, str):
        raise TypeError(f"plate: given the name {name!r}, wanted a string")
    if not name:
        raise ValueError("plate: given an empty name, wanted one")
    is_empty = np.ndim(size) == 1 and len(size) == 0
    table = None if np.ndim(size) == 0 or is_empty else _labels(name, size)
    count = (0 if is_empty else size) if table is None else len(table)
    if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or count < 0:
        raise ValueError(
            f"plate {name!r}: given the size {size!r}, wanted a whole number, 0 or "
            "more, or labels"
        )
    is_number = isinstance(total, (int, float, np.integer, np.floating))
    if total is not None and not (is_number and total >= count):
        raise ValueError(
            f"plate {name!r}: given the total {total!r}, wanted at least its {count} "
            "entries"
        )
    if total and not count:
        raise ValueError(
            f"plate {name!r}: given no entry for the total {total!r}, wanted some"
        )

    def repeat(construct: Constructor, *args: Any, **kwargs: Any) -> Any:
        if not _takes_options(construct):
            if hasattr(construct, "generator"):
                raise TypeError(
                    f"plate {name!r}: given {construct.__name__} of scipy.stats, which "
                    "takes size= in its place"
                )
            return forward(construct, *args, **kwargs)
        inner = kwargs.get("plates", ())
        if name in dict(inner):
            raise ValueError(f"plate {name!r}: given inside itself, wanted one of each")
        kwargs["plates"] = ((name, int(count)), *inner)
        if table is not None:
            kwargs["coords"] = {name: table, **kwargs.get("coords", {})}
        if total is not None:
            scale = kwargs.get("log_prob_scale")
            kwargs["log_prob_scale"] = weights.product(scale, total / max(count, 1))
        return forward(construct, *args, **kwargs)

    with trace(repeat):
        yield np.arange(count)


def _takes_options(construct: Constructor) -> bool:
    """Whether it makes a RandomVariable: neither one of SciPy nor another function."""
    makes = hasattr(construct, "makes_random_variable")
    return makes and not hasattr(construct, "generator")


def _labels(dim: str, labels: Sequence[Any]) -> np.ndarray:
    table = np.asarray(labels)
    if table.ndim != 1 or not len(table) or len(set(table.tolist())) < len(table):
        raise ValueError(
            f"coords: given {labels!r} for {dim!r}, wanted a list of different labels"
        )
    return table
