"""SIGINT and SIGTERM wait until the step that they interrupt is saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Signals:
    """The SIGINT and SIGTERM that came and wait."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.stopped_by_other = False  # another process of the run was signalled

    @property
    def received(self) -> bool:
        return bool(self.numbers)


@contextlib.contextmanager
def deferred() -> Iterator[Signals]:
    """Delays SIGINT and SIGTERM to the end of the block, and then delivers the first.

    A step that is cut short could leave some variables updated and others not.  (A
    second signal still ends the process: the command line's thread sees to that.)
    After an error no signal is delivered: a stop would be taken for a saved one.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    handlers = {
        signum: signal.signal(signum, lambda signum, _: signals.numbers.append(signum))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    if signals.received:
        first = signals.numbers[0]
        handler = handlers[first]
        if callable(handler):  # called, not raised: the command line would count two
            handler(first, None)
        else:
            signal.raise_signal(first)
    elif signals.stopped_by_other:
        signal.raise_signal(signal.SIGTERM)
