"""The whole mechanism: a stack of tracers, and functions that call through it."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Tracer = Callable[..., Any]  # (fn, *args, **kwargs) -> the call's result


class _Stack(threading.local):
    """The active tracers of one thread, innermost last."""

    def __init__(self) -> None:
        self.tracers: list[Tracer] = []
        self.drawn: list[str] | None = None  # see `drawn_variables`
        self.data_checked = False  # see `checked_data`
        self.floating_dtype: Any = None  # see `use_floating_dtype`


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


def active_tracers() -> tuple[Tracer, ...]:
    """The tracers of the blocks around this call, innermost last."""
    return tuple(_stack.tracers)


@contextlib.contextmanager
def only_tracers(tracers: Sequence[Tracer]) -> Iterator[None]:
    """Replaces the active tracers by `tracers` for the block."""
    outer = _stack.tracers
    _stack.tracers = list(tracers)
    try:
        yield
    finally:
        _stack.tracers = outer


@contextlib.contextmanager
def add_tracers(tracers: Sequence[Tracer]) -> Iterator[None]:
    """Puts `tracers` inside the active ones for the block."""
    with only_tracers((*_stack.tracers, *tracers)):
        yield


@contextlib.contextmanager
def drawn_variables() -> Iterator[list[str]]:
    """Lists the random variables that are drawn in the block, by name in errors.

    It sees all of them, also those that `block` hides from tracers.
    """
    drawn: list[str] = []
    outer, _stack.drawn = _stack.drawn, drawn
    try:
        yield drawn
    finally:
        _stack.drawn = outer


def note_draw(label: str) -> None:
    """Tells `drawn_variables` that a random variable is drawn."""
    if _stack.drawn is not None:
        _stack.drawn.append(label)


@contextlib.contextmanager
def checked_data() -> Iterator[None]:
    """Takes the data of the block to be inside their supports, and saves the check."""
    outer, _stack.data_checked = _stack.data_checked, True
    try:
        yield
    finally:
        _stack.data_checked = outer


def data_are_checked() -> bool:
    """Whether `checked_data` is around this call."""
    return _stack.data_checked


@contextlib.contextmanager
def use_floating_dtype(dtype: Any) -> Iterator[None]:
    """Makes the random variables of the block in one floating dtype."""
    outer, _stack.floating_dtype = _stack.floating_dtype, dtype
    try:
        yield
    finally:
        _stack.floating_dtype = outer


def floating_dtype() -> Any:
    """The dtype of a `use_floating_dtype` block around this call; None without one."""
    return _stack.floating_dtype
