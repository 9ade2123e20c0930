"""How processes find each other before TensorFlow begins, and end at the same step.

The first process calls every other at its address, and each says who it is; what is
amiss is told in all of them, which TensorFlow's own start would wait for.  The
connections stay open, for the word on which step is the last.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

RETRY_SECONDS = 0.1
ANSWER_SECONDS = 10.0  # for a line, once a connection stands
LAST_STEP_SECONDS = 60.0  # for a peer's word on the step that it is in
MAX_LINE_BYTES = 2**20


def host_and_port(address: str) -> tuple[str, int]:
    """The two of "host:port", or of "[::1]:port".  Raises ValueError for the rest."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"address: given {address!r}, wanted host:port")
    return host.strip("[]"), int(port)


def listen(address: str) -> socket.socket:
    """A socket that listens at the port of `address`, on every interface.

    Raises ValueError where that port is taken.
    """
    _, port = host_and_port(address)
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True
            )
        return socket.create_server(("", port))
    except OSError as error:
        raise ValueError(
            f"{address}: port {port} cannot be had on this machine: {error.strerror}"
        ) from error


class ProcessGroup:
    """The processes once they have met: one process's connections to the others.

    The first process has one to each, every other has one, to the first.
    """

    def __init__(self, index: int, lines: Mapping[int, "_Lines"]) -> None:
        self._first = index == 0
        self._lines = dict(lines)  # by the index of the process at the other end
        self._changed = threading.Condition()
        self._gone: set[int] = set()
        self._wanted = False  # by any process
        self._asked = False  # the first process asks which step each is in
        self._next = -1  # the first step that this process has not begun
        self._steps: dict[int, int] = {}  # the same of the others
        self._stop: int | None = None  # the step that is not begun
        for peer in lines:
            threading.Thread(target=self._hear, args=[peer], daemon=True).start()

    def stop_before(self, step: int, *, requested: bool) -> bool:
        """Whether all end before `step`; see `processes.stop_before`."""
        with self._changed:
            if self._first:
                self._wanted |= requested
                if self._wanted and self._stop is None:
                    self._choose(step)
            else:
                if requested and not self._wanted:
                    self._wanted = True
                    self._tell(0, {"wanted": True})
                # Whoever has said which step it is in begins no other until told.
                self._changed.wait_for(
                    lambda: not self._asked or self._stop is not None or self._gone
                )
            if self._stop is not None and step >= self._stop:
                return True
            self._next = step + 1
            return False

    def close(self) -> None:
        """Leaves the others, who learn of it."""
        for lines in self._lines.values():
            lines.close()

    def _choose(self, step: int) -> None:
        """Has every process stop before the first step that none has begun."""
        self._tell_all({"asked": True})
        self._changed.wait_for(
            lambda: self._steps.keys() | self._gone >= self._lines.keys(),
            LAST_STEP_SECONDS,
        )
        self._stop = max(step, *self._steps.values(), 0)
        self._tell_all({"stop": self._stop})

    def _hear(self, peer: int) -> None:
        """Takes in what a peer says, until it ends."""
        while (said := self._lines[peer].read()) is not None:
            with self._changed:
                if "wanted" in said:
                    self._wanted = True
                if "asked" in said:
                    self._asked = True
                    self._tell(peer, {"next": self._next})
                if "next" in said:
                    self._steps[peer] = int(said["next"])
                if "stop" in said:
                    self._stop = int(said["stop"])
                self._changed.notify_all()
        with self._changed:
            self._gone.add(peer)
            self._changed.notify_all()

    def _tell_all(self, said: dict[str, Any]) -> None:
        for peer in self._lines:
            self._tell(peer, said)

    def _tell(self, peer: int, said: dict[str, Any]) -> None:
        if not self._lines[peer].write(said):
            self._gone.add(peer)


def join(
    index: int, addresses: Sequence[str], *, digest: str, seconds: float
) -> ProcessGroup:
    """Waits until the process at each address is there and means the same training.

    digest: a text that all processes must have alike.

    Raises ValueError for a port taken and for a process that was given other addresses
    or another `digest`; TimeoutError, with its address, for one that does not come in
    `seconds`.
    """
    ends = time.monotonic() + seconds
    us = {"addresses": list(addresses), "digest": digest}
    if index > 0:
        return ProcessGroup(index, {0: _wait_for_first(index, addresses, us, ends)})
    listen(addresses[0]).close()
    lines: dict[int, _Lines] = {}
    refused = ""
    missing: dict[int, str] = {}
    waiting = list(range(1, len(addresses)))
    while waiting and not refused:
        for peer in list(waiting):
            try:
                lines[peer], answer = _call(addresses[peer], us | {"index": peer}, ends)
            except (OSError, EOFError) as error:
                missing[peer] = str(error) or type(error).__name__
                continue
            waiting.remove(peer)
            refused = refused or str(answer.get("refused", ""))
        if waiting and not refused:
            if time.monotonic() >= ends:
                break
            time.sleep(RETRY_SECONDS)
    told = _never_joined(waiting, addresses, missing, seconds)
    for peer, line in lines.items():
        there = line.write({"refused": refused} if refused else {"missing": told})
        if not there and not told:
            told = f"process {peer} at {addresses[peer]} left before all had joined"
    if not refused and not told:
        return ProcessGroup(0, lines)
    for line in lines.values():
        line.close()
    if refused:
        raise ValueError(refused)
    raise TimeoutError(told)


def _never_joined(
    waiting: Sequence[int],
    addresses: Sequence[str],
    why: Mapping[int, str],
    seconds: float,
) -> str:
    if not waiting:
        return ""
    named = ", ".join(f"process {i} at {addresses[i]} ({why[i]})" for i in waiting[:8])
    more = f" and {len(waiting) - 8} more" if len(waiting) > 8 else ""
    return f"waited {seconds:g} s, and never joined: {named}{more}"


def _call(
    address: str, us: dict[str, Any], ends: float
) -> tuple["_Lines", dict[str, Any]]:
    """A connection to the process at `address`, and its answer to who we are."""
    left = max(ends - time.monotonic(), RETRY_SECONDS)
    connection = socket.create_connection(
        host_and_port(address), timeout=min(left, ANSWER_SECONDS)
    )
    lines = _Lines(connection)
    answer = lines.read() if lines.write(us | {"seconds": left}) else None
    if answer is None or not answer.keys() & {"ready", "refused"}:
        lines.close()
        raise EOFError("something else answers there")
    lines.wait_at_most(None)
    return lines, answer


def _wait_for_first(
    index: int, addresses: Sequence[str], us: Mapping[str, Any], ends: float
) -> "_Lines":
    """The connection that the first process makes to this one, when all are there."""
    began = time.monotonic()
    with listen(addresses[index]) as server:
        while True:
            left = ends - time.monotonic()
            if left <= 0:
                waited = f"waited {time.monotonic() - began:.0f} s"
                raise TimeoutError(
                    f"{waited}, and never joined: process 0 at {addresses[0]}; "
                    f"process {index} listened at {addresses[index]}"
                )
            server.settimeout(left)
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            lines = _Lines(connection)
            try:
                if _joined(index, addresses, us, lines):
                    return lines
            except BaseException:
                lines.close()
                raise
            lines.close()  # whoever it was


def _joined(
    index: int, addresses: Sequence[str], us: Mapping[str, Any], lines: "_Lines"
) -> bool:
    """Whether it is the first process that called, and all others have come."""
    lines.wait_at_most(ANSWER_SECONDS)
    them = lines.read()
    if them is None or "index" not in them:
        return False
    refused = _difference(index, us, them)
    lines.write({"refused": refused} if refused else {"ready": True})
    if refused:
        raise ValueError(refused)
    # The first process goes on when the last has come, or its time is up.
    lines.wait_at_most(float(them["seconds"]) + ANSWER_SECONDS)
    them = lines.read()
    if them is None:
        raise TimeoutError(f"process 0 at {addresses[0]} left before all had joined")
    if them.get("refused"):
        raise ValueError(them["refused"])
    if them.get("missing"):
        raise TimeoutError(them["missing"])
    lines.wait_at_most(None)
    return True


def _difference(index: int, us: Mapping[str, Any], them: Mapping[str, Any]) -> str:
    """What keeps two processes from training together; empty where nothing does."""
    if them.get("addresses") != us["addresses"]:
        theirs = ",".join(map(str, them.get("addresses", ())))
        return (
            f"process 0 was given the addresses {theirs} and process {index} "
            f"{','.join(us['addresses'])}, wanted the same"
        )
    if them.get("index") != index:
        return (
            f"at {us['addresses'][them['index']]} is process {index}, "
            f"wanted process {them['index']}"
        )
    if them.get("digest") != us["digest"]:
        return (
            f"process {index} was started with another config or seed than process 0, "
            "or resumes where that begins; wanted the same command"
        )
    return ""


class _Lines:
    """A connection that carries one JSON object a line, either way."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connection = connection
        self._held = b""

    def wait_at_most(self, seconds: float | None) -> None:
        """For what comes next; None: as long as it takes."""
        self._connection.settimeout(seconds)

    def close(self) -> None:
        """Ends both ways, and a `read` that waits in another thread."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def read(self) -> dict[str, Any] | None:
        """The next object; None where the peer is gone, silent too long or odd."""
        try:
            while b"\n" not in self._held:
                more = self._connection.recv(4096)
                if not more or len(self._held) > MAX_LINE_BYTES:
                    return None
                self._held += more
            line, _, self._held = self._held.partition(b"\n")
            said = json.loads(line)
        except (OSError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def write(self, said: Mapping[str, Any]) -> bool:
        """Whether it could be sent."""
        try:
            self._connection.sendall(json.dumps(dict(said)).encode() + b"\n")
        except OSError:
            return False
        return True
