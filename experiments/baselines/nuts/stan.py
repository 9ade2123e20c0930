"""Stan's NUTS through PyStan's compiled modules: NumPy in, NumPy out.

The modules are called without PyStan's HTTP server: no JSON, and no stored fits.
"""

import collections
import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from experiments.baselines import stan_services
from experiments.baselines.nuts import structure
from experiments.baselines.nuts.density import call_seeds, check_step_size, stack
from experiments.bench.problems import SystemDraws
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings

PROGRAMS = {
    "plain": "logistic.stan",
    "glm": "logistic_glm.stan",
    "structured": "logistic_structured.stan",
}

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

    The chains run in processes of their own, one per core. `SystemDraws.seconds` is the
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
    """The extension module of a program of PROGRAMS.

    Raises as `stan_services.compiled_module` does.
    """
    if program not in PROGRAMS:
        raise ValueError(f"program: given {program!r}, wanted one of {list(PROGRAMS)}")
    code = Path(__file__).with_name(PROGRAMS[program]).read_text()
    return stan_services.compiled_module(program, code)


def _start_pool(
    problem: RegressionProblem, program: str, num_jobs: int
) -> ProcessPoolExecutor:
    """Worker processes, at most one per core, that hold module and data."""
    module = compiled_module(program)
    rows, dim = problem.features.shape
    data = {"N": rows, "D": dim, "x": problem.features, "y": problem.labels}
    if program == "structured":
        found = structure.find(problem.features)
        data |= {
            "M": len(found.numbers),
            "G": len(found.hot),
            "x": problem.features[:, found.numbers],
            "column": found.numbers + 1,
            "hot": found.hot + 1,
            "base": found.base,
            "rise": found.rise,
        }
    pool = ProcessPoolExecutor(
        min(num_jobs, len(os.sched_getaffinity(0))),
        stan_services.SPAWN,
        initializer=_load,
        initargs=(module, data),
    )
    pool.submit(os.getpid).result()
    return pool


# What follows runs in a worker process.

_module: ModuleType
_data: dict[str, Any]


def _load(module: Path, data: dict[str, Any]) -> None:
    """Loads the compiled module and the data into this worker process."""
    global _module, _data
    _module = stan_services.load_module(module)
    _data = data


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
    messages = stan_services.run_sampler(
        _module,
        _data,
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


def _read_chain(
    messages: list[stan_services.Message], settings: SamplerSettings
) -> ChainResult:
    """Reads draws, leapfrogs and seconds, and checks that the protocol was kept.

    Raises RuntimeError when Stan used another step size or metric than the one asked.
    """
    draws = stan_services.drawn(messages)
    check_step_size("Stan", [draw["stepsize__"] for draw in draws], settings)
    metric = stan_services.inverse_metric(messages)
    if set(metric) != {1.0}:
        raise RuntimeError(f"Stan's inverse metric: {metric}, wanted ones")
    seconds = stan_services.seconds_of(messages, "Sampling")
    values = [[v for k, v in d.items() if k.startswith("beta.")] for d in draws]
    leapfrogs = np.array([int(draw["n_leapfrog__"]) for draw in draws])
    return ChainResult(os.getpid(), seconds, np.array(values), leapfrogs)
