"""The whole mechanism: a stack of tracers, and functions that call through it."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

Tracer = Callable[..., Any]  # (fn, *args, **kwargs) -> the call's result


class _Stack(threading.local):
    """The active tracers of one thread, innermost last."""

    def __init__(self) -> None:
        self.tracers: list[Tracer] = []


_stack = _Stack()


@contextlib.contextmanager
def trace(tracer: Tracer) -> Iterator[None]:
    """Passes every traceable call made in the block to `tracer(fn, *args, **kwargs)`.

    Tracers nest.  The innermost block's tracer sees a call first; `forward` passes the
    call on to the next one out.  Each thread has its own stack, which is restored when
    the block raises.  Tran et al. (2018), section 2.3 and figure 5.

    >>> def show(fn, *args, **kwargs):
    ...     print("call of", kwargs["name"])
    ...     return ppl.forward(fn, *args, **kwargs)
    >>> with ppl.trace(show):
    ...     x = ppl.Normal(0.0, 1.0, name="x")
    call of x
    """
    _stack.tracers.append(tracer)
    try:
        yield
    finally:
        _stack.tracers.pop()


def forward(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns the next tracer's result for this call, or the function's own result.

    A tracer that calls `fn` directly instead hides the call from the tracers around it.
    """
    if not _stack.tracers:
        return fn(*args, **kwargs)
    tracer = _stack.tracers.pop()  # the calls that it forwards meet the next one out
    try:
        return tracer(fn, *args, **kwargs)
    finally:
        _stack.tracers.append(tracer)


def traceable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `fn` in a form whose calls go to the active tracers."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return forward(fn, *args, **kwargs)

    return call
