"""The training loop: steps over batches, and when to report, save and evaluate."""

import concurrent.futures
import contextlib
import dataclasses
import math
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from experiments.cluster import processes
from experiments.records.metrics import MetricWriter
from experiments.records.progress import Advance, progress
from experiments.training import checkpoints, evaluate, nonfinite, timing
from experiments.training.checkpoints import Checkpoints, NotFinite
from experiments.training.checks import check_bool, check_count
from experiments.training.engine import Engine
from experiments.training.interrupts import Signals, deferred
from experiments.training.task import Batch, Data, Show

OPTIONAL = ("evaluate_every", "checkpoint_every", "keep_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long to train, and what to save how often; intervals are in steps.

    Raises ValueError for a value that makes no sense.
    """

    num_steps: int
    log_every: int = 10  # between two log lines the loop does not wait for the devices
    evaluate_every: int | None = None  # None: at the end alone
    checkpoint_every: int | None = None  # None: at the beginning and the end alone
    keep_last: int = 3  # checkpoints
    keep_every: int | None = None  # checkpoints at multiples of this step stay
    keep_best: bool = True  # also the checkpoint of the lowest held-out loss, in best/
    profile_steps: tuple[int, int] | None = None  # the first, from 0, and the one after
    measure_peak: bool = True  # times matrix products at the start, for MFU

    def __post_init__(self) -> None:
        for name in ("num_steps", "log_every", "keep_last", *OPTIONAL):
            check_count(name, getattr(self, name), optional=name in OPTIONAL)
        check_bool("keep_best", self.keep_best)
        check_bool("measure_peak", self.measure_peak)
        if self.profile_steps is not None and not _is_range(self.profile_steps):
            raise ValueError(
                f"profile_steps: given {self.profile_steps!r}, wanted the first, "
                "from 0, and the one after the last"
            )


def train(
    engine: Engine,
    data: Data,
    *,
    run_dir: Path,
    seed: int,
    settings: LoopSettings,
    write_event: MetricWriter | None,
    resume: bool = False,
    init_from: str | Path | None = None,
    num_traces: Callable[[], int] | None = None,
    show: Show | None = None,
) -> dict[str, Any]:
    """Trains from the start or the latest checkpoint; returns a summary of the end.

    write_event: writes metrics; None in all processes but the first.
    num_traces: how often the loss was traced so far.

    Writes checkpoints/, best/ and the profile to `run_dir`.  SIGINT and SIGTERM wait
    until the step (the same one in all processes) is saved, and are then delivered.

    Raises NotFinite; CheckpointError for a checkpoint of another run or a full disk;
    ValueError for a run that cannot be resumed like this.  Earlier checkpoints stay.
    An error is raised as it is, also if a signal came before it.
    """
    saved = checkpoints.checkpoints_of(
        run_dir, engine.model, engine.optimizer, engine.settings, data, seed
    )._replace(keep_last=settings.keep_last, keep_every=settings.keep_every)
    engine.initialize(seed)
    path = checkpoints.resumable(saved, settings.num_steps) if resume else None
    if path is not None:
        start = checkpoints.restore(engine, saved, path)
    else:
        start = 0
        if init_from is not None:
            checkpoints.init_from(engine, init_from)
        checkpoints.save(engine, saved, start)
    peak = _matmul_peak(engine) if settings.measure_peak else None
    write_event = write_event or _write_nothing
    if peak is not None:
        write_event("peak", start, matmul_flops_per_second=peak)
    with (
        deferred() as signals,
        _prefetched(data.training_batch, settings.num_steps) as training_batch,
        _profiling(run_dir / "tensorboard", settings.profile_steps) as profile,
        _progress(settings.num_steps - start) as advance,
    ):
        run = _Run(
            engine,
            data,
            training_batch,
            seed,
            settings,
            saved,
            start,
            timing.StepClock(
                data.batch_size, engine.model.flops_per_example * data.batch_size, peak
            ),
            signals,
            write_event,
            advance,
            num_traces,
            show,
        )
        while run.step < settings.num_steps:
            if processes.stop_before(run.step, requested=signals.received):
                break
            profile(run.step)
            run.take_step()
            run.after_step()
        held_out = run.finish()
        if run.step < settings.num_steps and not signals.received:
            signals.stopped_by_other = True
    return {
        "steps": run.step,
        "resumed_from": start,
        "train": run.last_line,
        "held_out": held_out,
        "matmul_flops_per_second": peak,
    }


@dataclasses.dataclass
class _Run:
    """The steps of a run that is in progress, and what happens between them."""

    engine: Engine
    data: Data
    training_batch: Callable[[int], Batch]
    seed: int
    settings: LoopSettings
    saved: Checkpoints
    start: int
    clock: timing.StepClock
    signals: Signals
    write_event: MetricWriter
    advance: Advance
    num_traces: Callable[[], int] | None
    show: Show | None

    def __post_init__(self) -> None:
        self.step = self.last_saved = self.start
        self.last_line: dict[str, float] = {}
        self.pending: list[dict[str, Any]] = []  # metrics that are not yet reported
        self.variable_bytes = self.engine.bytes_per_device()
        keeps_best = self._keeps_best
        self.best_loss = checkpoints.best_loss(self.saved) if keeps_best else math.inf

    def take_step(self) -> None:
        with self.clock.waiting_for_data():
            batch = self.training_batch(self.step)
        self.pending.append(self.engine.step(batch, self.step, self.seed))
        self.step += 1
        self.clock.num_steps += 1

    def after_step(self) -> None:
        """Reports, saves and evaluates where the settings say so."""
        settings, step = self.settings, self.step
        is_first, is_last = step == self.start + 1, step == settings.num_steps
        logs = is_last or _is_due(step, settings.log_every)
        saves = _is_due(step, settings.checkpoint_every)
        evaluates = _is_due(step, settings.evaluate_every)
        if not (is_first or logs or saves or evaluates):
            return
        self._wait()
        if is_first:  # it traces and compiles, so its time says nothing of the others
            built = {"seconds_of_first_step": self.clock.seconds}
            self.write_event("build", step, **built, bytes=self.variable_bytes)
            self.clock.restart()
        if logs:
            self._report()
        if saves:
            self._save()
        if evaluates and not is_last:
            self._evaluate()
        self.clock.restart(at_last_stop=not (saves or evaluates))

    def finish(self) -> dict[str, float]:
        """Reports and saves the last steps; evaluates if they are the last of all."""
        if self.pending:  # stopped between two log lines
            self._wait()
            self._report()
        if self.step > self.last_saved:
            self._save()
        return self._evaluate() if self.step == self.settings.num_steps else {}

    @property
    def _keeps_best(self) -> bool:
        settings = self.settings
        several = settings.evaluate_every is not None  # or the last one is the best
        return settings.keep_best and several and self.data.num_held_out_batches > 0

    def _wait(self) -> None:
        """Waits for the devices; raises NotFinite if a step's loss is not finite."""
        steps = [evaluate.as_floats(metrics) for metrics in self.pending]
        self.clock.stop()
        for step, metrics in enumerate(steps, start=self.step - len(steps)):
            if not math.isfinite(metrics["loss"] + metrics["gradient_norm"]):
                raise NotFinite(
                    nonfinite.explanation(
                        self.engine,
                        self.training_batch,
                        self.saved,
                        step,
                        metrics,
                        self.seed,
                        self.signals,
                    )
                )

    def _report(self) -> None:
        """Writes the means over the steps since the last report."""
        steps = [evaluate.as_floats(metrics) for metrics in self.pending]
        line: dict[str, Any] = evaluate.mean_metrics(steps, self.engine.model)
        line |= self.clock.metrics() | timing.memory(self.variable_bytes)
        if self.num_traces is not None:
            line["traces"] = self.num_traces()
        self.write_event("train", self.step, **line)
        left = self.clock.time_left(self.settings.num_steps - self.step)
        self.advance(len(self.pending), loss=line["loss"], left=left)
        self.last_line = line
        self.pending.clear()

    def _save(self) -> None:
        checkpoints.save(self.engine, self.saved, self.step)
        self.last_saved = self.step

    def _evaluate(self) -> dict[str, float]:
        metrics = evaluate.held_out_metrics(
            self.engine, self.data, self.seed, step=self.step, folder=self.saved.folder
        )
        shown = evaluate.shown(self.engine, self.show)
        if metrics or shown:
            self.write_event("held_out", self.step, **metrics, **shown)
        if self._keeps_best and metrics["loss"] < self.best_loss:
            self.best_loss = metrics["loss"]
            checkpoints.save_best(self.engine, self.saved, self.step, self.best_loss)
        return metrics


def _matmul_peak(engine: Engine) -> float | None:
    """That of all devices together; None for a model whose flops are not known."""
    if not engine.model.flops_per_example:
        return None
    devices = list(engine.bytes_per_device())
    peak = timing.peak_matmul_flops(devices, engine.settings.compute_dtype)
    return peak * processes.current().count


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _is_range(steps: Any) -> bool:
    if not (isinstance(steps, (tuple, list)) and len(steps) == 2):
        return False
    return all(type(step) is int for step in steps) and 0 <= steps[0] < steps[1]


def _write_nothing(kind: str, step: int, **values: Any) -> None:
    """The metric writer of a process that writes none."""


@contextlib.contextmanager
def _prefetched(
    batch: Callable[[int], Batch], end: int
) -> Iterator[Callable[[int], Batch]]:
    """Yields `get(index)`; meanwhile a thread makes the next batch, up to `end`."""
    with concurrent.futures.ThreadPoolExecutor(1, "batches") as pool:
        coming: dict[int, concurrent.futures.Future[Batch]] = {}

        def get(index: int) -> Batch:
            future = coming.pop(index, None) or pool.submit(batch, index)
            result = future.result()
            if index + 1 < end:
                coming[index + 1] = pool.submit(batch, index + 1)
            return result

        yield get


@contextlib.contextmanager
def _profiling(
    folder: Path, steps: tuple[int, int] | None
) -> Iterator[Callable[[int], None]]:
    """Yields `profile(step)`, which is called before each step."""
    first, end = steps or (-1, -1)
    running = False

    def stop() -> None:
        nonlocal running
        if running:
            running = False
            tf.profiler.experimental.stop()
            # The file's name would tell the host's.
            for path in folder.glob(f"plugins/profile/*/{socket.gethostname()}.*"):
                path.rename(path.with_name("host" + "".join(path.suffixes[-2:])))

    def profile(step: int) -> None:
        nonlocal running
        if step == first:
            tf.profiler.experimental.start(str(folder))
            running = True
        elif step == end:
            stop()

    try:
        yield profile
    finally:
        stop()


@contextlib.contextmanager
def _progress(num_steps: int) -> Iterator[Advance]:
    if processes.current().index > 0:
        yield lambda count=1, **values: None
        return
    with progress(num_steps, "steps") as advance:
        yield advance
