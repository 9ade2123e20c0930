"""Runs an exported sampler: samples, compares with the reference, times, writes."""

import argparse
import functools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.export import comparing, netcdf, timing
from experiments.export.folder import read_manifest
from experiments.export.programs import Programs, check_version, device_bytes
from experiments.export.sampler import by_name, kernel_of, warmup_settings
from experiments.inference import drawing, saved
from experiments.inference.memory import memory_bytes
from experiments.inference.named_statistics import sample_stats
from experiments.inference.samples import Samples, concatenate
from experiments.inference.settings import STATISTICS_BYTES, check_count
from experiments.inference.tiles import Kernel
from experiments.inference.warmup_state import Warmup

CHUNK_SIZE = 250  # draws of each chain between two saves


class Run(NamedTuple):
    """Draws, and what they took."""

    samples: Samples
    warmup: Warmup
    warmup_seconds: float
    seconds: float


def main(folder: Path, argv: Sequence[str] | None = None) -> int | str:
    """Runs the folder's sampler; the exit code, or what was wrong in one line."""
    try:
        return _main(folder, sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        return " ".join(str(error).split())


def _main(folder: Path, argv: Sequence[str]) -> int:
    manifest = read_manifest(folder, kind="nuts")
    stated = manifest["settings"]
    options = _options(argv, stated)
    num_chains, num_draws = options.num_chains, options.num_draws
    check_count("num_chains", num_chains)
    check_count("num_draws", num_draws)
    seeds = drawing.seed_pair(options.seed)
    jax.config.update("jax_enable_x64", True)
    check_version(manifest["stablehlo"])
    device = _device(options.device)
    programs = Programs(folder, manifest, device)
    _check_memory(programs, manifest, num_chains, num_draws)
    kernel = kernel_of(programs, manifest, num_chains)
    name = f"transitions-{len(kernel.tiles[0].numbers)}"
    program = programs.load(name)
    _check_device_memory(device, program.memory_bytes(), num_chains)
    start = _start(folder, manifest, num_chains)
    out = Path(options.out or folder / "draws")
    out.mkdir(parents=True, exist_ok=True)
    for path in saved.chunk_paths(out):  # of an earlier run
        path.unlink()
    run = sample(
        kernel, manifest, seeds=seeds, num_draws=num_draws, start=start, folder=out
    )
    rows = [
        ("device", f"{device.device_kind}, jaxlib {jax.lib.__version__}"),
        ("compiled in", f"{program.seconds:.1f} s, {program.memory_bytes():,} bytes"),
        ("chains, draws of each", f"{num_chains}, {num_draws}"),
        ("warm-up, sampling", f"{run.warmup_seconds:.2f} s, {run.seconds:.2f} s"),
        ("divergences", str(int(run.samples.diverged.sum()))),
        ("mean acceptance", f"{run.samples.accept.mean():.3f}"),
    ]
    timed = timing.seconds_per_turn(
        kernel,
        run.samples.draws[:, -1],
        step_size=run.warmup.step_size,
        scale=run.warmup.scale,
        seed=seeds,
    )
    size = len(kernel.tiles[0].numbers)
    rows += [
        (f"ms per leapfrog of {size} chains at once", f"{1000 * timed:.4f}"),
        ("us per chain and leapfrog", f"{1e6 * timed / size:.3f}"),
    ]
    same = (options.seed, num_chains) == (stated["seed"], stated["num_chains"])
    verdict = comparing.Verdict(True, [])
    if same:
        reference = comparing.read(folder / manifest["reference"]["file"])
        verdict = comparing.compare(kernel, manifest, reference, run, seeds, device)
    rows += verdict.rows
    _write(out, programs, manifest, run)
    width = max(len(label) for label, _ in rows)
    print("\n".join(f"{label:<{width}}  {text}" for label, text in rows))
    print(f"draws in {out}: posterior.nc, sample_stats.nc")
    facts = {"rows": dict(rows), "equal": verdict.passed if same else None}
    (out / "run.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0 if verdict.passed else 1


def sample(
    kernel: Kernel,
    manifest: dict[str, Any],
    *,
    seeds: np.ndarray,
    num_draws: int,
    start: np.ndarray | None,
    folder: Path | None = None,
) -> Run:
    """Warms up as the export says, and draws.

    folder: where the chunks are saved as they come; None: nowhere.

    Raises ValueError where no chain can start, and for an improper posterior.
    """
    settings = warmup_settings(manifest)
    variables = manifest["variables"]
    posterior = _Posterior(variables["names"], variables["sizes"])
    kept: list[Samples] = []
    found: Any = None
    began = warmed = time.perf_counter()
    for chunk in drawing.chunks(
        kernel,
        settings,
        num_draws=num_draws,
        seed=seeds,
        posterior=posterior,
        start=start,
        chunk_size=CHUNK_SIZE,
    ):
        if chunk.warmup is None:
            warmed = time.perf_counter()
            continue
        done = sum(part.depth.shape[1] for part in kept)
        if folder is not None:
            saved.write(folder / f"{done:06d}.npz", chunk.samples._asdict())
        kept.append(chunk.samples)
        found = chunk.warmup
    ended = time.perf_counter()
    return Run(concatenate(kept, axis=1), found, warmed - began, ended - warmed)


class _Posterior(NamedTuple):
    """What errors name."""

    names: list[str]
    sizes: list[int]


def _options(argv: Sequence[str], stated: dict[str, Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run_exported.py", description=__doc__)
    whole = functools.partial(parser.add_argument, type=int, metavar="N")
    whole("--num_chains", default=stated["num_chains"])
    whole("--num_draws", default=stated["num_draws"], help="kept draws of each chain")
    whole("--seed", default=stated["seed"])
    parser.add_argument("--device", default=None, help="cpu, gpu, cuda, or gpu:1")
    parser.add_argument("--out", default=None, metavar="DIR", help="default: draws/")
    return parser.parse_args(argv)


def _device(name: str | None) -> Any:
    """The device of this name.  Raises ValueError, with those there are, for none."""
    if name is None:
        return jax.devices()[0]
    platform, _, number = name.partition(":")
    try:
        return jax.devices(platform)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        there = sorted({f"{one.platform}:{one.id}" for one in jax.devices()})
        raise ValueError(f"--device: given {name!r}, wanted one of {there}") from error


def _start(
    folder: Path, manifest: dict[str, Any], num_chains: int
) -> np.ndarray | None:
    """Where chains start, if the export says so; more chains take the same in turn."""
    if manifest["start"] is None:
        return None
    start = saved.read(folder / manifest["start"])["start"]
    return np.resize(start, (num_chains, start.shape[1]))


def _check_memory(
    programs: Programs, manifest: dict[str, Any], num_chains: int, num_draws: int
) -> None:
    """Raises ValueError, with both sizes, for more than this machine's memory holds."""
    width = sum(int(np.prod(one["shape"])) for one in manifest["values"])
    each = 8 * (manifest["settings"]["dim"] + width) + STATISTICS_BYTES
    draws = 2 * num_chains * num_draws * each
    needed, memory = draws + programs.data_bytes(), memory_bytes()
    if needed > memory:
        raise ValueError(
            f"memory: {num_draws} draws of {num_chains} chains and the data take "
            f"{needed:,} bytes, wanted at most this machine's {memory:,}"
        )


def _check_device_memory(device: Any, needed: int, num_chains: int) -> None:
    """Raises ValueError, with both sizes, for a program larger than the device."""
    limit = device_bytes(device)
    if needed > limit:
        raise ValueError(
            f"memory: the program of {num_chains} chains takes {needed:,} bytes, "
            f"wanted at most the {limit:,} of {device.device_kind}"
        )


def _write(out: Path, programs: Programs, manifest: dict[str, Any], run: Run) -> None:
    """Writes posterior.nc, sample_stats.nc and the data's groups."""
    leading = ("chain", "draw")
    values = by_name(programs, manifest, run.samples.draws)
    dims = {one["name"]: (*leading, *one["dims"]) for one in manifest["values"]}
    labels = {name: np.asarray(part) for name, part in manifest["coords"].items()}
    netcdf.write_group(out / "posterior.nc", values, dims, labels, {})
    max_depth = manifest["settings"]["warmup"]["max_depth"]
    stats = sample_stats(run.samples, run.warmup.step_size, max_depth)
    attributes = {"max_depth": max_depth, "seed": manifest["settings"]["seed"]}
    netcdf.write_group(
        out / "sample_stats.nc", stats, dict.fromkeys(stats, leading), {}, attributes
    )
    for group, parts in manifest["groups"].items():
        netcdf.write_group(
            out / f"{group}.nc",
            {name: programs.data(one["data"]) for name, one in parts.items()},
            {name: one["dims"] for name, one in parts.items()},
            labels,
            {},
        )
