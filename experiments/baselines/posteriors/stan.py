"""Stan's NUTS with its own warm-up, and its densities, on a program and its data.

A worker's task names the program, its text and a file of data; see MODES.
"""

import collections
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from experiments.baselines import stan_services
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol

Arrays = dict[str, np.ndarray]


def run(problem: PosteriorProblem, protocol: Protocol, seed: int) -> PosteriorRun:
    """Stan's NUTS with its defaults, the chains in processes, one per core.

    The build's seconds are those of the program's compilation, whenever that was, and
    of starting the processes.  Raises as `stan_services.compiled_module` does.
    """
    begin = time.perf_counter()
    path = stan_services.compiled_module(problem.name, problem.stan)
    compiled_before = stan_services.compile_seconds(path)
    if time.perf_counter() - begin >= compiled_before:
        compiled_before = 0.0  # it was compiled just now
    pool = ProcessPoolExecutor(
        min(protocol.num_chains, len(os.sched_getaffinity(0))),
        stan_services.SPAWN,
        initializer=_load_worker,
        initargs=(path, dict(problem.data)),
    )
    with pool:
        pool.submit(os.getpid).result()
        started = time.perf_counter() - begin
        jobs = [
            pool.submit(_run_in_worker, problem.compared, protocol, seed, number + 1)
            for number in range(protocol.num_chains)
        ]
        processes, chains = zip(*(job.result() for job in jobs), strict=True)
    cores = len(set(processes))
    return PosteriorRun(
        values={
            name: np.stack([chain.values[name] for chain in chains])
            for name in problem.compared
        },
        leapfrogs=np.stack([chain.leapfrogs for chain in chains]),
        diverged=np.stack([chain.diverged for chain in chains]),
        warmup_leapfrogs=sum(chain.warmup_leapfrogs for chain in chains),
        seconds={
            "build": started + compiled_before,
            "warmup": sum(chain.warmup_seconds for chain in chains) / cores,
            "sampling": sum(chain.sampling_seconds for chain in chains) / cores,
        },
        settings={
            "metric": "diagonal, of each chain",
            "step_size": [chain.step_size for chain in chains],
        },
        cold_start_difference=compiled_before,
    )


_worker: tuple[ModuleType, Arrays]  # of a process of `run`


def _load_worker(path: Path, data: Arrays) -> None:
    global _worker
    _worker = stan_services.load_module(path), data


def _run_in_worker(
    names: tuple[str, ...], protocol: Protocol, seed: int, chain: int
) -> tuple[int, "Chain"]:
    module, data = _worker
    return os.getpid(), run_chain(
        module,
        data,
        names=names,
        seed=seed,
        chain=chain,
        num_warmup=protocol.num_warmup,
        num_draws=protocol.num_draws,
        target_accept=protocol.target_accept,
        max_depth=protocol.max_depth,
        save_warmup=True,
    )


class Chain(NamedTuple):
    """One chain's draws after warm-up; the statistics are those of Stan's output."""

    values: Arrays  # by name, [draws, ...]
    leapfrogs: np.ndarray  # [draws] int
    depth: np.ndarray  # [draws] int
    diverged: np.ndarray  # [draws] bool
    energy: np.ndarray  # [draws]
    step_size: float  # after warm-up
    warmup_leapfrogs: int  # -1: not kept
    warmup_seconds: float  # by Stan's own clock
    sampling_seconds: float


def run_chain(
    module: ModuleType,
    data: Mapping[str, Any],
    *,
    names: Iterable[str],
    seed: int,
    chain: int,
    num_warmup: int,
    num_draws: int,
    target_accept: float,
    max_depth: int = 10,
    save_warmup: bool = False,
) -> Chain:
    """One chain of Stan's NUTS with its defaults otherwise: diagonal metric, windows of
    75, 25 doubling and 50, starts uniform(-2, 2) on unconstrained space.

    names: of the parameters and transformed parameters to return.
    chain: 1 or more; Stan mixes it into the seed.
    save_warmup: whether to count the leapfrogs of the warm-up.
    """
    messages = stan_services.run_sampler(
        module,
        data,
        init={},
        random_seed=seed,
        chain=chain,
        init_radius=2.0,
        num_warmup=num_warmup,
        num_samples=num_draws,
        num_thin=1,
        save_warmup=save_warmup,
        refresh=0,
        stepsize=1.0,
        stepsize_jitter=0.0,
        max_depth=max_depth,
        delta=target_accept,
        gamma=0.05,
        kappa=0.75,
        t0=10.0,
        init_buffer=75,
        term_buffer=50,
        window=25,
    )
    draws = stan_services.drawn(messages)
    warmup, draws = draws[:-num_draws], draws[-num_draws:]
    if len(draws) != num_draws or len(warmup) != (num_warmup if save_warmup else 0):
        raise RuntimeError(f"Stan gave {len(draws)} draws, wanted {num_draws}")

    def column(name: str) -> np.ndarray:
        return np.array([draw[name] for draw in draws])

    return Chain(
        values=by_name(draws, names),
        leapfrogs=column("n_leapfrog__").astype(np.int64),
        depth=column("treedepth__").astype(np.int64),
        diverged=column("divergent__") > 0,
        energy=column("energy__"),
        step_size=float(draws[-1]["stepsize__"]),
        warmup_leapfrogs=int(sum(draw["n_leapfrog__"] for draw in warmup))
        if save_warmup
        else -1,
        warmup_seconds=stan_services.seconds_of(messages, "Warm-up"),
        sampling_seconds=stan_services.seconds_of(messages, "Sampling"),
    )


def by_name(draws: Sequence[Mapping[str, float]], names: Iterable[str]) -> Arrays:
    """Arrays [draws, ...] of scalars that Stan names "theta.1", "theta.2.3" and so on.

    Raises ValueError for a name that the draws lack.
    """
    columns = collections.defaultdict(list)
    for key in draws[0]:
        name, *index = key.split(".")
        columns[name].append((key, tuple(int(i) - 1 for i in index)))
    arrays = {}
    for name in names:
        if name not in columns:
            raise ValueError(f"names: given {name!r}, wanted some of {list(columns)}")
        shape = tuple(np.max([index for _, index in columns[name]], axis=0) + 1)
        array = np.empty((len(draws), *map(int, shape)))
        for key, index in columns[name]:
            array[(slice(None), *index)] = [draw[key] for draw in draws]
        arrays[name] = array
    return arrays


def unconstrained_size(
    module: ModuleType, data: Mapping[str, Any], parameters: Mapping[str, str]
) -> int:
    """The number of unconstrained coordinates.

    parameters: of the parameters block, and what each is: a simplex has one coordinate
      less than entries.
    """
    data = dict(data)
    shapes = dict(zip(module.get_param_names(data), module.get_dims(data), strict=True))
    sizes = []
    for name, kind in parameters.items():
        shape = list(shapes[name])
        if kind == "simplex":
            shape[-1] -= 1
        sizes.append(int(np.prod(shape)))
    return sum(sizes)


def _chains(task: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the task's chains in turn; each is a file that a later call finds.

    The task's keys: name, code, data_path, folder, chains (numbers from 1), names, and
    settings: the other arguments of `run_chain`.
    """
    module, data = _load(task)
    for number in task["chains"]:
        path = Path(task["folder"]) / f"chain-{number}.npz"
        if path.exists():
            continue
        chain = run_chain(
            module, data, names=task["names"], chain=number, **task["settings"]
        )
        save_chain(path, chain)
        print(f"chain {number}: {chain.sampling_seconds:.0f} s", flush=True)
    return {}


def save_chain(path: Path, chain: Chain) -> None:
    """Writes a chain whole, or not at all."""
    fields = chain._asdict()
    values = {f"values/{name}": value for name, value in fields.pop("values").items()}
    partial = path.with_suffix(".tmp")
    with open(partial, "wb") as file:
        np.savez(file, **values, **fields)
    partial.replace(path)


def load_chain(path: Path) -> Chain:
    """The chain that `save_chain` wrote."""
    with np.load(path) as arrays:
        fields: dict[str, Any] = dict(arrays)
    keys = [key for key in fields if key.startswith("values/")]
    values = {key.removeprefix("values/"): fields.pop(key) for key in keys}
    return Chain(values=values, **fields)


def _densities(task: Mapping[str, Any]) -> dict[str, Any]:
    """Writes points on unconstrained space, Stan's log density there, and its gradient.

    The density is that of the unconstrained vector, without some constants.  The
    points are uniform(-2, 2), where Stan's chains start, rounded so that the file is
    small.  The task's keys: name, code, data_path, path, parameters, num_points, seed.
    """
    module, data = _load(task)
    dim = unconstrained_size(module, data, task["parameters"])
    random = np.random.default_rng(task["seed"])
    points = np.round(random.uniform(-2, 2, (task["num_points"], dim)) * 256) / 256
    log_prob = [module.log_prob(data, point, True) for point in points]
    grad = [module.log_prob_grad(data, point, True) for point in points]
    np.savez_compressed(
        task["path"],
        points=points.astype(np.float32),  # exact: multiples of 1/256
        log_prob=np.array(log_prob),
        grad=np.array(grad),
        digest=task["digest"],
    )
    return {}


def _load(task: Mapping[str, Any]) -> tuple[ModuleType, Arrays]:
    module = stan_services.load_module(
        stan_services.compiled_module(task["name"], task["code"])
    )
    os.nice(task.get("nice", 0))
    with np.load(task["data_path"]) as data:
        return module, dict(data)


MODES = {"chains": _chains, "densities": _densities}
