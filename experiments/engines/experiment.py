"""What every experiment that trains has in common: its arguments, checks and run."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.cluster import processes
from experiments.engines.selection import check_engine, make_engine
from experiments.training.checkpoints import (
    check_init_from,
    checkpoints_of,
    resumable,
)
from experiments.training.checks import check_instance, check_memory
from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings
from experiments.training.optimizers import Optimizer
from experiments.training.run import check_mode, run_task
from experiments.training.task import Task
from experiments.training.topology import parse
from experiments.training.train_step import check_batch_size


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
    def train(**arguments: Any) -> dict[str, Any]:
        values = signature.bind(**arguments)
        values.apply_defaults()
        task = functools.partial(
            describe, **{name: values.arguments[name] for name in own}
        )
        return run(task, **{name: values.arguments[name] for name in shared})

    del train.__wrapped__  # where gin would look for the parameters
    train.__signature__ = signature
    return train


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
    """Trains, evaluates or shows samples; returns the summary.

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
    check_mode(mode, resume, init_from)
    task = describe()
    share = batch_size // processes.current().count
    check_memory("batch_size", share, 4 * task.model.dims_per_example)
    check_engine(
        task.model,
        topology,
        step,
        device_type=device_type,
        placement=task.placement,
    )
    path = None
    if resume:
        saved = checkpoints_of(run_dir, task.model, optimizer, step, task.data, seed)
        path = resumable(saved, loop.num_steps)
    if path is None and init_from is not None:
        check_init_from(task.model, init_from, ema=step.ema_decay is not None)
    if dry_run:
        return {}
    return run_task(
        task,
        functools.partial(
            make_engine,
            optimizer=optimizer,
            topology=topology,
            settings=step,
            device_type=device_type,
            placement=task.placement,
        ),
        run_dir=run_dir,
        seed=seed,
        loop_settings=loop,
        mode=mode,
        resume=resume,
        init_from=init_from,
    )
