"""Several processes of one training on this machine: started, watched, started again.

Each gets a loopback port and, where there are enough, cores of its own.  When one dies
the others cannot go on: all are ended and started again from the last checkpoint.
"""

import contextlib
import ctypes
import functools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol, TextIO

from experiments.cluster import processes
from experiments.records import jsonlines, run_dir

GRACE_SECONDS = 10.0  # for the others to fail by themselves, and to say how
JOIN_SECONDS = 120.0
POLL_SECONDS = 0.1
PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
SUPERVISED = "PPL_SUPERVISED"  # set for a process that ends with its supervisor
EVENTS = "supervisor.jsonl"  # in the run's folder: what died, and when


class Stop(Protocol):
    """Which signal came to this process, and what a second one does first."""

    signum: int | None
    on_second: Callable[[], None] | None


def supervise(
    command: Callable[[bool], Sequence[str]],
    *,
    count: int,
    folder: Path,
    max_restarts: int,
    final: Sequence[int],
    interrupted: int,
    stop: Stop,
    say: Callable[[str], None],
) -> int:
    """Runs `count` processes until all are done, and returns the exit code of all.

    command: whether to resume -> the arguments of every process, which find their place
      in the environment.
    final: exit codes that starting again would not change; they end all.
    interrupted: the code of a process that saved and stopped at a signal.
    stop: a signal in it goes on to every process, which then has its own time to save.

    Returns 0, a final code, `interrupted`, or 1 where a process died more than
    `max_restarts` times.
    """
    before, failure = _held(folder), ""
    for restarts in range(max_restarts + 1):
        # An earlier run that is still in the folder is not the one to go on with.
        resume = restarts > 0 and _held(folder) not in (None, before)
        with _reserved(count) as addresses:
            places = (processes.Process(i, count, addresses) for i in range(count))
            clients = [_Client(command(resume), place) for place in places]
            say(f"{count} processes at {', '.join(addresses)}")
            stop.on_second = functools.partial(_end_now, clients, folder, interrupted)
            died, codes = _watch(clients, (*final, interrupted), stop)
        if died is None or set(codes.values()) & set(final):
            return _together(codes, final, interrupted)
        index, code = died
        reason = f"process {index} {_how(code)}"
        if stop.signum is not None:
            say(f"{reason} while it was stopped")
            return 1
        again, failure = failure, _failure(folder) if code > 0 else ""
        if failure and failure == again:
            _record(folder, "given up", restarts, failure)
            say(f"{reason}, twice for the same reason: {failure}")
            return 1
        if restarts == max_restarts:
            _record(folder, "given up", restarts, reason)
            say(f"{reason}; no restart is left of {max_restarts}")
            return 1
        _record(folder, "restart", restarts + 1, reason)
        since = "from the last checkpoint" if _held(folder) != before else "anew"
        say(f"{reason}; starting all {since}: restart {restarts + 1} of {max_restarts}")
    raise AssertionError("unreachable: the last restart returns")


def _end_now(clients: list["_Client"], folder: Path, interrupted: int) -> None:
    """Ends the processes at a second signal; they cannot say so in run.json."""
    _end(clients)
    run_dir.close(
        folder, status="interrupted", exit_code=interrupted, reason="stopped twice"
    )


def follow() -> None:
    """Ends this process at once when the supervisor that started it is gone."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):  # the supervisor holds the other end, and says nothing
                pass
        os.kill(os.getpid(), signal.SIGKILL)

    if os.environ.pop(SUPERVISED, None):
        # Linux does so by itself.  A thread may come too late: what was written to is
        # gone by then too, and the process would record a failure of its own.
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        threading.Thread(target=wait, daemon=True).start()


class _Client:
    """One process, its place in its environment, its output passed on."""

    def __init__(self, command: Sequence[str], process: processes.Process) -> None:
        environ = {processes.JOIN_SECONDS: str(JOIN_SECONDS), **os.environ}
        environ |= processes.to_environment(process) | {SUPERVISED: "1"}
        environ |= _gpus(os.environ, process)
        pipe, self.index = subprocess.PIPE, process.index
        with _pinned(process):  # a session of its own: Ctrl-C is ours to pass on
            self.process = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env=environ,
                start_new_session=True,
            )
        outputs = ((self.process.stdout, sys.stdout), (self.process.stderr, sys.stderr))
        self._pumps = [
            threading.Thread(target=_pass_on, args=[f"[{self.index}] ", *ends])
            for ends in outputs
        ]
        for pump in self._pumps:
            pump.daemon = True
            pump.start()

    def wait(self, ended: "queue.Queue[tuple[int, int]]") -> None:
        """Puts index and exit code into `ended` when the process has ended."""
        code = self.process.wait()
        for pump in self._pumps:
            pump.join(GRACE_SECONDS)
        ended.put((self.index, code))

    def signal(self, signum: int) -> None:
        """Sends a signal to the process and to what it started."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signum)


def _watch(
    clients: Sequence[_Client], expected: Sequence[int], stop: Stop
) -> tuple[tuple[int, int] | None, dict[int, int]]:
    """Waits until all have ended: the first that died, and every exit code.

    From the first that dies the others have GRACE_SECONDS.
    """
    ended: queue.Queue[tuple[int, int]] = queue.Queue()
    for client in clients:
        threading.Thread(target=client.wait, args=[ended], daemon=True).start()
    died, codes = None, dict[int, int]()
    passed_on, ends = False, float("inf")
    try:
        while len(codes) < len(clients):
            with contextlib.suppress(queue.Empty):
                index, code = ended.get(timeout=POLL_SECONDS)
                codes[index] = code
                if died is None and code not in (0, *expected):
                    died = index, code
                    ends = time.monotonic() + GRACE_SECONDS
            if stop.signum is not None and not passed_on:
                passed_on = True
                for client in clients:
                    client.signal(stop.signum)
            if time.monotonic() >= ends:
                ends = float("inf")
                _end(clients)
    finally:
        _end(clients)
    return died, codes


def _end(clients: Sequence[_Client]) -> None:
    for client in clients:
        client.signal(signal.SIGKILL)


def _together(codes: Mapping[int, int], final: Sequence[int], interrupted: int) -> int:
    """The exit code of processes none of which died."""
    failures = [code for _, code in sorted(codes.items()) if code]
    for code in failures:
        if code in final:
            return code
    return interrupted if failures else 0


def _how(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _held(folder: Path) -> bytes | None:
    """What tells one run in the folder from another; None where there is none."""
    if run_dir.read_status(folder) is None:
        return None
    with contextlib.suppress(OSError):
        return (folder / "provenance.json").read_bytes()
    return b""


def _failure(folder: Path) -> str:
    """Why the run says that it failed; empty where it lost another process."""
    with contextlib.suppress(OSError, ValueError):
        run = json.loads((folder / "run.json").read_text())
        if run["status"] == "failed" and "UnavailableError" not in run["reason"]:
            return str(run["reason"])
    return ""


def _record(folder: Path, event: str, restart: int, reason: str) -> None:
    if run_dir.read_status(folder) is None:  # it would be taken for no run folder
        return
    line = {"at": run_dir.utc_now(), "event": event, "restart": restart}
    with contextlib.suppress(OSError):  # a full disk may be why it died
        jsonlines.append(folder / EVENTS, {**line, "reason": reason})


@contextlib.contextmanager
def _reserved(count: int) -> Iterator[tuple[str, ...]]:
    """Free loopback addresses, kept from being lent to others meanwhile."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                one.setsockopt(socket.SOL_SOCKET, option, 1)
            one.bind(("127.0.0.1", 0))  # bound, and not listening: a client may be
        yield tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in held)


@contextlib.contextmanager
def _pinned(process: processes.Process) -> Iterator[None]:
    """What is started meanwhile has an equal share of the cores, where each has one."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, share(sorted(cores), process) or cores)
        yield
    finally:
        os.sched_setaffinity(0, cores)


def share[T](whole: Sequence[T], process: processes.Process) -> Sequence[T]:
    """This process's equal part of the whole; empty where there is too little."""
    size = len(whole) // process.count
    return whole[process.index * size : (process.index + 1) * size]


def _gpus(environ: Mapping[str, str], process: processes.Process) -> dict[str, str]:
    """A share of the GPUs, where the environment lists enough: two cannot be on one."""
    name = "CUDA_VISIBLE_DEVICES"
    listed = [gpu for gpu in environ.get(name, "").split(",") if gpu.strip()]
    ours = share(listed, process)
    return {name: ",".join(ours)} if ours else {}


_printing = threading.Lock()


def _pass_on(prefix: str, source: IO[bytes], sink: TextIO) -> None:
    """Writes each line of `source` whole, with a prefix."""
    for line in source:
        text = line.decode(errors="replace").rstrip("\n")
        with _printing, contextlib.suppress(OSError, ValueError):
            sink.write(f"{prefix}{text}\n")
            sink.flush()
