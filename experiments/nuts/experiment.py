"""The experiment: sample the posterior of `logistic_regression`, saving each chunk."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.cluster import processes
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings, Samples, chain, diagnostics
from experiments.inference.samples import concatenate, gradients_computed
from experiments.nuts.posterior import posterior, split_rows, within_xla
from experiments.records import jsonlines
from experiments.records.metrics import metric_writer
from experiments.records.progress import progress


def patience_seconds(own_seconds: float) -> float:
    """The time to wait for another process after this one has finished."""
    return max(600.0, 10 * own_seconds)


def sample(
    *,
    run_dir: Path,
    seed: int,
    problem: RegressionProblem,
    settings: SamplerSettings,
    chunk_size: int,
    num_devices: int = 1,
    resume: bool = False,
) -> dict[str, Any]:
    """Draws from the posterior of `logistic_regression` and writes draws and curves.

    chunk_size: draws of each chain between two saves and two progress lines.  The
      draws do not depend on it.
    num_devices: of each process; the data's rows are split over them.  It changes the
      draws by rounding only.
    resume: whether to continue after the draws in `run_dir`.

    The chains are split over the processes in order.  Process 0 writes to `run_dir`,
    process N to its subfolder processN: draws/NNNNNN.npz, one file a chunk, written
    atomically and named by its first draw; metrics.jsonl and TensorBoard events; and
    summary.csv and summary.json of the process's chains.  Process 0 summarises all
    chains, and returns that summary.

    Raises ValueError if the log density is not finite at the start, if there are fewer
    chains than processes, if the draws to resume from are of other chains or too many,
    and as `split_rows` does; TimeoutError if another process does not finish.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size: given {chunk_size}, wanted 1 or more")
    process = processes.current()
    if settings.num_chains < process.count:
        raise ValueError(
            f"num_chains: given {settings.num_chains}, wanted at least "
            f"{process.count}, one a process"
        )
    first_chain, end_chain = (
        i * settings.num_chains // process.count
        for i in (process.index, process.index + 1)
    )
    num_chains = end_chain - first_chain
    folder = _folder_of(run_dir, process.index)
    blocks = split_rows(problem, num_devices=num_devices)
    density = posterior(problem, blocks)
    (folder / "draws").mkdir(parents=True, exist_ok=resume)
    chunks = _saved(folder)
    start = np.repeat(problem.start[np.newaxis], num_chains, 0)
    if chunks:
        first, start = start, chunks[-1].draws[:, -1]
        if start.shape != first.shape:
            raise ValueError(
                f"{folder}: holds draws of {start.shape[0]} chains of {start.shape[1]} "
                f"coefficients, wanted {first.shape[0]} of {first.shape[1]} to resume"
            )
    num_done = sum(chunk.draws.shape[1] for chunk in chunks)
    if num_done > settings.num_results:
        raise ValueError(
            f"num_results: given {settings.num_results}, {folder} already holds "
            f"{num_done}"
        )
    chunk_size = min(chunk_size, settings.num_results)
    begun = began = time.perf_counter()
    kernel = chain.compile_kernel(
        density.log_prob_and_grad,
        num_chains=num_chains,
        dim=density.dim,
        max_depth=settings.max_depth,
        chunk_size=chunk_size,
        jit_compile=within_xla(blocks),
        first_chain=first_chain,
    )
    build_seconds = time.perf_counter() - began
    errors = chain.energy_error(
        density.log_prob_and_grad,
        seed=tf.constant([0, seed]),
        start=problem.start[np.newaxis],
        step_size=settings.step_size,
        jit_compile=within_xla(blocks),
    )
    error = float(np.abs(errors).max())
    print(
        f"{problem.source}: {problem.rows:,} rows, {density.dim} coefficients\n"
        f"energy error over 100 leapfrogs: {error:.2e}",
        flush=True,
    )

    with (
        metric_writer(folder) as event,
        progress(settings.num_results - num_done, "draws") as advance,
    ):
        event("build", 0, build_seconds=build_seconds, energy_error_100_steps=error)
        began = time.perf_counter()
        for chunk in chain.sample_chunks(
            kernel,
            seed=tf.constant([0, seed]),
            start=start,
            step_size=settings.step_size,
            num_results=settings.num_results,
            chunk_size=chunk_size,
            num_done=num_done,
        ):
            seconds = time.perf_counter() - began
            done = sum(c.draws.shape[1] for c in chunks)
            chunks.append(chunk)
            _save(folder / "draws" / f"{done:06d}.npz", chunk)
            done += chunk.draws.shape[1]
            metrics = {
                "ms_per_gradient": 1000 * seconds / gradients_computed(chunk.leapfrogs),
                "leapfrogs_per_draw": float(chunk.leapfrogs.mean()),
                "accept": float(chunk.accept.mean()),
                "depth": float(chunk.depth.mean()),
                "diverged": int(chunk.diverged.sum()),
            }
            event(
                "draws", done, log_prob=float(chunk.log_prob[:, -1].mean()), **metrics
            )
            advance(chunk.draws.shape[1], **metrics)
            began = time.perf_counter()

    drawn = [concatenate(chunks, axis=1)]
    if process.index == 0:
        patience = patience_seconds(time.perf_counter() - begun)
        drawn += [
            _draws_of_another(
                run_dir,
                index,
                num_results=settings.num_results,
                patience=patience,
            )
            for index in range(1, process.count)
        ]
    summary = diagnostics.summarize(
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


def _save(path: Path, chunk: Samples) -> None:
    partial = path.with_suffix(".tmp")
    with open(partial, "wb") as file:
        np.savez(file, **chunk._asdict())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _folder_of(run_dir: Path, index: int) -> Path:
    """Where a process writes."""
    return run_dir / f"process{index}" if index else run_dir


def _saved(folder: Path) -> list[Samples]:
    """The chunks in a process's folder, in order."""
    chunks = []
    for path in sorted(folder.glob("draws/*.npz")):
        with np.load(path) as parts:
            chunks.append(Samples(**parts))
    return chunks


def _draws_of_another(
    run_dir: Path, index: int, *, num_results: int, patience: float
) -> Samples:
    """All draws of another process, after waiting for them."""
    folder = _folder_of(run_dir, index)
    deadline = time.monotonic() + patience
    while _summarised_draws(folder) != num_results:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"process {index}: not done {patience:g} s after process 0; "
                f"{folder.name} holds {len(_saved(folder))} chunks of draws"
            )
        time.sleep(0.2)
    return concatenate(_saved(folder), axis=1)


def _summarised_draws(folder: Path) -> int | None:
    """The number of draws a chain in the summary in `folder`; None without one."""
    try:
        return json.loads((folder / "summary.json").read_text())["draws"]
    except FileNotFoundError:
        return None
