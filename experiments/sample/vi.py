"""The experiment: variational inference on a user's own program.

A config names `fit`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import inference
from experiments.inference.settings import check_count
from experiments.inference.variational import Progress, check
from experiments.records import jsonlines
from experiments.records.metrics import metric_writer
from experiments.records.progress import progress
from experiments.sample import loading
from experiments.training.interrupts import deferred

__all__ = ["fit"]

GUIDES = ("mean_field", "full_rank", "low_rank")


def fit(
    *,
    run_dir: Path,
    seed: int,
    program: str,
    data: str | None = None,
    guide: str = "mean_field",
    rank: int = 2,
    num_steps: int = 5000,
    num_samples: int = 1,
    learning_rate: float = 0.01,
    rows: Sequence[str] | None = None,
    batch_size: int | None = None,
    until_converged: bool = False,
    num_draws: int = 1000,
    dtype: str = "float64",
    resume: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Fits a guide to the posterior of a program in a file, and draws from it.

    program, data: as of `nuts.sample`.
    guide: "mean_field", "full_rank" or "low_rank", which has the `rank`.
    num_steps, num_samples, learning_rate, rows, batch_size, until_converged: see
      `inference.fit_vi`.
    num_draws: draws of the guide in draws.nc.
    resume: whether to go on from the fit in `run_dir`, bit for bit.
    dry_run: checks all arguments, and returns {} without a run.

    Writes to `run_dir`: fit.npz, what a resumed run goes on from; draws.nc, an ArviZ
    DataTree; summary.txt and summary.json; metrics.jsonl and TensorBoard's events.

    SIGINT and SIGTERM end the run once the steps done are saved.

    Returns the facts in summary.json.  Raises ValueError for arguments that do not fit,
    for another run's folder, and for an ELBO that is not finite.
    """
    if guide not in GUIDES:
        raise ValueError(f"guide: given {guide!r}, wanted one of {list(GUIDES)}")
    check_count("num_draws", num_draws)
    posterior = loading.load(program, data, dtype=dtype)
    options: dict[str, Any] = {
        "num_steps": num_steps,
        "num_samples": num_samples,
        "learning_rate": learning_rate,
        "seed": seed,
        "rows": rows,
        "batch_size": batch_size,
        "until_converged": until_converged,
    }
    ranks = {"rank": rank} if guide == "low_rank" else {}
    family = getattr(inference, guide)(posterior, **ranks)
    if dry_run:
        check(posterior, family, **options)
        return {}
    if not resume:
        (run_dir / "fit.npz").unlink(missing_ok=True)
    with deferred() as signals, metric_writer(run_dir) as event:
        with progress(num_steps, "steps") as advance:
            done = 0

            def report(at: Progress) -> bool:
                nonlocal done
                event(
                    "fit",
                    at.num_done,
                    elbo=at.elbo,
                    elbo_error=at.elbo_error,
                    steps_per_second=at.steps_per_second,
                )
                advance(
                    at.num_done - done,
                    elbo=at.elbo,
                    seconds_left=round(at.seconds_left, 1),
                )
                done = at.num_done
                return signals.received

            found = inference.fit_vi(
                posterior, family, run_dir=run_dir, on_progress=report, **options
            )
    # Here a signal that came is delivered.
    found.draws(num_draws, seed=seed).to_netcdf(run_dir / "draws.nc", engine="h5netcdf")
    facts = {
        "guide": guide,
        "num_steps": found.num_steps,
        "elbo": found.elbo,
        "elbo_error": found.elbo_error,
        "pareto_k": found.pareto_k,
        "converged": found.converged,
        "seconds": found.seconds,
        "warnings": found.warnings,
    }
    jsonlines.write_text(
        run_dir / "summary.json", jsonlines.dumps(facts, indent=2) + "\n"
    )
    jsonlines.write_text(run_dir / "summary.txt", f"{found}\n")
    print(found, flush=True)
    return facts
