"""One run of a task: train it, evaluate it or show its samples, and record that."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.cluster import processes
from experiments.records import jsonlines
from experiments.records.metrics import MetricWriter, metric_writer
from experiments.training import checkpoints, evaluate, loop
from experiments.training.engine import Engine
from experiments.training.loop import LoopSettings
from experiments.training.model import Model, Tensors, num_parameters
from experiments.training.prng import BatchRng
from experiments.training.task import Show, Task

MODES = ("train", "evaluate", "sample")


def run_task(
    task: Task,
    make_engine: Callable[[Model], Engine],
    *,
    run_dir: Path,
    seed: int,
    loop_settings: LoopSettings,
    mode: str = "train",
    resume: bool = False,
    init_from: str | None = None,
) -> dict[str, Any]:
    """Trains, evaluates or shows samples; returns the summary.

    make_engine: returns the engine of a model; it may start TensorFlow.
    mode: "train"; "evaluate": metrics on held-out data; "sample": what evaluation
      shows, as files.  The last two use the weights of `init_from` and change none.

    The first process writes metrics.jsonl, media/, TensorBoard events and summary.json
    to `run_dir`, and prints the summary.  Raises what `loop.train` raises.
    """
    check_mode(mode, resume, init_from)
    model, num_traces = count_traces(task.model)
    engine = make_engine(model)
    summary = {**task.summary, "topology": str(engine.topology)}
    writes = processes.current().index == 0
    show = None
    if writes:
        summary |= task.yardsticks() if mode != "sample" else {}
        show = task.make_show()
        print(_headline(task, engine), flush=True)
    with metric_writer(run_dir) if writes else contextlib.nullcontext() as write_event:
        if mode == "train":
            summary |= loop.train(
                engine,
                task.data,
                run_dir=run_dir,
                seed=seed,
                settings=loop_settings,
                write_event=write_event,
                resume=resume,
                init_from=init_from,
                num_traces=num_traces,
                show=show,
            )
        else:
            assert init_from is not None  # by check_mode
            summary |= _use_checkpoint(
                engine, task, mode, init_from, seed, write_event, show
            )
    if writes:
        text = jsonlines.dumps(summary, indent=2)
        jsonlines.write_text(run_dir / "summary.json", text + "\n")
        print(text, flush=True)
    return summary


def count_traces(model: Model) -> tuple[Model, Callable[[], int]]:
    """The model, and a function that returns how often its loss was traced so far."""
    traces = 0

    def loss(weights: Tensors, batch: Tensors, rng: BatchRng) -> tuple:
        nonlocal traces
        traces += 1
        return model.loss(weights, batch, rng)

    return model._replace(loss=loss), lambda: traces


def check_mode(mode: str, resume: bool, init_from: str | None) -> None:
    """Raises ValueError for a mode without what it needs, and a missing checkpoint."""
    if mode not in MODES:
        raise ValueError(f"mode: given {mode!r}, wanted one of {MODES}")
    if mode != "train" and init_from is None:
        raise ValueError(f"init_from: given None, wanted a checkpoint to {mode}")
    if mode != "train" and resume:
        raise ValueError(f"resume: given True, wanted False to {mode}")
    if init_from is not None and not isinstance(init_from, (str, Path)):
        raise ValueError(f"init_from: given {init_from!r}, wanted a path")


def _use_checkpoint(
    engine: Engine,
    task: Task,
    mode: str,
    place: str,
    seed: int,
    write_event: MetricWriter | None,
    show: Show | None,
) -> dict[str, Any]:
    """Evaluates a checkpoint, or writes what evaluation shows."""
    engine.initialize(seed)
    step = checkpoints.init_from(engine, place)
    values: dict[str, Any] = {}
    if mode == "evaluate":
        values = dict(
            evaluate.held_out_metrics(engine, task.data, seed, step=step, folder=None)
        )
        if not values:
            raise ValueError(
                f"num_held_out: given {task.num_held_out}, wanted some to evaluate"
            )
    elif write_event is not None:
        values = evaluate.shown(engine, show)
        if not values:
            raise ValueError("num_samples: given none to show, wanted 1 or more")
    if write_event is not None:
        write_event("held_out" if mode == "evaluate" else "samples", step, **values)
    metrics = values if mode == "evaluate" else {}
    return {"steps": step, "init_from": str(place), "held_out": metrics}


def _headline(task: Task, engine: Engine) -> str:
    return (
        f"{task.model.name}: {num_parameters(task.model):,} parameters\n"
        f"{task.source}\n"
        f"{engine.topology}, {task.data.batch_size} {task.unit} a step, evaluated on "
        f"{task.num_held_out} held-out {task.unit}"
    )
