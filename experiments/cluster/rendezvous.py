"""How processes connect before TensorFlow starts, and how they stop at the same step.

Process 0 connects to every other process, and each checks that all were started alike.
A mistake is reported in all of them, where TensorFlow's own start-up would wait.  The
connections stay open, so that the processes can agree on the last step.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

RETRY_SECONDS = 0.1
ANSWER_SECONDS = 10.0  # for a message on an open connection
LAST_STEP_SECONDS = 60.0  # for a peer to say which step it is in
MAX_LINE_BYTES = 2**20


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[::1]:port"; ValueError for anything else.

    >>> host_and_port("[::1]:7070")
    ('::1', 7070)
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"address: given {address!r}, wanted host:port")
    return host.strip("[]"), int(port)


def listen(address: str) -> socket.socket:
    """A socket that listens at the port of `address`, on every interface.

    Raises ValueError if the port is taken.
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
            f"{address}: port {port}: {error.strerror}, wanted a free one"
        ) from error


class ProcessGroup:
    """The connections of one process to the others, once all have joined.

    Process 0 has a connection to each of the others, and they have one, to process 0.
    """

    def __init__(self, index: int, peers: Mapping[int, "_Connection"]) -> None:
        self._is_first = index == 0
        self._peers = dict(peers)  # by the index of the process at the other end
        self._changed = threading.Condition()  # guards everything below
        self._left: set[int] = set()
        self._stop_requested = False  # by any process
        self._step_asked = False  # process 0 has asked which step each is in
        self._next_step = -1  # the first step that this process has not started
        self._next_steps: dict[int, int] = {}  # the same of the others
        self._stop_step: int | None = None  # the first step that no process takes
        for peer in peers:
            threading.Thread(target=self._receive, args=[peer], daemon=True).start()

    def stop_before(self, step: int, *, requested: bool) -> bool:
        """Whether all stop before `step`; see `processes.stop_before`."""
        with self._changed:
            if self._is_first:
                self._stop_requested |= requested
                if self._stop_requested and self._stop_step is None:
                    self._choose_stop_step(step)
            else:
                if requested and not self._stop_requested:
                    self._stop_requested = True
                    self._send(0, {"stop_requested": True})
                # A process that has reported its step starts no other until it knows
                # the last one.
                self._changed.wait_for(
                    lambda: (
                        not self._step_asked
                        or self._stop_step is not None
                        or self._left
                    )
                )
            if self._stop_step is not None and step >= self._stop_step:
                return True
            self._next_step = step + 1
            return False

    def close(self) -> None:
        """Leaves the group.  The others notice."""
        for connection in self._peers.values():
            connection.close()

    def _choose_stop_step(self, step: int) -> None:
        """Makes every process stop before the first step that none has started."""
        self._send_all({"step_asked": True})
        self._changed.wait_for(
            lambda: self._next_steps.keys() | self._left >= self._peers.keys(),
            LAST_STEP_SECONDS,
        )
        self._stop_step = max(step, *self._next_steps.values(), 0)
        self._send_all({"stop_step": self._stop_step})

    def _receive(self, peer: int) -> None:
        """Handles a peer's messages until it leaves."""
        while (message := self._peers[peer].read()) is not None:
            with self._changed:
                if "stop_requested" in message:
                    self._stop_requested = True
                if "step_asked" in message:
                    self._step_asked = True
                    self._send(peer, {"next_step": self._next_step})
                if "next_step" in message:
                    self._next_steps[peer] = int(message["next_step"])
                if "stop_step" in message:
                    self._stop_step = int(message["stop_step"])
                self._changed.notify_all()
        with self._changed:
            self._left.add(peer)
            self._changed.notify_all()

    def _send_all(self, message: dict[str, Any]) -> None:
        for peer in self._peers:
            self._send(peer, message)

    def _send(self, peer: int, message: dict[str, Any]) -> None:
        if not self._peers[peer].write(message):
            self._left.add(peer)


def join(
    index: int, addresses: Sequence[str], *, digest: str, seconds: float
) -> ProcessGroup:
    """Waits until all processes of the same run are connected.

    digest: a text that must be equal in all processes.

    Raises ValueError if the port is taken, or if a process has other addresses or
    another digest; TimeoutError, with the address, for a process that does not join
    within `seconds`.
    """
    deadline = time.monotonic() + seconds
    identity = {"addresses": list(addresses), "digest": digest}
    if index > 0:
        first = _accept_first(index, addresses, identity, deadline)
        return ProcessGroup(index, {0: first})
    listen(addresses[0]).close()
    peers: dict[int, _Connection] = {}
    refused, failures = "", dict[int, str]()
    waiting = list(range(1, len(addresses)))
    while True:
        for peer in list(waiting):
            try:
                peers[peer], answer = _connect(
                    addresses[peer], identity | {"index": peer}, deadline
                )
            except (OSError, EOFError) as error:
                failures[peer] = str(error) or type(error).__name__
                continue
            waiting.remove(peer)
            refused = refused or str(answer.get("refused", ""))
        if not waiting or refused or time.monotonic() >= deadline:
            break
        time.sleep(RETRY_SECONDS)
    missing = "" if refused else _never_joined(waiting, addresses, failures, seconds)
    for peer, connection in peers.items():
        sent = connection.write({"refused": refused, "missing": missing})
        if not sent and not missing:
            missing = f"process {peer} at {addresses[peer]} left before all had joined"
    if not refused and not missing:
        return ProcessGroup(0, peers)
    for connection in peers.values():
        connection.close()
    if refused:
        raise ValueError(refused)
    raise TimeoutError(missing)


def _never_joined(
    waiting: Sequence[int],
    addresses: Sequence[str],
    failures: Mapping[int, str],
    seconds: float,
) -> str:
    if not waiting:
        return ""
    names = ", ".join(
        f"process {i} at {addresses[i]} ({failures[i]})" for i in waiting[:8]
    )
    more = f" and {len(waiting) - 8} more" if len(waiting) > 8 else ""
    return f"waited {seconds:g} s, and never joined: {names}{more}"


def _connect(
    address: str, identity: dict[str, Any], deadline: float
) -> tuple["_Connection", dict[str, Any]]:
    """A connection to the process at `address`, and its answer to our identity."""
    left = max(deadline - time.monotonic(), RETRY_SECONDS)
    connection = _Connection(
        socket.create_connection(
            host_and_port(address), timeout=min(left, ANSWER_SECONDS)
        )
    )
    sent = connection.write(identity | {"seconds": left})
    answer = connection.read() if sent else None
    if answer is None or not answer.keys() & {"ready", "refused"}:
        connection.close()
        raise EOFError("something else answers there")
    connection.set_timeout(None)
    return connection, answer


def _accept_first(
    index: int, addresses: Sequence[str], identity: Mapping[str, Any], deadline: float
) -> "_Connection":
    """The connection from process 0, once all processes have joined."""
    start = time.monotonic()
    with listen(addresses[index]) as server:
        while (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            connection = _Connection(client)
            is_first = False
            try:
                is_first = _is_first(index, addresses, identity, connection)
            finally:
                if not is_first:  # not a process of this project, or refused
                    connection.close()
            if is_first:
                return connection
    raise TimeoutError(
        f"waited {time.monotonic() - start:.0f} s, and never joined: process 0 at "
        f"{addresses[0]}; process {index} listened at {addresses[index]}"
    )


def _is_first(
    index: int,
    addresses: Sequence[str],
    identity: Mapping[str, Any],
    connection: "_Connection",
) -> bool:
    """Whether process 0 is at the other end; returns once all have joined."""
    connection.set_timeout(ANSWER_SECONDS)
    message = connection.read()
    if message is None or "index" not in message:
        return False
    refused = _difference(index, identity, message)
    connection.write({"refused": refused} if refused else {"ready": True})
    if refused:
        raise ValueError(refused)
    # Process 0 answers once the last process has joined or the time is up.
    connection.set_timeout(float(message["seconds"]) + ANSWER_SECONDS)
    message = connection.read()
    if message is None:
        raise TimeoutError(f"process 0 at {addresses[0]} left before all had joined")
    if message.get("refused"):
        raise ValueError(message["refused"])
    if message.get("missing"):
        raise TimeoutError(message["missing"])
    connection.set_timeout(None)
    return True


def _difference(
    index: int, identity: Mapping[str, Any], first: Mapping[str, Any]
) -> str:
    """Why two processes cannot train together; "" if they can.

    first: the identity that process 0 sent.
    """
    if first.get("addresses") != identity["addresses"]:
        theirs = ",".join(map(str, first.get("addresses", ())))
        return (
            f"process 0 was given the addresses {theirs} and process {index} "
            f"{','.join(identity['addresses'])}, wanted the same"
        )
    if first.get("index") != index:
        return (
            f"at {identity['addresses'][first['index']]} is process {index}, "
            f"wanted process {first['index']}"
        )
    if first.get("digest") != identity["digest"]:
        return (
            f"process {index} was started with another config or seed than process 0, "
            "or resumes from another checkpoint; wanted the same command"
        )
    return ""


class _Connection:
    """A connection that carries one JSON object a line, in both directions."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket, self._lines = connection, connection.makefile("rb")

    def set_timeout(self, seconds: float | None) -> None:
        """The longest wait of a read or write; None: no limit."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Closes both directions, and ends a `read` that waits in another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._socket.close()

    def read(self) -> dict[str, Any] | None:
        """The next object; None if the peer has left, is silent or sends no object."""
        try:
            message = json.loads(self._lines.readline(MAX_LINE_BYTES))
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def write(self, message: Mapping[str, Any]) -> bool:
        """Whether the object could be sent."""
        try:
            self._socket.sendall(json.dumps(dict(message)).encode() + b"\n")
        except OSError:
            return False
        return True
