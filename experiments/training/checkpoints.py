"""A run's checkpoints: resume, start from another run, save the latest and the best."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.cluster import processes
from experiments.records import checkpoint, metrics
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model
from experiments.training.optimizers import Optimizer
from experiments.training.state import weight_name, weight_specs
from experiments.training.task import Data

# Training may go on with other LoopSettings, but not with others of these.
SETTINGS = ("optimizer", "clip_norm", "ema_decay", "compute_dtype")


class NotFinite(Exception):
    """Training met NaN or infinity; the text says at which step and in what."""


class Checkpoints(NamedTuple):
    """Where a run's checkpoints are, and the metadata that they carry."""

    run_dir: Path
    metadata: dict[str, Any]  # of the model, the data and the settings
    keep_last: int = 1
    keep_every: int | None = None

    @property
    def folder(self) -> Path:
        return self.run_dir / "checkpoints"

    @property
    def best_folder(self) -> Path:
        return self.run_dir / "best"


def checkpoints_of(
    run_dir: Path,
    model: Model,
    optimizer: Optimizer,
    step: StepSettings,
    data: Data,
    seed: int,
) -> Checkpoints:
    """The checkpoints of a run, which are resumed only with the same metadata."""
    metadata = {
        "model": model.name,
        "data": data.name,
        "seed": seed,
        "batch_size": data.batch_size,
        "optimizer": optimizer.name,
        "clip_norm": step.clip_norm,
        "ema_decay": step.ema_decay,
        "compute_dtype": step.compute_dtype,
    }
    return Checkpoints(run_dir, metadata)


def resumable(checkpoints: Checkpoints, num_steps: int) -> Path | None:
    """The checkpoint to continue from; None if the run has not trained.

    Raises ValueError for a run of other settings, of more than `num_steps`, and for one
    that has trained and whose checkpoints are gone; CheckpointError for another run's.
    """
    path = checkpoint.latest(checkpoints.folder)
    if path is None:
        log = checkpoints.run_dir / "metrics.jsonl"
        if log.exists() and any(event["step"] > 0 for event in metrics.read(log)):
            raise ValueError(
                f"resume: given {checkpoints.run_dir}, which has trained, wanted a "
                f"checkpoint in {checkpoints.folder}"
            )
        return None
    saved = checkpoint.summary(path, metadata=_fixed(checkpoints.metadata))
    for name in SETTINGS:
        current = checkpoints.metadata[name]
        stored = saved.metadata.get(name, current)  # older checkpoints do not say
        if stored != current:
            raise ValueError(
                f"resume: given {name} {current}, wanted {stored} as in {path}; "
                "init_from starts a new run from its weights"
            )
    if saved.step > num_steps:
        raise ValueError(
            f"num_steps: given {num_steps}, wanted at least the {saved.step} of {path}"
        )
    return path


def restore(engine: Engine, checkpoints: Checkpoints, path: Path) -> int:
    """Sets the engine to one of this run's checkpoints; returns its step."""
    saved = checkpoint.load(path, metadata=_fixed(checkpoints.metadata))
    try:
        engine.write_variables(saved.arrays)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{path} does not fit: {error}") from error
    return saved.step


def check_init_from(model: Model, place: str | Path, *, ema: bool) -> Path:
    """The checkpoint at `place`, which has all that `init_from` takes.

    place: a checkpoint, or the folder of a run, of which the latest is taken.
    ema: whether the run keeps averages of weights.

    Raises ValueError, which names the weight, for one that is missing or has another
    shape, and for a place without a checkpoint.
    """
    path = _checkpoint_at(Path(place))
    shapes = checkpoint.summary(path, metadata={}).shapes
    wrong = []
    for name, (stored, shape) in _loaded(model, shapes, ema=ema).items():
        if stored not in shapes:
            wrong.append(f"{name} is missing")
        elif shapes[stored] != shape:
            given, wanted = list(shapes[stored]), list(shape)
            wrong.append(f"{name}: given {given}, wanted {wanted}")
    if wrong:
        raise ValueError(f"init_from: {path}: {_listed(wrong, '; ')}")
    return path


def init_from(engine: Engine, place: str | Path) -> int:
    """Sets weights, averages and state to those of a checkpoint; returns its step.

    The optimizer's slots and the step stay as they are.  Raises what `check_init_from`
    does.
    """
    ema = engine.settings.ema_decay is not None
    saved = checkpoint.load(check_init_from(engine.model, place, ema=ema), metadata={})
    names = _loaded(engine.model, saved.arrays, ema=ema)
    arrays = {name: saved.arrays[stored] for name, (stored, _) in names.items()}
    engine.write_variables(engine.read_variables() | arrays)
    return saved.step


def save(engine: Engine, checkpoints: Checkpoints, step: int) -> None:
    """Saves the variables after `step` steps.

    Raises NotFinite, and saves nothing, if one is not finite.
    """
    arrays = engine.read_variables()
    if int(arrays["step"]) != step:
        raise RuntimeError(f"step: the engine has {arrays['step']}, wanted {step}")
    if names := not_finite(arrays):
        last = checkpoint.latest(checkpoints.folder)
        raise NotFinite(
            f"step {step}: {names} not finite, though loss and gradient were; "
            f"the last good checkpoint is {last}"
        )
    if processes.current().index == 0:
        checkpoint.save(
            checkpoints.folder,
            step,
            arrays,
            metadata=checkpoints.metadata,
            keep_last=checkpoints.keep_last,
            keep_every=checkpoints.keep_every,
        )


def best_loss(checkpoints: Checkpoints) -> float:
    """The held-out loss of the best checkpoint; infinity if there is none."""
    path = checkpoint.latest(checkpoints.best_folder)
    if path is None:
        return float("inf")
    return checkpoint.summary(path, metadata={}).metadata["held_out_loss"]


def save_best(engine: Engine, checkpoints: Checkpoints, step: int, loss: float) -> None:
    """Replaces the best checkpoint by the variables of now, of this held-out loss."""
    folder, arrays = checkpoints.best_folder, engine.read_variables()
    if processes.current().index == 0 and not (folder / f"step-{step:06d}").exists():
        metadata = {**checkpoints.metadata, "held_out_loss": loss}
        checkpoint.save(folder, step, arrays, metadata=metadata, keep_last=1)


def not_finite(arrays: Mapping[str, np.ndarray]) -> str:
    """The names of the arrays with NaN or infinity, and their verb; "" if none."""
    names = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if not names:
        return ""
    return f"{_listed(names, ', ')} {'is' if len(names) == 1 else 'are'}"


def _fixed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name not in SETTINGS}


def _checkpoint_at(place: Path) -> Path:
    """The checkpoint at `place`, or the latest of the run at `place`."""
    if (place / checkpoint.MANIFEST).exists():
        return place
    for folder in (place / "checkpoints", place):
        if (path := checkpoint.latest(folder)) is not None:
            return path
    raise ValueError(
        f"init_from: given {place}, wanted a checkpoint or the folder of a run with one"
    )


def _loaded(
    model: Model, stored: Container[str], *, ema: bool
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The stored name and the shape of each variable that `init_from` sets."""
    names = {}
    for name, spec in weight_specs(model, ema=ema).items():
        is_kept = name in stored or spec.collection != "ema"
        # An average that was not kept is the weight itself.
        names[name] = (name if is_kept else weight_name(spec.weight), spec.shape)
    return names


def _listed(names: Sequence[str], separator: str) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return separator.join(names[:5]) + more
