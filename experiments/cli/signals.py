"""SIGINT and SIGTERM: the first stops the run, the second ends the process at once."""

import contextlib
import os
import select
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

from experiments.cli.messages import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 2.0  # after which a stop that did not stop anything is raised anew


class Stopped(BaseException):
    """The first SIGINT or SIGTERM, raised in the main thread wherever it is."""


class Stop:
    """Which signal came, and what the second one does before the process ends."""

    signum: int | None = None
    finishing = False  # the record is being written: not the time to raise
    raises = True  # False where `signum` is polled instead
    on_second: Callable[[], None] | None = None


@contextlib.contextmanager
def signals_caught(program: str) -> Iterator[Stop]:
    """Raises Stopped at the first SIGINT or SIGTERM; the second ends the process.

    A thread hears both at once, because the main one may be inside a long TensorFlow
    call, where Python's own handlers wait.  Where a callback of a library is what the
    first one met, its exception is lost: it is raised again until the run ends.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    sent_again = 0

    def handle(signum: int, _frame: types.FrameType | None) -> None:
        nonlocal sent_again
        is_first, is_again = stop.signum is None, sent_again > 0
        sent_again = max(0, sent_again - 1)
        if (is_first or is_again) and not stop.finishing:
            stop.signum = signum
            if stop.raises:
                raise Stopped

    def listen() -> None:
        nonlocal sent_again
        received = ignored = 0
        while received < 2:
            waits = AGAIN_SECONDS if received and stop.raises else None
            if not select.select([reader], [], [], waits)[0]:
                if stop.signum is not None and not stop.finishing:
                    sent_again += 1
                    ignored += 1
                    signal.pthread_kill(main_thread, stop.signum)
                continue
            byte = os.read(reader, 1)
            if not byte:
                return
            if byte[0] in SIGNALS and ignored:
                ignored -= 1
                continue
            received += byte[0] in SIGNALS
            name = signal.Signals(byte[0]).name
            if received == 1:
                say(program, f"{name}: stopping; a second one ends it at once")
        if stop.on_second is not None and not stop.finishing:
            with contextlib.suppress(Exception):
                stop.on_second()
        os._exit(128 + byte[0])

    main_thread = threading.get_ident()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handlers = [signal.signal(signum, handle) for signum in SIGNALS]
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for signum, handler in zip(SIGNALS, handlers, strict=True):
            signal.signal(signum, handler)
        os.close(writer)
        listener.join()
        os.close(reader)


def unblock() -> None:
    """Lets signals in that the program's stub keeps waiting while Python starts."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leave_what_still_works(code: int) -> None:
    """Ends the process at once where another thread would keep it, as a compiler's.

    All that is to be saved has been.
    """
    threads = threading.enumerate()
    if any(not one.daemon for one in threads if one is not threading.main_thread()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)
