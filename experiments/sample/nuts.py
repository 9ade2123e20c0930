"""The experiment: NUTS on a user's own program.  A config names `sample`."""

import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import ppl_core as ppl
from experiments.cluster import processes
from experiments.datasets.named_arrays import named_arrays
from experiments.inference import predict, saved, summarize, to_datatree
from experiments.inference.drawing import Chunk
from experiments.inference.settings import check_count
from experiments.inference.summary import Summary
from experiments.inference.warmup_state import WarmupSettings
from experiments.records import identity as identities
from experiments.records import jsonlines
from experiments.records.metrics import MetricWriter, metric_writer
from experiments.records.progress import progress
from experiments.records.run_dir import CheckFailed
from experiments.sample import loading, sampler, sizes, store
from experiments.sample.kept import Kept
from experiments.sample.plots import PREDICTED, plots
from experiments.training.interrupts import deferred

MOST_PREDICTED = 2_000_000  # observations for which predictions are plotted

__all__ = ["sample"]


def sample(
    *,
    run_dir: Path,
    seed: int,
    program: str,
    data: str | None = None,
    num_chains: int = 4,
    num_warmup: int = 1000,
    num_draws: int = 1000,
    target_accept: float = 0.8,
    metric: str = "diagonal",
    pooled: bool | None = None,
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
    num_warmup: draws of each chain that adapt step size and metric, and are not kept.
    metric: "diagonal", "dense" or "gradient": see `inference.sample_nuts`.
    pooled: whether all chains share one metric; None: from 8 chains on.
    step_size: where the adaptation begins, or without warm-up the one to use.
    init: a file like that of the data with values of latent variables, where all chains
      start, or one value a chain.  Otherwise chains start at uniform(-2, 2) on the
      unconstrained scale, each elsewhere.
    chunk_size: draws of each chain between two saves and two progress lines.  The draws
      do not depend on it.
    resume: whether to go on after the draws in `run_dir`.
    dry_run: checks all arguments, and returns {} without a run.

    Writes to `run_dir`: chunks/, the draws as they come; draws.nc, an ArviZ DataTree;
    summary.csv, summary.txt and summary.json; metrics.jsonl and TensorBoard's events,
    with plots in media/.  At no time are all draws in memory.

    The chains are split over the processes in order.  Process N writes the chunks and
    metrics of its own to the subfolder processN; process 0 waits for all of them, and
    writes what is of all chains.

    SIGINT and SIGTERM end the run once the draws that all chains have are saved, within
    seconds, also while XLA compiles.

    Returns the facts in summary.json, and {} in other processes than 0.  Raises
    ValueError for arguments that do not fit, as `loading.load` does, and for draws of
    something else to resume from; CheckFailed, when all is written, for draws that are
    not to be used as they are: see `Summary.failures`; and TimeoutError for a process
    that does not finish.
    """
    settings = sampler.Settings(
        num_chains=num_chains,
        num_draws=num_draws,
        seed=seed,
        warmup=WarmupSettings(
            num_warmup=num_warmup,
            target_accept=target_accept,
            metric=metric,
            pooled=pooled,
            step_size=step_size,
            max_depth=max_depth,
        ),
        process=processes.current(),
    )
    sampler.check(settings)
    check_count("chunk_size", chunk_size)
    digests = loading.digests(program, data)
    posterior = _load(program, data, dtype, digests)
    identity = {**digests._asdict(), **settings.identity(), "dtype": dtype}
    start = None if init is None else named_arrays(init)
    chunk_size = min(chunk_size, max(num_draws, num_warmup))
    folder = processes.folder_of(run_dir, settings.process.index)
    chunks = store.folder_of(folder)
    kept = Kept(settings.share[1], posterior.dim)
    done = sampler.Progress()
    if resume:
        has_draws = any(saved.chunk_paths(chunks))
        identities.check(chunks, identity, has_draws=has_draws)
        done = _progress(folder, kept)
        if done.num_done > num_draws:
            raise ValueError(
                f"num_draws: given {num_draws}, {run_dir.name} already holds "
                f"{done.num_done}"
            )
    sizes.check(posterior, settings, chunk_size, run_dir, num_done=done.num_done)
    if dry_run:
        sampler.check_start(posterior, settings, start, data or "data")
        return {}
    with deferred() as signals:
        run = sampler.chunks(
            posterior,
            settings,
            start,
            chunk_size,
            done=done,
            should_stop=lambda: signals.received,
        )
        began = time.perf_counter()
        first = next(run, None)  # before the folder has anything: no chain may start
        build_seconds = time.perf_counter() - began
        if not signals.received or first is not None:
            identities.write(chunks, identity)
            with metric_writer(folder) as event:
                event("build", done.num_done, first_chunk_seconds=build_seconds)
                if first is not None:
                    parts = itertools.chain([first], run)
                    _draw(folder, parts, settings, kept, event, done)
    # Here a signal that came is delivered.
    if settings.process.index:
        return {}
    folders = _wait_for_all(run_dir, settings, time.perf_counter() - began)
    tree = _first_tree(folders, posterior, settings)
    summary = _judge(run_dir, folders, posterior, settings, tree)
    with metric_writer(run_dir) as event:
        if len(folders) > 1:
            kept = Kept(num_chains, posterior.dim)
            for chunk in store.chunks(folders):
                kept.add(chunk)
        _plot(posterior, settings, kept, tree, summary, event)
    facts = {
        **summary.run,
        "warnings": summary.warnings,
        "failures": summary.failures,
    }
    text = jsonlines.dumps(facts, indent=2)
    jsonlines.write_text(run_dir / "summary.json", text + "\n")
    print(summary, flush=True)
    if summary.failures:
        num = len(summary.failures)
        brief = f"{num} check{'s' * (num > 1)} failed, see the warnings above"
        raise CheckFailed(" ".join(summary.failures), brief=brief)
    return facts


@functools.lru_cache(maxsize=1)  # the dry run and the run take the same one
def _load(
    program: str, data: str | None, dtype: str, digests: loading.Digests
) -> ppl.Posterior:
    del digests  # of the files' contents: with others it is loaded anew
    return loading.load(program, data, dtype=dtype)


def _progress(folder: Path, kept: Kept) -> sampler.Progress:
    """Where the run in the folder is; what it drew is added to `kept`."""
    num_done, position = 0, None
    for chunk in saved.chunks(store.folder_of(folder), pass_over_last=True):
        kept.add(chunk)
        num_done += chunk.depth.shape[1]
        position = chunk.draws[:, -1]
    return sampler.Progress(store.load_warmup(folder), num_done, position)


def _draw(
    folder: Path,
    run: Iterator[Chunk],
    settings: sampler.Settings,
    kept: Kept,
    event: MetricWriter,
    done: sampler.Progress,
) -> None:
    """Makes and saves the draws that are not there yet, and keeps some of all."""
    warmup, state = settings.warmup, done.warmup_state
    num_warmed = 0 if state is None else int(state.num_done)
    num_done = done.num_done
    total = warmup.num_warmup - num_warmed + settings.num_draws - num_done
    divergences = int(kept.samples().diverged.sum()) if num_done else 0
    made = first_num = 0
    timed: dict[str, float] = {}
    with progress(total, "draws") as advance:
        began = before = time.perf_counter()
        for chunk in run:
            now = time.perf_counter()
            samples, warming = chunk.samples, chunk.warmup is None
            num = samples.depth.shape[1]
            made += num
            measured: dict[str, Any] = {}
            if warming or not num_done:
                store.save_warmup(folder, chunk.warmup_state)
            if warming:
                num_warmed += num
                measured = {
                    "warmup": f"{num_warmed} of {warmup.num_warmup}",
                    "step_size": float(np.median(chunk.warmup_state.step.value)),
                }
            else:
                store.save(folder, num_done, samples)
                kept.add(samples)
                num_done += num
                divergences += int(samples.diverged.sum())
                measured = {"ess": kept.ess(), "divergences": divergences}
            if first_num:  # the first chunk was drawn before the clock started
                per_leapfrog = 1000 * (now - before) / samples.leapfrogs.sum()
                timed = {"ms_per_leapfrog": per_leapfrog}
            event(
                "warmup" if warming else "draws",
                num_warmed if warming else num_done,
                **measured,
                log_prob=float(samples.log_prob[:, -1].mean()),
                accept=float(samples.accept.mean()),
                depth=float(samples.depth.mean()),
                leapfrogs_per_draw=float(samples.leapfrogs.mean()),
                **timed,
            )
            first_num = first_num or num
            if made > first_num:
                each = (now - began) / (made - first_num)
                measured["seconds_left"] = round(each * (total - made), 1)
            advance(num, **measured)
            before = time.perf_counter()


def _wait_for_all(
    run_dir: Path, settings: sampler.Settings, own_seconds: float
) -> list[Path]:
    """The folders of all processes, once each has all its draws.

    Raises TimeoutError for one that is far behind this process.
    """
    timeout = processes.timeout_seconds(own_seconds)
    deadline = time.monotonic() + timeout
    count = settings.process.count
    folders = [processes.folder_of(run_dir, index) for index in range(count)]
    for index, folder in enumerate(folders):
        while (num := store.num_saved(folder)) < settings.num_draws:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"process {index}: not done {timeout:g} s after process 0; "
                    f"{folder.name} holds {num} draws of each chain"
                )
            time.sleep(0.5)
    return folders


def _first_tree(
    folders: Sequence[Path], posterior: ppl.Posterior, settings: sampler.Settings
) -> xr.DataTree:
    """The DataTree of the first chunk, with all groups."""
    states = []
    for folder in folders:
        state = store.load_warmup(folder)
        if state is None:
            raise ValueError(f"{folder.name}: given no warm-up in chunks/, wanted one")
        states.append(state)
    found = sampler.found(settings, states)
    return to_datatree(
        next(store.chunks(folders)),
        posterior,
        step_size=found.step_size,
        max_depth=settings.warmup.max_depth,
        warmup=found if settings.warmup.num_warmup else None,
        settings=settings.in_force(),
    )


def _judge(
    run_dir: Path,
    folders: Sequence[Path],
    posterior: ppl.Posterior,
    settings: sampler.Settings,
    tree: xr.DataTree,
) -> Summary:
    """Writes draws.nc, summary.csv and summary.txt, and returns the summary."""
    path = store.write_netcdf(
        run_dir,
        folders,
        posterior,
        tree,
        step_size=_step_size(tree),
        max_depth=settings.warmup.max_depth,
    )
    with xr.open_datatree(path, engine="h5netcdf") as draws:
        summary = summarize(draws)
    jsonlines.write_text(run_dir / "summary.csv", summary.table.to_csv())
    jsonlines.write_text(run_dir / "summary.txt", f"{summary}\n")
    return summary


def _step_size(tree: xr.DataTree) -> np.ndarray:
    return np.asarray(tree["sample_stats/step_size"].isel(draw=0))


def _plot(
    posterior: ppl.Posterior,
    settings: sampler.Settings,
    kept: Kept,
    first: xr.DataTree,
    summary: Summary,
    event: MetricWriter,
) -> None:
    """Draws the plots from what is kept in memory."""
    tree = to_datatree(
        kept.samples(),
        posterior,
        step_size=_step_size(first),
        max_depth=settings.warmup.max_depth,
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
