"""Fresh processes side by side: each reads a task's file and writes a result's."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.cluster import processes

REPO = Path(__file__).resolve().parents[2]


def run(
    stem: Path,
    tasks: Sequence[Mapping[str, Any]],
    *,
    worker: str,
    threads: int,
    timeout: float,
    devices: int = 1,
    connected: bool = False,
    environment: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Runs the tasks side by side, each in a fresh process, and returns their results.

    stem: of the names of all files.
    worker: the module whose functions run the tasks; see `experiments.bench.worker`.
    threads: of each device, set for every library that reads such a variable.
    timeout: in seconds.
    devices: of each process.
    connected: whether the processes train together.
    environment: variables of the processes, over all others.

    A result has a `status`: "ok", or "failed" or "skipped" with the `reason`.  When one
    process fails the others are ended.
    """
    addresses = _free_addresses(len(tasks)) if connected else ()
    results: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        started, paths = [], []
        for index, task in enumerate(tasks):
            path = stem.with_name(f"{stem.name}-{index}.json")
            paths.append(path)
            path.with_suffix(".task.json").write_text(json.dumps(task))
            log = stack.enter_context(open(path.with_suffix(".log"), "wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "experiments.bench.worker", worker]
                + [str(path.with_suffix(".task.json")), str(path)],
                cwd=REPO,
                env=os.environ
                | _environment(threads, devices, index, addresses)
                | dict(environment or {}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(_kill, process)
            started.append(process)
        _wait(started, timeout)
        codes = [process.poll() for process in started]
    for path, code in zip(paths, codes, strict=True):
        reason = f"exit code {code}; see {path.with_suffix('.log').name}"
        if code is None:
            reason = f"stopped after {timeout:.0f} s, or when another had failed"
        failed = {"status": "failed", "reason": reason}
        results.append(json.loads(path.read_text()) if path.exists() else failed)
    return results


def _wait(started: Sequence[subprocess.Popen], timeout: float) -> None:
    """Waits until all have ended, one has failed, or `timeout` seconds have passed."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        codes = [process.poll() for process in started]
        if None not in codes or any(code not in (None, 0) for code in codes):
            return
        time.sleep(0.05)


def _kill(process: subprocess.Popen) -> None:
    """Ends a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def with_threads(num: int) -> dict[str, str]:
    """The variables that limit a process to `num` threads, for each library we use."""
    names = (
        "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMBA_NUM_THREADS "
        "TF_NUM_INTRAOP_THREADS TF_NUM_INTEROP_THREADS"
    ).split()
    return dict.fromkeys(names, str(num)) | {"TF_CPP_MIN_LOG_LEVEL": "2"}


def _environment(
    threads: int, devices: int, index: int, addresses: Sequence[str]
) -> dict[str, str]:
    process = processes.Process(index, len(addresses), tuple(addresses))
    return (
        with_threads(threads)
        # Devices share the threads between operations.  Sharing those within one too
        # makes each device wait for the others at every step: 6 % slower here.
        | {"TF_NUM_INTEROP_THREADS": str(threads * devices)}
        | {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
        | (processes.to_environment(process) if addresses else {})
    )


def _free_addresses(count: int) -> list[str]:
    """One free address of this machine a process; all are bound until all are known."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
