"""Stan's compiled programs, called without PyStan's HTTP server.

No JSON of data, and no stored fits: PyStan returns the draws of an earlier call that
had the same arguments.
"""

import asyncio
import contextlib
import fcntl
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import httpstan.cache
import httpstan.models
import httpstan.utils
import numpy as np

from experiments.bench.problems import Unavailable

BUILD = Path(__file__).resolve().parents[2] / "build" / "stan"
# Spawned, not forked: the caller may run TensorFlow's or JAX's threads.
SPAWN = multiprocessing.get_context("spawn")

Message = dict[str, Any]


def compiled_module(name: str, code: str) -> Path:
    """The extension module of a program, which is compiled when BUILD lacks it.

    name: of the file, which also holds a hash of program, httpstan, platform and
      interpreter: one compilation serves every later process.

    Raises Unavailable without a compiler.
    """
    digest = httpstan.models.calculate_model_name(code).removeprefix("models/")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    target = BUILD / f"{name}-{digest}{suffix}"
    if target.exists():
        return target
    compiler = os.environ.get("CXX", "g++").split()[0]
    if shutil.which(compiler) is None:
        raise Unavailable(f"{compiler} not found: Stan compiles its programs")
    BUILD.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two processes do not compile it twice
        if not target.exists():
            with ProcessPoolExecutor(1, SPAWN) as pool:
                pool.submit(_compile, code, target).result()
    return target


def compile_seconds(path: Path) -> float:
    """How long the compilation of a module took."""
    return float(path.with_suffix(".seconds").read_text())


def _compile(code: str, target: Path) -> None:
    """Builds the extension module as PyStan does and moves it to `target` when done."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=target.parent) as cache:
        httpstan.cache.cache_directory = lambda: Path(cache)
        for attempt in range(5):
            try:
                asyncio.run(httpstan.models.build_services_extension_module(code))
                break
            except subprocess.TimeoutExpired:
                # httpstan gives the translator one second: little on a busy machine.
                if attempt == 4:
                    raise
        (module,) = Path(cache).glob(f"models/*/*{target.suffixes[-1]}")
        seconds = time.perf_counter() - begin
        target.with_suffix(".seconds").write_text(f"{seconds:.2f}")
        os.replace(module, target)


def load_module(path: Path) -> ModuleType:
    """The module of one program; a process can load one."""
    # httpstan hands the C++ side a Python list of boxed numbers, which at half a
    # million rows is most of the start-up; a buffer is read three times as fast.
    httpstan.utils._split_data = _split_data
    spec: Any = importlib.util.spec_from_file_location("stan_services", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _split_data(data: dict[str, Any]) -> tuple:
    """Names, values and shapes of reals, then of integers, column-major.

    It replaces httpstan's function of that name and returns the same.
    """
    arrays = {name.encode(): np.asarray(value) for name, value in data.items()}
    parts: list[Any] = []
    for kind, dtype in ((np.floating, np.float64), (np.integer, np.intc)):
        chosen = {k: v for k, v in arrays.items() if np.issubdtype(v.dtype, kind)}
        flat = [value.ravel(order="F").astype(dtype) for value in chosen.values()]
        values = memoryview(np.concatenate([np.empty(0, dtype), *flat]))
        parts += [list(chosen), values, [value.shape for value in chosen.values()]]
    return tuple(parts)


def run_sampler(
    module: ModuleType, data: Mapping[str, Any], **arguments: Any
) -> list[Message]:
    """The messages of the four writers of Stan's NUTS with a diagonal metric.

    arguments: of `hmc_nuts_diag_e_adapt`, all of them.

    Raises RuntimeError with Stan's own words when the sampler reports an error.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as server,
        ThreadPoolExecutor(4) as readers,
    ):
        address = str(Path(folder) / "stan")
        server.bind(address)
        server.listen(4)
        streams = [readers.submit(_read_connection, server) for _ in range(4)]
        try:
            code = module.hmc_nuts_diag_e_adapt_wrapper(
                socket_filename=address, data=dict(data), **arguments
            )
            lines = [line for stream in streams for line in stream.result()]
        finally:
            # Wakes the readers where Stan failed before it connected.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
    messages = [json.loads(line) for line in lines]
    if code != 0:
        said = [m["values"][0] for m in messages if m["topic"] == "logger"]
        raise RuntimeError(f"Stan's sampler gave error code {code}: {' '.join(said)}")
    return messages


def _read_connection(server: socket.socket) -> list[bytes]:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream:
        return stream.readlines()


def drawn(messages: list[Message]) -> list[dict[str, float]]:
    """The draws, each with its values and statistics by name."""
    rows = [m["values"] for m in messages if m["topic"] == "sample"]
    return [row for row in rows if isinstance(row, dict)]


def inverse_metric(messages: list[Message]) -> list[float]:
    """The diagonal of the inverse metric in force after warm-up."""
    rows = [m["values"] for m in messages if m["topic"] == "sample"]
    spoken = [row[0] for row in rows if isinstance(row, list)]
    line = spoken[spoken.index("Diagonal elements of inverse mass matrix:") + 1]
    return [float(part) for part in line.split(", ")]


def seconds_of(messages: list[Message], phase: str) -> float:
    """The seconds of "Warm-up" or "Sampling", by Stan's own clock."""
    log = "\n".join(m["values"][0] for m in messages if m["topic"] == "logger")
    (seconds,) = re.findall(rf"([0-9.e+-]+) seconds \({phase}\)", log)
    return float(seconds)
