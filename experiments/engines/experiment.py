"""What every experiment that trains has in common: its arguments, checks and run."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.cluster import processes
from experiments.engines.selection import check_engine, make_engine
from experiments.records import jsonlines
from experiments.records.metrics import MetricWriter, metric_writer
from experiments.training import checkpoints, evaluate
from experiments.training.checks import check_choice, check_instance, check_memory
from experiments.training.engine import Engine
from experiments.training.loop import LoopSettings, train
from experiments.training.model import Model, Tensors, num_parameters
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.task import Show, Task
from experiments.training.topology import parse
from experiments.training.train_step import StepSettings, check_batch_size

MODES = ("train", "evaluate", "sample")


def experiment(describe: Callable[..., Task]) -> Callable[..., dict[str, Any]]:
    """Decorator: the experiment that trains what a function describes.

    It takes the function's keyword arguments, among which `seed` and `batch_size` may
    be, and those of `run` besides `describe`.  It returns what `run` does.
    """
    own = inspect.signature(describe, eval_str=True).parameters
    shared = dict(inspect.signature(run, eval_str=True).parameters)
    del shared["describe"]
    # Those without a default first; the rest are keywords, in any order.
    both = sorted((shared | dict(own)).values(), key=lambda p: p.default is not p.empty)
    signature = inspect.Signature(both, return_annotation=dict[str, Any])

    @functools.wraps(describe)
    def trained(**arguments: Any) -> dict[str, Any]:
        values = signature.bind(**arguments)
        values.apply_defaults()
        task = functools.partial(
            describe, **{name: values.arguments[name] for name in own}
        )
        return run(task, **{name: values.arguments[name] for name in shared})

    del trained.__wrapped__  # where gin would look for the parameters
    trained.__signature__ = signature
    return trained


def run(
    describe: Callable[[], Task],
    *,
    run_dir: Path,
    seed: int,
    optimizer: Optimizer,
    loop: LoopSettings,
    step: StepSettings,
    batch_size: int,
    mesh: str = "batch:1",
    device_type: str | None = None,
    mode: str = "train",
    resume: bool = False,
    init_from: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Trains, evaluates or shows samples; returns the summary, printed by process 0.

    describe: returns the task; it is called after the checks of the other arguments.
    batch_size: examples of all devices and processes together.
    mesh: its dimensions and their sizes, such as "batch:4,model:2".
    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.
    mode: "train"; "evaluate" computes metrics on held-out examples, and "sample" writes
      what evaluation shows, both with the weights of `init_from`.
    resume: continues from the latest checkpoint in `run_dir`.
    init_from: a run folder or a checkpoint, whose weights a new run starts from.
    dry_run: checks all arguments, and returns {} without a run.

    Writes checkpoints/, best/, metrics.jsonl, media/, TensorBoard events and
    summary.json to `run_dir`.

    Raises ValueError for what the machine, the model or the data cannot do, before any
    work, and what `training.loop.train` raises.
    """
    check_instance("optimizer", optimizer, Optimizer)
    check_instance("step", step, StepSettings)
    check_instance("loop", loop, LoopSettings)
    topology = parse(mesh)
    check_batch_size(batch_size, topology, step.num_microbatches)
    _check_mode(mode, resume, init_from)
    task = describe()
    if mode == "evaluate" and not task.num_held_out:
        raise ValueError("num_held_out: given 0, wanted some to evaluate")
    if mode == "sample" and not task.num_shown:
        raise ValueError("num_samples: given none to show, wanted 1 or more")
    share = batch_size // processes.current().count
    check_memory("batch_size", share, 4 * task.model.dims_per_example)
    where = {"device_type": device_type, "placement": task.placement}
    check_engine(task.model, topology, step, **where)
    path = None
    if resume:
        saved = checkpoints.checkpoints_of(
            run_dir, task.model, optimizer, step, task.data, seed
        )
        path = checkpoints.resumable(saved, loop.num_steps)
    if path is None and init_from is not None:
        ema = step.ema_decay is not None
        checkpoints.check_init_from(task.model, init_from, ema=ema)
    if dry_run:
        return {}
    model, num_traces = count_traces(task.model)
    engine = make_engine(model, optimizer, topology, step, **where)
    summary = {**task.summary, "topology": str(engine.topology)}
    writes = processes.current().index == 0
    show = None
    if writes:
        summary |= task.reference_bits() if mode != "sample" else {}
        show = task.make_show()
        print(_headline(task, engine), flush=True)
    with metric_writer(run_dir) if writes else contextlib.nullcontext() as write_event:
        if mode == "train":
            summary |= train(
                engine,
                task.data,
                run_dir=run_dir,
                seed=seed,
                settings=loop,
                write_event=write_event,
                resume=resume,
                init_from=init_from,
                num_traces=num_traces,
                show=show,
            )
        else:
            assert init_from is not None  # by _check_mode
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


def _check_mode(mode: str, resume: bool, init_from: str | None) -> None:
    check_choice("mode", mode, MODES)
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
        values |= evaluate.held_out_metrics(
            engine, task.data, seed, step=step, folder=None
        )
    elif write_event is not None:
        values = evaluate.shown(engine, show)
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
