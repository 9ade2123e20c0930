"""The experiment: sample the posterior of `logistic_regression`, saving each chunk."""

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.cluster import processes
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings, Samples, chain, saved, summarize
from experiments.inference.samples import concatenate
from experiments.inference.settings import check_count
from experiments.inference.tiles import Stopped, wait_for
from experiments.nuts.posterior import (
    check_devices,
    posterior,
    split_rows,
    within_xla,
)
from experiments.records import identity as identities
from experiments.records import jsonlines, metrics
from experiments.records.metrics import metric_writer
from experiments.records.progress import Advance, progress
from experiments.training.interrupts import deferred


def sample(
    *,
    run_dir: Path,
    seed: int,
    problem: RegressionProblem,
    settings: SamplerSettings,
    chunk_size: int,
    num_devices: int = 1,
    resume: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Draws from the posterior of `logistic_regression` and writes draws and curves.

    chunk_size: draws of each chain between two saves and two progress lines.  The
      draws do not depend on it.
    num_devices: of each process; the data's rows are split over them.  It changes the
      draws by rounding only.
    resume: whether to continue after the draws in `run_dir`.
    dry_run: checks all arguments, and returns {} without a run.

    The chains are split over the processes in order.  Process 0 writes to `run_dir`,
    process N to its subfolder processN: draws/NNNNNN.npz, one file a chunk, written
    atomically and named by its first draw; metrics.jsonl and TensorBoard events; and
    summary.csv and summary.json of the process's chains.  Process 0 summarises all
    chains, and returns that summary.

    Raises ValueError if the log density is not finite at the start, if there are fewer
    chains than processes, if the draws to resume from are of something else, too many,
    damaged or missing, and as `split_rows` does; TimeoutError if another process does
    not finish.
    """
    process = processes.current()
    first_chain, num_chains = processes.share(
        "num_chains", settings.num_chains, process
    )
    folder = processes.folder_of(run_dir, process.index)
    chunks = [*saved.chunks(folder / "draws", pass_over_last=True)] if resume else []
    check_count("chunk_size", chunk_size)
    check_devices(problem, num_devices)
    settings.check_memory(dim=problem.dim)
    shape = [num_chains, problem.dim]
    if resume:
        _check_resumed(chunks, folder, shape, settings.num_results)
    if dry_run and not chunks:
        return {}
    identity = _identity(problem, settings, seed, first_chain)
    if chunks:
        identities.check(folder / "draws", identity, has_draws=True)
    if dry_run:
        return {}
    identities.write(folder / "draws", identity)
    blocks = split_rows(problem, num_devices=num_devices)
    density = posterior(problem, blocks)
    start = np.repeat(problem.start[np.newaxis], num_chains, 0)
    if chunks:
        start = chunks[-1].draws[:, -1]
    num_done = sum(chunk.draws.shape[1] for chunk in chunks)
    chunk_size = min(chunk_size, settings.num_results)
    begun = began = time.perf_counter()
    with deferred() as signals, contextlib.suppress(Stopped):

        def should_stop() -> bool:
            return signals.received

        kernel = chain.compile_kernel(
            density.log_prob_and_grad,
            num_chains=num_chains,
            dim=density.dim,
            max_depth=settings.max_depth,
            jit_compile=within_xla(blocks),
            first_chain=first_chain,
            should_stop=should_stop,
        )
        kernel.build()
        build_seconds = time.perf_counter() - began
        energy_errors = functools.partial(
            chain.energy_error,
            density.log_prob_and_grad,
            seed=tf.constant([0, seed]),
            start=problem.start[np.newaxis],
            step_size=settings.step_size,
            jit_compile=within_xla(blocks),
        )
        error = float(np.abs(wait_for(energy_errors, should_stop)).max())
        print(
            f"{problem.source}: {problem.rows:,} rows, {density.dim} coefficients\n"
            f"energy error over 100 leapfrogs: {error:.2e}",
            flush=True,
        )
        run = chain.sample_chunks(
            kernel,
            seed=tf.constant([0, seed]),
            start=start,
            step_size=settings.step_size,
            num_results=settings.num_results,
            chunk_size=chunk_size,
            num_done=num_done,
        )
        with (
            metric_writer(folder) as event,
            progress(settings.num_results - num_done, "draws") as advance,
        ):
            event("build", 0, build_seconds=build_seconds, energy_error_100_steps=error)
            _draw(folder, run, chunks, event, advance)
    # Here a signal that came is delivered.

    drawn = [concatenate(chunks, axis=1)]
    if process.index == 0:
        timeout = processes.timeout_seconds(time.perf_counter() - begun)
        drawn += [
            _draws_of_another(
                run_dir,
                index,
                num_results=settings.num_results,
                timeout=timeout,
            )
            for index in range(1, process.count)
        ]
    summary = summarize(
        concatenate(drawn, axis=0),
        max_depth=settings.max_depth,
        names=[f"coeffs[{i}]" for i in range(density.dim)],
    )
    facts = {
        **summary.run,
        "build_seconds": build_seconds,
        "energy_error_100_steps": error,
    }
    jsonlines.write_text(folder / "summary.csv", summary.table.to_csv())
    text = jsonlines.dumps(facts, indent=2)
    jsonlines.write_text(folder / "summary.json", text + "\n")
    print(
        text, *(f"WARNING: {line}" for line in summary.warnings), sep="\n", flush=True
    )
    return facts


def _draw(
    folder: Path,
    run: Iterator[Samples],
    chunks: list[Samples],
    event: metrics.MetricWriter,
    advance: Advance,
) -> None:
    """Saves and tells the draws, and adds them to `chunks`."""
    done = sum(chunk.draws.shape[1] for chunk in chunks)
    began = time.perf_counter()
    for chunk in run:
        seconds = time.perf_counter() - began
        chunks.append(chunk)
        saved.write(folder / "draws" / f"{done:06d}.npz", chunk._asdict())
        done += chunk.draws.shape[1]
        measured = {
            "ms_per_leapfrog": 1000 * seconds / int(chunk.leapfrogs.sum()),
            "leapfrogs_per_draw": float(chunk.leapfrogs.mean()),
            "accept": float(chunk.accept.mean()),
            "depth": float(chunk.depth.mean()),
            "diverged": int(chunk.diverged.sum()),
        }
        event("draws", done, log_prob=float(chunk.log_prob[:, -1].mean()), **measured)
        advance(chunk.draws.shape[1], **measured)
        began = time.perf_counter()


def _identity(
    problem: RegressionProblem, settings: SamplerSettings, seed: int, first_chain: int
) -> dict[str, Any]:
    """What the draws depend on."""
    digest = hashlib.sha256()
    for part in (problem.features, problem.labels, problem.start):
        digest.update(np.ascontiguousarray(part).data)
    return {
        "problem": problem.name,
        "data_sha256": digest.hexdigest(),
        "step_size": settings.step_size,
        "max_depth": settings.max_depth,
        "num_chains": settings.num_chains,
        "first_chain": first_chain,
        "seed": seed,
    }


def _check_resumed(
    chunks: list[Samples], folder: Path, shape: list[int], num_results: int
) -> None:
    """Raises ValueError for draws of other chains, too many, and for lost ones."""
    log = folder / "metrics.jsonl"
    if not chunks and log.exists() and any(e["step"] > 0 for e in metrics.read(log)):
        raise ValueError(
            f"resume: given {folder}, which has drawn, wanted its draws in draws/"
        )
    done = [chunk.draws.shape for chunk in chunks]
    if done and [done[-1][0], done[-1][2]] != shape:
        raise ValueError(
            f"{folder}: holds draws of {done[-1][0]} chains of {done[-1][2]} "
            f"coefficients, wanted {shape[0]} of {shape[1]} to resume"
        )
    if (num_done := sum(num for _, num, _ in done)) > num_results:
        raise ValueError(
            f"num_results: given {num_results}, {folder} already holds {num_done}"
        )


def _draws_of_another(
    run_dir: Path, index: int, *, num_results: int, timeout: float
) -> Samples:
    """All draws of another process, after waiting for them."""
    folder = processes.folder_of(run_dir, index)
    deadline = time.monotonic() + timeout
    while _summarised_draws(folder) != num_results:
        if time.monotonic() > deadline:
            num = len(saved.chunk_paths(folder / "draws"))
            raise TimeoutError(
                f"process {index}: not done {timeout:g} s after process 0; "
                f"{folder.name} holds {num} chunks of draws"
            )
        time.sleep(0.2)
    return concatenate([*saved.chunks(folder / "draws")], axis=1)


def _summarised_draws(folder: Path) -> int | None:
    """The number of draws a chain in the summary in `folder`; None without one."""
    try:
        return json.loads((folder / "summary.json").read_text())["draws"]
    except FileNotFoundError:
        return None
