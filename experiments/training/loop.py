"""Training: a runtime's steps over numbered batches, and what is kept of them."""

import concurrent.futures
import contextlib
import dataclasses
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.cluster import processes
from experiments.records import checkpoint, jsonlines
from experiments.records.metrics import MetricWriter, metric_writer
from experiments.records.progress import progress
from experiments.training import train_step
from experiments.training.engine import Engine
from experiments.training.model import Model, Tensors
from experiments.training.prng import BatchRng
from experiments.training.state import loss_inputs

Batch = Mapping[str, np.ndarray]


class NotFinite(Exception):
    """Training met NaN or infinity; the text says at which step and in what."""


class Data(NamedTuple):
    """Batches by number: the same ones whenever and in whatever order asked for."""

    name: str
    batch_size: int  # examples of all processes together
    batch: Callable[[int], Batch]  # this process's share, first to train on
    held_out: Callable[[int], Batch]  # and of what is never trained on
    num_held_out: int = 0  # batches of it


def shared_data(
    name: str,
    batch_size: int,
    *,
    training: Callable[..., Callable[[int], Batch]],
    held_out: Callable[..., Callable[[int], Batch]],
    num_held_out: int,
) -> Data:
    """The data of batches that all processes share out, as this one has them.

    training, held_out: of `batch_size`, `process` and `num_processes`, a process's
      shares of the batches by number.

    Raises what these two do.
    """
    process = processes.current()
    share = {
        "batch_size": batch_size,
        "process": process.index,
        "num_processes": process.count,
    }
    return Data(name, batch_size, training(**share), held_out(**share), num_held_out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long to train, and what to keep how often; intervals are in steps."""

    num_steps: int
    log_every: int = 10  # between these nothing waits for the devices
    evaluate_every: int | None = None  # None: at the end alone
    checkpoint_every: int | None = None  # None: at the beginning and the end alone
    keep_last: int = 3  # checkpoints
    keep_every: int | None = None  # and those of multiples of this
    profile_steps: tuple[int, int] | None = None  # the first, from 0, and the one after
    measure_peak: bool = True  # of matrix products, seconds at the start: for MFU

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            wants = field.name not in ("profile_steps", "measure_peak")
            if wants and value is not None and value < 1:
                raise ValueError(f"{field.name}: given {value}, wanted 1 or more")
        if self.profile_steps is not None:
            first, end = self.profile_steps
            if not 0 <= first < end:
                raise ValueError(
                    f"profile_steps: given {self.profile_steps}, wanted the first, "
                    "from 0, and the one after the last"
                )


def train(
    runtime: Engine,
    data: Data,
    *,
    run_dir: Path,
    seed: int,
    settings: LoopSettings,
    event: MetricWriter | None,
    resume: bool = False,
    num_traces: Callable[[], int] | None = None,
    show: Callable[[dict[str, np.ndarray]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Trains from the start, or from the newest checkpoint; returns how it ended.

    event: where numbers go; None in all processes but the first.
    num_traces: as `count_traces` gives it.
    show: of the weights (the average where one is kept) and the state, what evaluation
      shows beside its numbers: `Image` and `Audio` by name.

    In `run_dir` come checkpoints/ and the profile.  SIGINT and SIGTERM wait for the
    step, of all processes the same one, to end and to be saved, and are then let
    through.

    Raises NotFinite, CheckpointError for a checkpoint of another run or a full disk,
    and ValueError for one of more steps than are wanted; what was saved before is still
    there.  An error is raised as it is, also where a signal came before it.
    """
    process = processes.current()
    event = event or _nothing
    kept = _Kept(
        folder=run_dir / "checkpoints",
        about={
            "model": runtime.model.name,
            "data": data.name,
            "seed": seed,
            "batch_size": data.batch_size,
        },
        settings=settings,
        writes=process.index == 0,
    )
    runtime.initialize(seed)
    if resume and (path := checkpoint.latest(kept.folder)):
        start = done = _restore(runtime, path, kept)
        if start > settings.num_steps:
            raise ValueError(
                f"num_steps: given {settings.num_steps}, wanted at least the {start} "
                f"of {path}"
            )
    else:
        start = done = 0
        _save(runtime, kept, done)
    held_bytes = runtime.bytes_per_device()  # by device, and so it stays
    speed = _Speed(runtime, data, held_bytes if settings.measure_peak else ())
    if speed.peak is not None:
        event("peak", done, matmul_flops_per_second=speed.peak)

    line: dict[str, Any] = {}
    pending: list[dict[str, Any]] = []  # what steps returned, of none told of yet

    def tell() -> None:
        """The event of the steps since the last one."""
        line.clear()
        line.update(_means([_plain(held) for held in pending], runtime.model))
        line.update(speed.told() | _memory(held_bytes))
        if num_traces is not None:
            line["traces"] = num_traces()
        event("train", done, **line)
        left = _clock(speed.seconds_left(settings.num_steps - done))
        advance(len(pending), loss=line["loss"], left=left)
        pending.clear()

    def fetch() -> None:
        """Waits for the devices; raises NotFinite unless the steps gave numbers."""
        stats = [_plain(held) for held in pending]
        speed.stop()
        for number, held in enumerate(stats, start=done - len(stats)):
            if not math.isfinite(held["loss"] + held["gradient_norm"]):
                raise NotFinite(
                    _account(runtime, batch_of, kept, number, held, seed, signals)
                )

    with (
        _held_back() as signals,
        _ahead(data.batch, settings.num_steps) as batch_of,
        _profiling(run_dir / "tensorboard", settings.profile_steps) as profile,
        _progress(settings.num_steps - done, writes=kept.writes) as advance,
    ):
        saved = done
        speed.restart()
        while done < settings.num_steps:
            if processes.stop_before(done, requested=signals.came):
                break
            profile(done)
            with speed.waiting():
                batch = batch_of(done)
            pending.append(runtime.step(batch, done, seed))
            done += 1
            speed.num_steps += 1
            builds = done == start + 1
            logs = done % settings.log_every == 0 or done == settings.num_steps
            saves = _due(done, settings.checkpoint_every)
            evaluates = _due(done, settings.evaluate_every)
            if not (builds or logs or saves or evaluates):
                continue
            fetch()
            if builds:  # the first step traces and compiles: no speed of it is told
                seconds = speed.seconds
                event("build", done, seconds_of_first_step=seconds, bytes=held_bytes)
                speed.restart()
            if logs:
                tell()
            if saves:
                _save(runtime, kept, done)
                saved = done
            if evaluates and done < settings.num_steps:
                _evaluate(runtime, data, done, seed, event, show, kept)
            speed.restart(after_stop=not (saves or evaluates))
        if pending:  # stopped between two events
            fetch()
            tell()
        if done > saved:
            _save(runtime, kept, done)
        held_out: dict[str, float] = {}
        if done == settings.num_steps:
            held_out = _evaluate(runtime, data, done, seed, event, show, kept)
        elif not signals.came:
            signals.others = True
    return {
        "steps": done,
        "resumed_from": start,
        "train": line,
        "held_out": held_out,
        "matmul_flops_per_second": speed.peak,
    }


def run(
    runtime: Engine,
    data: Data,
    *,
    run_dir: Path,
    seed: int,
    settings: LoopSettings,
    about: Mapping[str, Any],
    resume: bool = False,
    num_traces: Callable[[], int] | None = None,
    show: Callable[[dict[str, np.ndarray]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Trains as `train` does, and records it; returns the summary.

    about: what the summary says of the run before how it ended.

    In `run_dir` come metrics.jsonl, TensorBoard events and summary.json besides, of the
    first process, which also prints the summary.  Raises what `train` does.
    """
    writes = processes.current().index == 0
    with metric_writer(run_dir) if writes else contextlib.nullcontext() as event:
        ended = train(
            runtime,
            data,
            run_dir=run_dir,
            seed=seed,
            settings=settings,
            event=event,
            resume=resume,
            num_traces=num_traces,
            show=show,
        )
    summary = {**about, **ended}
    if writes:
        text = jsonlines.dumps(summary, indent=2)
        jsonlines.write_text(run_dir / "summary.json", text + "\n")
        print(text, flush=True)
    return summary


def count_traces(model: Model) -> tuple[Model, Callable[[], int]]:
    """The model, and a function that says how often its loss was traced so far."""
    traces = 0

    def loss(weights: Tensors, batch: Tensors, rng: BatchRng) -> tuple:
        nonlocal traces
        traces += 1
        return model.loss(weights, batch, rng)

    return model._replace(loss=loss), lambda: traces


def dataset_batches(dataset: tf.data.Dataset) -> Callable[[int], Batch]:
    """The batches of a dataset by number, each gone to in order at no cost.

    The dataset must not end, and must give the same batches each time that it is gone
    through: shuffled, where it is, with a seed and reshuffle_each_iteration=False.
    """
    at, iterator = -1, iter(())

    def batch(number: int) -> Batch:
        nonlocal at, iterator
        if number != at:
            at, iterator = number, dataset.skip(number).as_numpy_iterator()
        at += 1
        try:
            return next(iterator)
        except StopIteration:
            raise ValueError(f"batch {number}: the dataset ends before it") from None

    return batch


def peak_matmul_flops(devices: Sequence[str], dtype: str) -> float:
    """Flops a second of square matrix products on all these devices at once.

    The best of several calls, of sizes from 512 on until one takes a tenth of a second.
    """
    chain = 4

    @tf.function
    def multiply(factors: list[tf.Tensor]) -> list[tf.Tensor]:
        corners = []
        for device, factor in zip(devices, factors, strict=True):
            with tf.device(device):
                product = factor
                for _ in range(chain):
                    product = tf.matmul(product, factor)
                corners.append(product[0, 0])
        return corners

    best = seconds = 0.0  # flops a second; of the fastest call of the last size
    for size in (512, 1024, 2048, 4096, 8192):
        if seconds > 0.1:
            break
        factors = []
        for device in devices:
            with tf.device(device):  # of entries 1 / size a product has the same again
                factors.append(tf.cast(tf.fill((size, size), 1 / size), dtype))
        multiply(factors)  # traces
        calls = []
        for _ in range(5):
            began = time.perf_counter()
            for corner in multiply(factors):
                corner.numpy()
            calls.append(time.perf_counter() - began)
        seconds = min(calls)  # one that something else held up decides nothing
        best = max(best, chain * len(devices) * 2.0 * size**3 / seconds)
    return best


# Numbers.


class _Speed:
    """The clock of the steps between two stops for anything else."""

    def __init__(self, runtime: Engine, data: Data, devices: Iterable[str]) -> None:
        self.batch_size = data.batch_size
        self.flops = runtime.model.flops_per_example * data.batch_size  # of a step
        self.peak: float | None = None
        if self.flops and (local := list(devices)):
            peak = peak_matmul_flops(local, runtime.settings.compute_dtype)
            self.peak = peak * processes.current().count
        self._a_step = math.nan
        self._stopped = 0.0
        self.restart()

    def restart(self, *, after_stop: bool = False) -> None:
        """From now on; or from when it was stopped, telling included."""
        self.num_steps, self.seconds, self._waited = 0, 0.0, 0.0
        self._began = self._stopped if after_stop else time.perf_counter()

    def stop(self) -> None:
        self._stopped = time.perf_counter()
        self.seconds = self._stopped - self._began

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """For a batch."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def told(self) -> dict[str, float]:
        """Of a step; nothing where none was taken since the restart."""
        if not self.num_steps:
            return {}
        self._a_step = self.seconds / self.num_steps
        told = {
            "step_seconds": self._a_step,
            "data_seconds": self._waited / self.num_steps,
            "examples_per_second": self.batch_size / self._a_step,
        }
        if self.peak:
            told["mfu"] = self.flops / self._a_step / self.peak
        return told

    def seconds_left(self, num_steps: int) -> float:
        return self._a_step * num_steps


def _plain(step: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in step.items()}


def _means(stats: Sequence[Mapping[str, float]], model: Model) -> dict[str, float]:
    """Over steps or batches, and the loss as bits of a dimension of the data."""
    means = {name: float(np.mean([s[name] for s in stats])) for name in stats[0]}
    means["bits_per_dim"] = means["loss"] / math.log(2) / model.dims_per_example
    return means


def _memory(held_bytes: Mapping[str, int]) -> dict[str, int]:
    """Bytes: of this process, and of the fullest device's variables and peak use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    told = {
        "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "device_variable_bytes": max(held_bytes.values()),
    }
    peaks = [
        tf.config.experimental.get_memory_info(device)["peak"]
        for device in held_bytes
        if not device.startswith("CPU")  # of which TensorFlow keeps no count
    ]
    return told | ({"device_peak_bytes": max(peaks)} if peaks else {})


def _clock(seconds: float) -> str:
    if math.isnan(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0


def _nothing(kind: str, step: int, **values: Any) -> None:
    """The event of a process that writes none."""


def _evaluate(
    runtime: Engine,
    data: Data,
    done: int,
    seed: int,
    event: MetricWriter,
    show: Callable[[dict[str, np.ndarray]], dict[str, Any]] | None,
    kept: "_Kept",
) -> dict[str, float]:
    """Means over what is held out, told as an event; empty where nothing is."""
    stats = [
        _plain(runtime.evaluate(data.held_out(number), number, seed))
        for number in range(data.num_held_out)
    ]
    for number, held in enumerate(stats):
        if not math.isfinite(held["loss"]):
            raise NotFinite(
                f"held-out batch {number} after {done} steps: loss {held['loss']}; the "
                f"last checkpoint is {checkpoint.latest(kept.folder)}"
            )
    means = _means(stats, runtime.model) if stats else {}
    shown: dict[str, Any] = {}
    if show is not None:
        arrays = runtime.read_variables()
        ema = runtime.settings.ema_decay is not None
        given = loss_inputs(runtime.model, ema=ema)
        shown = show({name: arrays[full] for name, full in given.items()})
    if means or shown:
        event("held_out", done, **means, **shown)
    return means


# What is kept.


class _Kept(NamedTuple):
    """Where checkpoints are, and what they say that they are of."""

    folder: Path
    about: dict[str, Any]
    settings: LoopSettings
    writes: bool  # whether this process does


def _save(runtime: Engine, kept: _Kept, done: int) -> None:
    arrays = runtime.read_variables()
    if int(arrays["step"]) != done:
        raise RuntimeError(f"step: the runtime has {arrays['step']}, wanted {done}")
    odd = _not_finite(arrays)
    if odd:
        last = checkpoint.latest(kept.folder)
        raise NotFinite(
            f"step {done}: {_listed(odd)} not finite, though loss and gradient were; "
            f"the last good checkpoint is {last}"
        )
    if kept.writes:
        checkpoint.save(
            kept.folder,
            done,
            arrays,
            metadata=kept.about,
            keep_last=kept.settings.keep_last,
            keep_every=kept.settings.keep_every,
        )


def _restore(runtime: Engine, path: Path, kept: _Kept) -> int:
    """Sets the runtime to a checkpoint and returns its step."""
    held = checkpoint.load(path, metadata=kept.about)
    try:
        runtime.write_variables(held.arrays)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{path} does not fit: {error}") from error
    return held.step


def _account(
    runtime: Engine,
    batch_of: Callable[[int], Batch],
    kept: _Kept,
    number: int,
    held: Mapping[str, float],
    seed: int,
    signals: "_Signals",
) -> str:
    """What is known of a step, `number` from 0, that gave NaN or infinity.

    The weights are spoilt when the loss is seen, and all of them by a common gradient
    norm; so the steps from the last checkpoint are taken again, up to the one that
    went wrong, and its gradients looked at one by one.
    """
    path = checkpoint.latest(kept.folder)
    what = f"the loss is {held['loss']}, the gradient's norm {held['gradient_norm']}"
    said = f"step {number + 1}: {what}; the last good checkpoint is {path}"
    if path is None:
        return said
    for again in range(_restore(runtime, path, kept), number):
        if signals.came and processes.current().count == 1:
            return f"{said}; stopped before it was found where it began"
        runtime.step(batch_of(again), again, seed)
    arrays = runtime.read_variables()
    odd = _not_finite(arrays)
    if odd:
        return f"{said}; before the step {_listed(odd)} not finite"
    batch = {name: tf.constant(array) for name, array in batch_of(number).items()}
    size = next(iter(batch.values())).shape[0]
    first = processes.current().index * size
    given = {
        name: tf.constant(arrays[full])
        for name, full in loss_inputs(runtime.model, ema=False).items()
    }

    # As a graph, in which weights of a branch that is not taken have gradients too.
    @tf.function(autograph=False)
    def grads_of(given: Tensors, batch: Tensors) -> dict[str, tf.Tensor]:
        of_step = tf.constant(train_step.step_seed(seed, number))
        return train_step.loss_and_gradients(
            runtime.model,
            runtime.settings,
            given,
            batch,
            BatchRng(of_step, tf.constant(first)),
            num_examples=size,
            gradients=True,
        ).grads

    with tf.device("CPU:0"):
        found = grads_of(given, batch)
    odd = _not_finite({name: grad.numpy() for name, grad in found.items()})
    if odd:
        return f"{said}; in the gradient, {_listed(odd)} not finite"
    return f"{said}; taken again on one device, every gradient of it is finite"


def _not_finite(arrays: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more} {'is' if len(names) == 1 else 'are'}"


# Around the loop.


class _Signals:
    """The SIGINT and SIGTERM that came and are held back."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.others = False  # another process had one, and all stopped for it

    @property
    def came(self) -> bool:
        return bool(self.numbers)


@contextlib.contextmanager
def _held_back() -> Iterator[_Signals]:
    """Keeps SIGINT and SIGTERM until the end, and then lets the first through.

    A step broken off could leave some variables of it and some of the one before.  (A
    second signal ends the process as ever: the launcher's thread sees to that.)  Where
    an error ends it, none is let through: stopped, it would be taken for saved.
    """
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    held = {
        signum: signal.signal(signum, lambda signum, _: signals.numbers.append(signum))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for signum, handler in held.items():
            signal.signal(signum, handler)
    if signals.came:
        first = signals.numbers[0]
        handler = held[first]
        if callable(handler):  # called, not raised: the launcher would count two
            handler(first, None)
        else:
            signal.raise_signal(first)
    elif signals.others:
        signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def _ahead(batch: Callable[[int], Batch], end: int) -> Iterator[Callable[[int], Batch]]:
    """Yields `get(number)`; a thread makes the next batch, up to `end`, meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1, "batches") as pool:
        coming: dict[int, concurrent.futures.Future[Batch]] = {}

        def get(number: int) -> Batch:
            made = coming.pop(number, None) or pool.submit(batch, number)
            found = made.result()
            if number + 1 < end:
                coming[number + 1] = pool.submit(batch, number + 1)
            return found

        yield get


@contextlib.contextmanager
def _profiling(
    folder: Path, steps: tuple[int, int] | None
) -> Iterator[Callable[[int], None]]:
    """Yields `profile(number)`, to be called before each step."""
    first, end = steps or (-1, -1)
    running = False

    def stop() -> None:
        nonlocal running
        if running:
            running = False
            tf.profiler.experimental.stop()
            for path in folder.glob(f"plugins/profile/*/{socket.gethostname()}.*"):
                path.rename(path.with_name("host" + "".join(path.suffixes[-2:])))

    def profile(number: int) -> None:
        nonlocal running
        if number == first:
            tf.profiler.experimental.start(str(folder))
            running = True
        elif number == end:
            stop()

    try:
        yield profile
    finally:
        stop()


@contextlib.contextmanager
def _progress(num_steps: int, *, writes: bool) -> Iterator[Callable[..., None]]:
    if not writes:
        yield lambda count=1, **shown: None
        return
    with progress(num_steps, "steps") as advance:
        yield advance
