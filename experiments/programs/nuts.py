"""The experiment: NUTS on a user's own program.  A config names `sample`."""

import functools
import shutil
import time
from pathlib import Path
from typing import Any

import xarray as xr

import ppl_core as ppl
from experiments.datasets.named_arrays import named_arrays
from experiments.inference import Samples, predict, summarize, to_datatree
from experiments.inference.memory import check_bytes
from experiments.inference.samples import gradients_computed
from experiments.inference.settings import MAX_DEPTH, check_count
from experiments.inference.summary import Summary
from experiments.programs import loading, sampler, store
from experiments.programs.kept import Kept
from experiments.programs.plots import PREDICTED, plots
from experiments.records import jsonlines
from experiments.records.metrics import MetricWriter, metric_writer
from experiments.records.progress import progress
from experiments.records.run_dir import CheckFailed

MOST_PREDICTED = 2_000_000  # observations for which predictions are plotted

__all__ = ["sample"]


def sample(
    *,
    run_dir: Path,
    seed: int,
    program: str,
    data: str | None = None,
    num_chains: int = 4,
    num_warmup: int = 0,
    num_draws: int = 1000,
    step_size: float | None = None,
    max_depth: int = 10,
    dtype: str = "float64",
    init: str | None = None,
    chunk_size: int = 100,
    resume: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Draws from the posterior of a program in a file, and judges the draws.

    program: "models.py:eight_schools", a file and the function in it.
    data: JSON, npz or CSV: values by name, of the function's parameters and of
      observed variables.
    init: a file of the same kinds with values of latent variables, where all chains
      start, or one value a chain.  Otherwise chains start at uniform(-2, 2) on the
      unconstrained scale, each elsewhere.
    chunk_size: draws of each chain between two saves and two progress lines.  The draws
      do not depend on it.
    resume: whether to go on after the draws in `run_dir`.
    dry_run: checks all arguments, and returns {} without a run.

    Writes to `run_dir`: chunks/, the draws as they come; draws.nc, an ArviZ DataTree;
    summary.csv, summary.txt and summary.json; metrics.jsonl and TensorBoard's events,
    with plots in media/.  At no time are all draws in memory.

    Returns the facts in summary.json.  Raises ValueError for arguments that do not fit,
    as `loading.load` does, and for draws of something else to resume from; and
    CheckFailed, when all is written, for draws that are not to be used as they are:
    see `Summary.failures`.
    """
    settings = sampler.Settings(
        num_chains=num_chains,
        num_warmup=num_warmup,
        num_draws=num_draws,
        step_size=step_size,
        max_depth=max_depth,
        seed=seed,
    )
    _check(settings, chunk_size)
    digests = loading.digests(program, data)
    posterior = _load(program, data, dtype, digests)
    identity = {**digests._asdict(), **settings.identity(), "dtype": dtype}
    num_done = 0
    if resume:
        store.check_resumed(run_dir, identity)
        num_done = store.num_saved(run_dir)
        if num_done > num_draws:
            raise ValueError(
                f"num_draws: given {num_draws}, {run_dir.name} already holds {num_done}"
            )
    start = None if init is None else named_arrays(init)
    chunk_size = min(chunk_size, num_draws)
    _check_sizes(posterior, settings, chunk_size, run_dir)
    if dry_run:
        sampler.check_start(posterior, settings, start, data or "data")
        return {}
    kept = Kept(num_chains, posterior.dim)
    last: Samples | None = None
    for last in store.chunks(run_dir):
        kept.add(last)
    began = time.perf_counter()
    run = sampler.prepare(posterior, settings, start, chunk_size, last=last)
    build_seconds = time.perf_counter() - began
    store.begin(run_dir, identity)  # from here on, what fails leaves a folder
    with metric_writer(run_dir) as event:
        event("build", num_done, build_seconds=build_seconds)
        _draw(run_dir, run, settings, kept, event, num_done=num_done)
        summary = _judge(run_dir, posterior, settings)
        _plot(posterior, settings, kept, summary, event)
    facts = {
        **summary.run,
        "seed": seed,
        "warnings": summary.warnings,
        "failures": summary.failures,
    }
    text = jsonlines.dumps(facts, indent=2)
    jsonlines.write_text(run_dir / "summary.json", text + "\n")
    print(summary, flush=True)
    if summary.failures:
        raise CheckFailed(" ".join(summary.failures))
    return facts


def _check(settings: sampler.Settings, chunk_size: int) -> None:
    """Raises ValueError for a number that is none of its kind."""
    check_count("num_chains", settings.num_chains)
    check_count("num_warmup", settings.num_warmup, lowest=0)
    check_count("num_draws", settings.num_draws)
    check_count("max_depth", settings.max_depth, highest=MAX_DEPTH)
    check_count("chunk_size", chunk_size)
    sampler.check(settings)


@functools.lru_cache(maxsize=1)  # the dry run and the run take the same one
def _load(
    program: str, data: str | None, dtype: str, digests: loading.Digests
) -> ppl.Posterior:
    del digests  # of the files' contents: with others it is loaded anew
    return loading.load(program, data, dtype=dtype)


def _check_sizes(
    posterior: ppl.Posterior, settings: sampler.Settings, chunk_size: int, run_dir: Path
) -> None:
    """Raises ValueError, with the bytes, for more than the memory or the disk holds."""
    per_draw = 8 * (posterior.dim + 8)
    in_memory = settings.num_chains * per_draw * (2 * chunk_size + 64)
    check_bytes("num_chains", settings.num_chains, in_memory)
    on_disk = 2 * per_draw * settings.num_chains * settings.num_draws
    existing = next(path for path in (run_dir, *run_dir.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if on_disk > free:
        raise ValueError(
            f"num_draws: given {settings.num_draws}, wanted less: {on_disk:,} bytes of "
            f"draws at least, and {free:,} are free where the run folder is"
        )


def _draw(
    run_dir: Path,
    run: sampler.Run,
    settings: sampler.Settings,
    kept: Kept,
    event: MetricWriter,
    *,
    num_done: int,
) -> None:
    """Makes and saves the draws that are not there yet, and keeps some of all."""
    if num_done == settings.num_draws:
        return
    divergences = int(kept.samples().diverged.sum()) if num_done else 0
    done = num_done
    with progress(settings.num_draws - num_done, "draws") as advance:
        began = before = time.perf_counter()
        for chunk in run(num_done):
            now = time.perf_counter()
            store.save(run_dir, done, chunk)
            kept.add(chunk)
            num = chunk.depth.shape[1]
            done += num
            divergences += int(chunk.diverged.sum())
            told = {"ess": kept.ess(), "divergences": divergences}
            event(
                "draws",
                done,
                **told,
                log_prob=float(chunk.log_prob[:, -1].mean()),
                accept=float(chunk.accept.mean()),
                depth=float(chunk.depth.mean()),
                leapfrogs_per_draw=float(chunk.leapfrogs.mean()),
                ms_per_gradient=1000
                * (now - before)
                / gradients_computed(chunk.leapfrogs),
            )
            left = (now - began) / (done - num_done) * (settings.num_draws - done)
            advance(num, **told, seconds_left=round(left, 1))
            before = time.perf_counter()


def _judge(
    run_dir: Path, posterior: ppl.Posterior, settings: sampler.Settings
) -> Summary:
    """Writes draws.nc, summary.csv and summary.txt, and returns the summary."""
    tree = to_datatree(
        next(store.chunks(run_dir)),
        posterior,
        step_size=settings.step_size,
        max_depth=settings.max_depth,
        settings=settings.in_force(),
    )
    path = store.write_netcdf(
        run_dir,
        posterior,
        tree,
        step_size=settings.step_size,
        max_depth=settings.max_depth,
    )
    with xr.open_datatree(path, engine="h5netcdf") as draws:
        summary = summarize(draws)
    jsonlines.write_text(run_dir / "summary.csv", summary.table.to_csv())
    jsonlines.write_text(run_dir / "summary.txt", f"{summary}\n")
    return summary


def _plot(
    posterior: ppl.Posterior,
    settings: sampler.Settings,
    kept: Kept,
    summary: Summary,
    event: MetricWriter,
) -> None:
    """Draws the plots from what is kept in memory."""
    tree = to_datatree(
        kept.samples(),
        posterior,
        step_size=settings.step_size,
        max_depth=settings.max_depth,
    )
    predicted = _predicted(tree, posterior)
    if predicted is not None:
        tree["posterior_predictive"] = predicted
    images = dict(plots(tree, summary, step=kept.step))
    event("plot", settings.num_draws, **images)


def _predicted(tree: xr.DataTree, posterior: ppl.Posterior) -> xr.DataTree | None:
    """Data drawn anew for some draws; None where that is not possible."""
    source = posterior.source
    if source is None or not source.observed:
        return None
    observed = tree["observed_data"].to_dataset()
    if sum(part.size for part in observed.data_vars.values()) > MOST_PREDICTED:
        return None
    draws = tree["posterior"].sizes["draw"] * tree["posterior"].sizes["chain"]
    thin = -(-draws // PREDICTED)
    few = xr.DataTree.from_dict(
        {"posterior": tree["posterior"].to_dataset().isel(draw=slice(None, None, thin))}
    )
    try:
        made = predict(few, posterior, ["posterior_predictive"])
    except (ValueError, NotImplementedError) as error:
        print(f"no plot of predictions: {error}", flush=True)
        return None
    return made["posterior_predictive"]
