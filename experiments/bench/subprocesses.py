"""Fresh processes side by side: each reads a task's file and writes a result's."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.cluster import processes

REPO = Path(__file__).resolve().parents[2]


def run(
    run_dir: Path,
    label: str,
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
    started = []
    with contextlib.ExitStack() as stack:
        for index, task in enumerate(tasks):
            stem = run_dir / f"{label}-{index}"
            task_path = stem.with_suffix(".task.json")
            result_path = stem.with_suffix(".json")
            task_path.write_text(json.dumps(task))
            log = stack.enter_context(open(stem.with_suffix(".log"), "wb"))
            command = [sys.executable, "-m", "experiments.bench.worker", worker]
            command += [str(task_path), str(result_path)]
            process = stack.enter_context(
                process_group(
                    command,
                    cwd=REPO,
                    env=os.environ
                    | _environment(threads, devices, index, addresses)
                    | dict(environment or {}),
                    stdout=log,
                    stderr=log,
                )
            )
            started.append((process, result_path))
        _wait([process for process, _ in started], timeout)
        codes = [process.poll() for process, _ in started]
    results = []
    for (_, path), code in zip(started, codes, strict=True):
        if path.exists():
            results.append(json.loads(path.read_text()))
            continue
        reason = (
            f"stopped after {timeout:.0f} s, or when another had failed"
            if code is None
            else f"exit code {code}; see {path.with_suffix('.log').name}"
        )
        results.append({"status": "failed", "reason": reason})
    return results


def _wait(processes: Sequence[subprocess.Popen], timeout: float) -> None:
    """Waits until all have ended, one has failed, or `timeout` seconds have passed."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        codes = [process.poll() for process in processes]
        if None not in codes or any(code not in (None, 0) for code in codes):
            return
        time.sleep(0.05)


@contextlib.contextmanager
def process_group(command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process that is killed, with all that it started, when the block ends."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
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
