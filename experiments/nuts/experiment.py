"""What is run: draws from the posterior of `logistic_regression`, kept as they come."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.inference import chain, diagnostics
from experiments.nuts.traced import block_rows, energy_error, posterior
from experiments.problem import Problem, SamplerSettings, gradients_computed
from experiments.records import jsonlines
from experiments.records.metrics import recording
from experiments.records.progress import progress


def sample(
    *,
    run_dir: Path,
    seed: int,
    problem: Problem,
    settings: SamplerSettings,
    chunk_size: int,
) -> dict[str, Any]:
    """Draws from the posterior of `logistic_regression` and writes draws and curves.

    chunk_size: draws of each chain between two saves and two lines of progress; the
      draws do not depend on it.

    In `run_dir` come draws/NNNNNN.npz, one file a chunk, each there whole or not at all
    and named by its first draw; metrics.jsonl and TensorBoard events; and summary.csv
    and summary.json, which is also what comes back.  Everything it depends on comes in
    here: it reads no flag, no gin, no environment.

    Raises ValueError when the log density is not finite where the chains begin.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size: given {chunk_size}, wanted 1 or more")
    rows = block_rows(problem, settings.num_chains)
    density = posterior(problem, rows)
    start = np.repeat(problem.start[np.newaxis], settings.num_chains, 0)
    chunk_size = min(chunk_size, settings.num_results)
    began = time.perf_counter()
    kernel = chain.compile_kernel(
        density.log_prob_and_grad,
        num_chains=settings.num_chains,
        dim=density.dim,
        max_depth=settings.max_depth,
        chunk_size=chunk_size,
        jit_compile=rows == problem.rows,
    )
    build_seconds = time.perf_counter() - began
    error = energy_error(problem, settings, seed)
    print(
        f"{problem.source}: {problem.rows:,} rows, {density.dim} coefficients\n"
        f"energy error over 100 leapfrogs: {error:.2e}",
        flush=True,
    )

    chunks: list[chain.Chunk] = []
    (run_dir / "draws").mkdir()
    with (
        recording(run_dir) as event,
        progress(settings.num_results, "draws") as advance,
    ):
        event("build", 0, build_seconds=build_seconds, energy_error_100_steps=error)
        began = time.perf_counter()
        for chunk in chain.sample(
            kernel,
            seed=tf.constant([0, seed]),
            start=start,
            step_size=settings.step_size,
            num_results=settings.num_results,
            chunk_size=chunk_size,
        ):
            seconds = time.perf_counter() - began
            done = sum(c.draws.shape[1] for c in chunks)
            chunks.append(chunk)
            _save(run_dir / "draws" / f"{done:06d}.npz", chunk)
            done += chunk.draws.shape[1]
            told = {
                "ms_per_gradient": 1000 * seconds / gradients_computed(chunk.leapfrogs),
                "leapfrogs_per_draw": float(chunk.leapfrogs.mean()),
                "accept": float(chunk.accept.mean()),
                "depth": float(chunk.depth.mean()),
                "diverged": int(chunk.diverged.sum()),
            }
            event("draws", done, log_prob=float(chunk.log_prob[:, -1].mean()), **told)
            advance(chunk.draws.shape[1], **told)
            began = time.perf_counter()

    table, summary = diagnostics.summarize(
        chunks,
        max_depth=settings.max_depth,
        names=[f"coeffs[{i}]" for i in range(density.dim)],
    )
    summary |= {"build_seconds": build_seconds, "energy_error_100_steps": error}
    jsonlines.write_text(run_dir / "summary.csv", table.to_csv())
    jsonlines.write_text(
        run_dir / "summary.json", jsonlines.dumps(summary, indent=2) + "\n"
    )
    print(jsonlines.dumps(summary, indent=2), flush=True)
    return summary


def _save(path: Path, chunk: chain.Chunk) -> None:
    partial = path.with_suffix(".tmp")
    with open(partial, "wb") as file:
        np.savez(file, **chunk._asdict())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
