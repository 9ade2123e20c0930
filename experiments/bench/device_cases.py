"""What is measured on a device: exported programs, and samplers in JAX."""

import functools
import importlib
import json
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.bench import reference
from experiments.datasets.regression import RegressionProblem
from experiments.export import comparing, running, timing
from experiments.export.folder import read_manifest
from experiments.export.programs import Programs, check_version, device_bytes
from experiments.export.sampler import kernel_of
from experiments.inference import SamplerSettings, drawing

DESIGNS = ("dense", "structured")
OTHERS = ("jax_leapfrog", "numpyro", "blackjax")
CALLS = 3  # at most; the first call of a case does not count
CALL_SECONDS = 2.0  # of a call that is timed, about; after as much no other is made
TRIAL_TURNS = 4  # by which the turns of a timed call are chosen
COPY_BYTES = 512 << 20
ARRAYS = 6  # of [chains, rows] in float32, what a gradient of many chains holds at most


class Timed(NamedTuple):
    """What a case found."""

    seconds: dict[str, Any]
    work: dict[str, Any]
    settings: dict[str, Any]
    check: dict[str, Any]


class Bench(NamedTuple):
    """What all cases share."""

    device: Any
    folder: Path
    problem: RegressionProblem
    reference: reference.Reference
    settings: dict[str, Any]  # of the export
    programs: dict[str, Programs]  # by design
    manifests: dict[str, dict[str, Any]]


class Skipped(Exception):
    """A case that cannot run here; the text says why."""


def prepare(folder: Path, device_name: str) -> Bench:
    """Reads the exported folders, and computes what the densities must be.

    Raises ValueError, in one line, for what `read_manifest`, `check_version` and
    `find_device` refuse, and for a folder of another problem.
    """
    jax.config.update("jax_enable_x64", True)
    # As the exported programs have it.
    jax.config.update("jax_default_matmul_precision", "highest")
    device = find_device(device_name)
    jax.config.update("jax_default_device", device)
    manifests = {
        name: read_manifest(folder / name, kind="nuts")
        for name in DESIGNS
        if name == "dense" or (folder / name).exists()
    }
    for manifest in manifests.values():
        check_version(manifest["stablehlo"])
    programs = {
        name: Programs(folder / name, manifest, device)
        for name, manifest in manifests.items()
    }
    dense = manifests["dense"]
    problem = problem_of(folder / "dense", dense, programs["dense"])
    return Bench(
        device,
        folder,
        problem,
        reference.make(problem, seed=0, num_points=2),
        dense["settings"],
        programs,
        manifests,
    )


def find_device(name: str) -> Any:
    """The first device of a platform; "": the default one.

    Raises ValueError for a platform that is not there, with those that are.
    """
    try:
        return jax.devices(name or None)[0]
    except RuntimeError as error:
        there = sorted({one.platform for one in jax.devices()})
        raise ValueError(f"--device: given {name!r}, wanted one of {there}") from error


def problem_of(
    folder: Path, manifest: dict[str, Any], programs: Programs
) -> RegressionProblem:
    """The regression whose data, features [dim, rows] and labels, an export holds."""
    names = manifest["programs"]["density-1"]["data"]
    shapes = {name: manifest["data"][name]["shape"] for name in names}
    found = {len(shape): programs.data(name) for name, shape in shapes.items()}
    if sorted(found) != [1, 2] or manifest["start"] is None:
        raise ValueError(
            f"{folder}: given data of shapes {[*shapes.values()]}, wanted features, "
            "labels and a start, as of experiments.bench.device"
        )
    position = comparing.read(folder / manifest["reference"]["file"]).position
    source = folder.parent / "problem.json"
    return RegressionProblem(
        name=manifest["name"],
        source=json.loads(source.read_text())["source"],
        features=np.ascontiguousarray(found[2].T),
        labels=found[1].astype(np.int32),
        start=position[0].astype(np.float32),
    )


def copy_seconds(device: Any, num_bytes: int = COPY_BYTES) -> float:
    """Seconds in which the device reads and writes so many bytes each."""
    # In place, without new memory; XLA would leave a bare copy out.
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    array = jax.device_put(np.zeros(num_bytes // 4, np.float32), device)
    array = add(array).block_until_ready()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(4):
            array = add(array)
        array.block_until_ready()
        seconds.append((time.perf_counter() - began) / 4)
    return statistics.median(seconds)


def measure_ours(bench: Bench, design: str, chains: int) -> Timed:
    """The exported program of so many chains.

    Raises Skipped where the folder does not have it, or the device's memory is less.
    """
    jax.config.update("jax_enable_x64", True)
    if design not in bench.manifests:
        raise Skipped(f"no folder {design}")
    programs, manifest = bench.programs[design], bench.manifests[design]
    if f"transitions-{chains}" not in manifest["programs"]:
        raise Skipped(f"not exported for {chains} chains")
    check_memory(bench, chains)
    exported = comparing.read(bench.folder / design / manifest["reference"]["file"])
    kernel = kernel_of(programs, manifest, chains, size=chains)
    program = programs.load(f"transitions-{chains}")
    seeds = drawing.seed_pair(manifest["settings"]["seed"])
    seconds_per_turn = functools.partial(
        timing.seconds_per_turn,
        kernel,
        np.resize(exported.position, (chains, kernel.dim)),
        step_size=np.resize(exported.step_size, chains),
        scale=exported.scale[:1],
        seed=seeds,
    )
    began = time.perf_counter()
    trial = seconds_per_turn(turns=TRIAL_TURNS, calls=1)
    first = time.perf_counter() - began
    turns = int(np.clip(CALL_SECONDS / trial, TRIAL_TURNS, timing.TURNS))
    step = seconds_per_turn(turns=turns, calls=CALLS)
    points = np.resize(bench.reference.points, (max(chains, 2), kernel.dim))
    parts = [
        [np.asarray(part) for part in kernel.density(points[i : i + chains])]
        for i in range(0, 2, chains)
    ]
    log_prob, grad = (
        np.concatenate(part).astype(np.float64)[:2] for part in zip(*parts, strict=True)
    )
    check = _check_density(bench, log_prob, grad)
    if chains == manifest["settings"]["num_chains"]:
        drawn = running.sample(
            kernel,
            manifest,
            seeds=seeds,
            num_draws=manifest["reference"]["num_draws"],
            start=np.resize(exported.position, (chains, kernel.dim)),
        )
        verdict = comparing.compare(
            kernel, manifest, exported, drawn, seeds, bench.device
        )
        check |= {"draws": dict(verdict.rows)}
        check["passed"] = check["passed"] and verdict.passed
        if not verdict.passed:
            check["reason"] = "its draws are not the reference's"
    return Timed(
        {"build": program.seconds, "first": first, "calls": [step]},
        {"steps": [1], "leapfrogs": [chains]},
        {"calls": CALLS, "turns": turns, "memory_bytes": program.memory_bytes()},
        check,
    )


def measure_other(bench: Bench, name: str, chains: int) -> Timed:
    """A bare loop or a library's NUTS with so many chains, on the dense features.

    Raises Skipped where it is not installed, or the device's memory is less.
    """
    jax.config.update("jax_enable_x64", False)  # its own code is of float32
    try:
        module = importlib.import_module(f"experiments.baselines.nuts.{name}")
    except ModuleNotFoundError as error:
        raise Skipped(f"{error.name} is not installed") from error
    check_memory(bench, chains)
    settings = SamplerSettings(
        step_size=bench.settings["warmup"]["step_size"],
        max_depth=bench.settings["warmup"]["max_depth"],
        num_results=1,
        num_chains=chains,
    )
    is_loop = name == "jax_leapfrog"
    options: dict[str, Any] = {"batched": True} if is_loop and chains > 1 else {}
    began = time.perf_counter()
    sample = module.prepare(bench.problem, settings, 0, **options)
    build = time.perf_counter() - began
    times: list[float] = []
    draws: list[Any] = []
    while len(times) < 2 or (len(times) <= CALLS and sum(times[1:]) < CALL_SECONDS):
        began = time.perf_counter()
        draws.append(sample())
        times.append(time.perf_counter() - began)
    check = _check_density(
        bench, *module.log_prob_and_grad(bench.problem, bench.reference.points)
    )
    if not is_loop:
        drawn = reference.check_draws(bench.problem, bench.reference, draws[-1].values)
        check |= drawn | {"passed": check["passed"] and drawn["passed"]}
    computed = [one.gradients or int(one.leapfrogs.sum()) for one in draws[1:]]
    return Timed(
        {"build": build, "first": times[0], "calls": times[1:]},
        {
            # Chains in lock-step make each step together.
            "steps": [number // chains for number in computed],
            "leapfrogs": [int(one.leapfrogs.sum()) for one in draws[1:]],
        },
        {},
        check,
    )


def _check_density(bench: Bench, log_prob: Any, grad: Any) -> dict[str, Any]:
    check = reference.check_density(
        bench.reference, log_prob, grad, precision="float32"
    )
    if not check["passed"]:
        check["reason"] = "its density or gradient is not the reference's"
    return check


def check_memory(bench: Bench, chains: int) -> None:
    """Raises Skipped, with both sizes, for more chains than the device can hold."""
    limit = device_bytes(bench.device)
    needed = 2 * bench.problem.features.nbytes
    needed += 4 * ARRAYS * chains * bench.problem.rows
    if needed > limit:
        raise Skipped(f"takes {needed:,} bytes, wanted at most the device's {limit:,}")
