"""The whole mechanism: a stack of tracers, and functions that hand them their calls."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

Tracer = Callable[..., Any]  # (fn, *args, **kwargs) -> what the call returns


class _Active(threading.local):
    """One stack a thread, innermost tracer last."""

    def __init__(self) -> None:
        self.tracers: list[Tracer] = []


_active = _Active()


@contextlib.contextmanager
def trace(tracer: Tracer) -> Iterator[None]:
    """Hands every traceable call made in the block to `tracer(fn, *args, **kwargs)`.

    Tracers nest: the innermost block's tracer sees a call first, and what it passes on
    with `forward` meets the next one out.  The stack belongs to the thread and is
    restored when the block raises.  Tran et al. (2018), section 2.3 and figure 5.
    """
    _active.tracers.append(tracer)
    try:
        yield
    finally:
        _active.tracers.pop()


def forward(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns what the next tracer out makes of the call, or the call's own result.

    A tracer that calls `fn` itself instead hides the call from the tracers around it.
    """
    if not _active.tracers:
        return fn(*args, **kwargs)
    tracer = _active.tracers.pop()  # so that what it forwards meets the next one out
    try:
        return tracer(fn, *args, **kwargs)
    finally:
        _active.tracers.append(tracer)


def traceable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Registers `fn`: while a tracer is active, the tracer decides how it runs."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return forward(fn, *args, **kwargs)

    return call
