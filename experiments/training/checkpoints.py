"""A run's checkpoints: resume, start from another run, save the latest and the best."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.cluster import processes
from experiments.records import checkpoint, metrics
from experiments.training.engine import Engine
from experiments.training.state import LOADABLE, VariableSpec, variable_specs

# Training may go on with other LoopSettings, but not with others of these.
SETTINGS = ("optimizer", "clip_norm", "ema_decay", "compute_dtype")


class NotFinite(Exception):
    """Training met NaN or infinity; the text says at which step and in what."""


class Checkpoints(NamedTuple):
    """Where a run's checkpoints are, and the metadata that they carry."""

    run_dir: Path
    metadata: dict[str, Any]  # of the model, the data and the settings
    keep_last: int
    keep_every: int | None

    @property
    def folder(self) -> Path:
        return self.run_dir / "checkpoints"

    @property
    def best_folder(self) -> Path:
        return self.run_dir / "best"


def metadata_of(
    engine: Engine, data_name: str, batch_size: int, seed: int
) -> dict[str, Any]:
    """What a checkpoint says of its run; resuming compares it with the new run's."""
    return {
        "model": engine.model.name,
        "data": data_name,
        "seed": seed,
        "batch_size": batch_size,
        "optimizer": engine.optimizer.name,
        "clip_norm": engine.settings.clip_norm,
        "ema_decay": engine.settings.ema_decay,
        "compute_dtype": engine.settings.compute_dtype,
    }


def resume(engine: Engine, checkpoints: Checkpoints, num_steps: int) -> int | None:
    """Sets the engine to the latest checkpoint; returns its step, or None without one.

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
    saved = _load(path, checkpoints.metadata)
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
    _write(engine, saved.arrays, path)
    return saved.step


def restore(engine: Engine, checkpoints: Checkpoints, path: Path) -> int:
    """Sets the engine to one of this run's checkpoints; returns its step."""
    saved = _load(path, checkpoints.metadata)
    _write(engine, saved.arrays, path)
    return saved.step


def init_from(engine: Engine, place: str | Path) -> int:
    """Sets weights, averages and state to those of a checkpoint; returns its step.

    place: a checkpoint, or the folder of a run, of which the latest is taken.  The
      optimizer's slots and the step stay as they are.

    Raises ValueError, which names the weight, for one that is missing or has another
    shape, and for a place without a checkpoint.
    """
    path = checkpoint_path(Path(place))
    saved = checkpoint.load(path, metadata={})
    arrays = engine.read_variables()
    specs = variable_specs(
        engine.model, engine.optimizer, ema=engine.settings.ema_decay is not None
    )
    wrong = []
    for name, spec in specs.items():
        if spec.collection not in LOADABLE:
            continue
        array = _stored(saved.arrays, name, spec)
        if array is None:
            wrong.append(f"{name} is missing")
        elif array.shape != spec.shape:
            given, wanted = list(array.shape), list(spec.shape)
            wrong.append(f"{name}: given {given}, wanted {wanted}")
        else:
            arrays[name] = array
    if wrong:
        raise ValueError(f"init_from: {path}: {_listed(wrong, '; ')}")
    engine.write_variables(arrays)
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
    return checkpoint.load(path, metadata={}).metadata["held_out_loss"]


def save_best(engine: Engine, checkpoints: Checkpoints, step: int, loss: float) -> None:
    """Replaces the best checkpoint by the variables of now, of this held-out loss."""
    final = checkpoints.best_folder / f"step-{step:06d}"
    arrays = engine.read_variables()
    if processes.current().index == 0 and not final.exists():
        checkpoint.save(
            checkpoints.best_folder,
            step,
            arrays,
            metadata={**checkpoints.metadata, "held_out_loss": loss},
            keep_last=1,
        )


def not_finite(arrays: Mapping[str, np.ndarray]) -> str:
    """The names of the arrays with NaN or infinity, and their verb; "" if none."""
    names = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if not names:
        return ""
    return f"{_listed(names, ', ')} {'is' if len(names) == 1 else 'are'}"


def _load(path: Path, metadata: Mapping[str, Any]) -> checkpoint.Checkpoint:
    fixed = {name: v for name, v in metadata.items() if name not in SETTINGS}
    return checkpoint.load(path, metadata=fixed)


def _write(engine: Engine, arrays: Mapping[str, np.ndarray], path: Path) -> None:
    try:
        engine.write_variables(arrays)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{path} does not fit: {error}") from error


def checkpoint_path(place: Path) -> Path:
    """The checkpoint at `place`, or the latest of the run at `place`.

    Raises ValueError if there is none.
    """
    if (place / checkpoint.MANIFEST).exists():
        return place
    for folder in (place / "checkpoints", place):
        if (path := checkpoint.latest(folder)) is not None:
            return path
    raise ValueError(
        f"init_from: given {place}, wanted a checkpoint or the folder of a run with one"
    )


def _stored(
    arrays: Mapping[str, np.ndarray], name: str, spec: VariableSpec
) -> np.ndarray | None:
    """The array of that name; an average that was not kept is the weight itself."""
    if name not in arrays and spec.collection == "ema":
        return arrays.get(f"weights/{spec.weight}")
    return arrays.get(name)


def _listed(names: Sequence[str], separator: str) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return separator.join(names[:5]) + more
