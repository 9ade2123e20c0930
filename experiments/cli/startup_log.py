"""TensorFlow's start-up log, held to the level that TF_CPP_MIN_LOG_LEVEL asks for.

What TensorFlow logs while it is imported comes before it has read that level, straight
to the file descriptor.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
SEVERITIES = b"IWE"  # a line of 0: information, 1: warnings, 2: errors
_LINE = re.compile(rb"([IWE])\d{4} [\d:.]+ +\d+ \S+:\d+\] ")
_HEAD = b"WARNING: All log messages before absl::InitializeLog() is called"
_MORE = b"To enable the following instructions:"  # a message's second line


@contextlib.contextmanager
def start_up_log_filtered() -> Iterator[None]:
    """Meanwhile drops from standard error what TensorFlow logs below its level.

    The user's level wins.  Otherwise it is 2, warnings dropped, and 3 on a machine
    without an NVIDIA GPU, where TensorFlow reports the missing driver as an error.
    """
    gpus = any(Path("/dev").glob("nvidia[0-9]*"))
    level = os.environ.setdefault(LEVEL, "2" if gpus else "3")
    if level not in ("1", "2", "3"):
        yield
        return
    hidden = SEVERITIES[: int(level)]
    reader, writer = os.pipe()
    original = os.dup(2)
    os.dup2(writer, 2)
    os.close(writer)
    pump = threading.Thread(target=_pump, args=(reader, original, hidden), daemon=True)
    pump.start()
    try:
        yield
    finally:
        os.dup2(original, 2)  # closes the pipe's last writer, so that the pump ends
        pump.join(timeout=1.0)  # unless a process started meanwhile holds it, too


def _pump(reader: int, sink: int, hidden: bytes) -> None:
    with os.fdopen(reader, "rb") as lines:
        for line in lines:
            logged = _LINE.match(line)
            if line.startswith((_HEAD, _MORE)) or logged and logged[1] in hidden:
                continue
            with contextlib.suppress(OSError):
                os.write(sink, line)
    os.close(sink)
