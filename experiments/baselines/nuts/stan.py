"""Stan's NUTS through PyStan's compiled modules: two programs, NumPy in, NumPy out.

The modules are called without PyStan's HTTP server: no JSON, and no stored fits.
"""

import asyncio
import collections
import contextlib
import fcntl
import importlib.machinery
import importlib.util
import json
import math
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpstan.cache
import httpstan.models
import httpstan.utils
import numpy as np

from experiments.baselines.nuts.density import call_seeds, check_step_size, stack
from experiments.bench.problems import SystemDraws, Unavailable
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings

PROGRAMS = {"plain": "logistic.stan", "glm": "logistic_glm.stan"}
BUILD = Path(__file__).resolve().parents[3] / "build" / "stan"
# Spawned, not forked: the caller may run TensorFlow's or JAX's threads.
SPAWN = multiprocessing.get_context("spawn")

# A step so long that its first leapfrog diverges, whatever the data, and above
# 1e7, where Stan leaves out its search for a reasonable step size.
WILD_STEP = 1e8


class ChainResult(NamedTuple):
    """What one chain's process returns."""

    process: int
    seconds: float  # sampling, by Stan's own clock
    values: np.ndarray  # [draws, dim]
    leapfrogs: np.ndarray  # [draws] int


def prepare(
    problem: RegressionProblem,
    settings: SamplerSettings,
    seed: int,
    *,
    program: str = "glm",
) -> Callable[[], SystemDraws]:
    """Compiles a program of PROGRAMS, or finds it compiled, and returns the sampler.

    The chains run in processes of their own, one a core. `SystemDraws.seconds` is the
    sampling time of a process by Stan's clock, of which a millisecond is the
    resolution: the mean over the processes, so that a core that has no chain left is
    not charged to Stan.  Each call has its own random stream.

    Raises as `compiled_module` does.
    """
    pool = _start_pool(problem, program, settings.num_chains)
    seeds = call_seeds(seed)

    def sample() -> SystemDraws:
        seed_of_call = next(seeds) >> 1  # Stan wants an int32
        jobs = [
            pool.submit(_sample_chain, problem.start, settings, seed_of_call, chain)
            for chain in range(1, settings.num_chains + 1)
        ]
        chains = [job.result() for job in jobs]
        busy: dict[int, float] = collections.defaultdict(float)
        for chain in chains:
            busy[chain.process] += chain.seconds
        return SystemDraws(
            values=np.stack([chain.values for chain in chains]),
            leapfrogs=np.stack([chain.leapfrogs for chain in chains]),
            seconds=sum(busy.values()) / len(busy),
        )

    return sample


def log_prob_and_grad(
    problem: RegressionProblem, points: np.ndarray, *, program: str = "glm"
) -> tuple[np.ndarray, np.ndarray]:
    """Stan's density and its gradient.  Raises as `compiled_module` does."""
    with _start_pool(problem, program, len(points)) as pool:
        return stack(pool.map(_evaluate, np.asarray(points, np.float64)))


def compiled_module(program: str) -> Path:
    """The extension module of a program, which is compiled when BUILD lacks it.

    The file's name holds a hash of program, httpstan, platform and interpreter, so one
    compilation serves every later process.

    Raises Unavailable without a compiler.
    """
    if program not in PROGRAMS:
        raise ValueError(f"program: given {program!r}, wanted one of {list(PROGRAMS)}")
    code = Path(__file__).with_name(PROGRAMS[program]).read_text()
    name = httpstan.models.calculate_model_name(code).removeprefix("models/")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    target = BUILD / f"{program}-{name}{suffix}"
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


def _compile(code: str, target: Path) -> None:
    """Builds the extension module as PyStan does and moves it to `target` when done."""
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
        os.replace(module, target)


def _start_pool(
    problem: RegressionProblem, program: str, num_jobs: int
) -> ProcessPoolExecutor:
    """Worker processes, at most one a core, that hold module and data."""
    module = compiled_module(program)
    pool = ProcessPoolExecutor(
        min(num_jobs, len(os.sched_getaffinity(0))),
        SPAWN,
        initializer=_load,
        initargs=(module, problem.features, problem.labels),
    )
    pool.submit(os.getpid).result()
    return pool


# What follows runs in a worker process.

_module: ModuleType
_data: dict[str, Any]


def _load(module: Path, features: np.ndarray, labels: np.ndarray) -> None:
    """Loads the compiled module and the data into this worker process."""
    global _module, _data
    # httpstan hands the C++ side a Python list of boxed numbers, which at half a
    # million rows is most of the start-up; a buffer is read three times as fast.
    httpstan.utils._split_data = _split_data
    spec = importlib.util.spec_from_file_location("stan_services", module)
    _module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(_module)
    rows, dim = features.shape
    _data = {"N": rows, "D": dim, "x": features, "y": labels}


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


def _evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
    log_prob = _module.log_prob(_data, point, True)
    return log_prob, np.array(_module.log_prob_grad(_data, point, True))


def _sample_chain(
    start: np.ndarray, settings: SamplerSettings, seed: int, chain: int
) -> ChainResult:
    """Runs one chain of Stan's NUTS from `start` and reads what it reports."""
    # PyStan reaches only the sampler that adapts, which would search for a step size
    # even without warm-up.  One warm-up draw with a step that diverges at once goes
    # nowhere (the chain stays at `start`) and is an accept statistic of 0 to dual
    # averaging, whose answer is then known beforehand and made to be the step wanted:
    # log step = log(10 WILD_STEP) - delta / ((1 + t0) gamma).
    delta, t0 = 0.5, 1.0
    gamma = delta / (1 + t0) / math.log(10 * WILD_STEP / settings.step_size)
    adaptation = {"stepsize": WILD_STEP, "delta": delta, "gamma": gamma, "t0": t0}
    off = ("init_radius", "refresh", "stepsize_jitter", "save_warmup")
    off += ("init_buffer", "term_buffer", "window")
    messages = _run_service(
        init={"beta": np.asarray(start, np.float64)},
        random_seed=seed,
        chain=chain,
        num_warmup=1,
        num_samples=settings.num_results,
        num_thin=1,
        max_depth=settings.max_depth,
        kappa=0.75,
        **adaptation,
        **dict.fromkeys(off, 0),
    )
    return _read_chain(messages, settings)


def _run_service(**arguments: Any) -> list[dict[str, Any]]:
    """The messages of the four writers of Stan's sampler.

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
            code = _module.hmc_nuts_diag_e_adapt_wrapper(
                socket_filename=address, data=_data, **arguments
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


def _read_chain(
    messages: list[dict[str, Any]], settings: SamplerSettings
) -> ChainResult:
    """Reads draws, leapfrogs and seconds, and checks that the protocol was kept.

    Raises RuntimeError when Stan used another step size or metric than the one asked.
    """
    rows = [m["values"] for m in messages if m["topic"] == "sample"]
    draws = [row for row in rows if isinstance(row, dict)]
    spoken = [row[0] for row in rows if isinstance(row, list)]
    log = [m["values"][0] for m in messages if m["topic"] == "logger"]

    check_step_size("Stan", [draw["stepsize__"] for draw in draws], settings)
    metric = spoken[spoken.index("Diagonal elements of inverse mass matrix:") + 1]
    if set(metric.split(", ")) != {"1"}:
        raise RuntimeError(f"Stan's inverse metric: {metric}, wanted ones")
    (seconds,) = re.findall(r"([0-9.e+-]+) seconds \(Sampling\)", "\n".join(log))
    values = [[v for k, v in d.items() if k.startswith("beta.")] for d in draws]
    leapfrogs = np.array([int(draw["n_leapfrog__"]) for draw in draws])
    return ChainResult(os.getpid(), float(seconds), np.array(values), leapfrogs)
