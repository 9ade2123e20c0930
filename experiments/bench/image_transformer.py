"""The Image Transformer's training and sampling, timed beside others'.

Training: the same model in other systems, from the same weights, on the same images;
systems take turns, each turn a fresh process.  A system whose first loss is not ours
gets no ratio.  Sampling: the cached sampler on small and large images, and the naive
one, which computes everything anew for each position.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import step_benchmark, subprocesses
from experiments.records import record
from experiments.report import page

REPO = Path(__file__).resolve().parents[2]
EXPERIMENT = "image_transformer"
WORKER = "experiments.bench.image_transformer_worker"
RATE = 1e-4  # of plain Adam
OURS = "ours"


class System(NamedTuple):
    """One way to train the model."""

    module: str  # of experiments.baselines; "": ours
    variant: dict[str, Any] = {}  # keywords of its `prepare`


SYSTEMS = {
    OURS: System(""),
    "handwritten_tf": System("image_transformer.handwritten_tf"),
    "handwritten_tf_kernels": System("image_transformer.handwritten_tf_kernels"),
    "keras": System("image_transformer.keras", {"jit_compile": False}),
    "keras_xla": System("image_transformer.keras", {"jit_compile": True}),
    "flax": System("image_transformer.flax"),
}
PHASES = ("training", "sampling")
TRAINING_KEYS = ("sizes", "batch_size", "systems", "min_seconds", "min_calls")
SAMPLING_KEYS = (
    "sizes",
    "batch_sizes",
    "min_seconds",
    "min_calls",
    "positions_per_call",
    "naive_positions",
)


def measure_image_transformer(
    *,
    run_dir: Path,
    seed: int,
    training: Mapping[str, Mapping[str, Any]],
    sampling: Mapping[str, Mapping[str, Any]],
    num_rounds: int,
    out: str,
    phases: Sequence[str] = PHASES,
    timeout_seconds: float = 600.0,
) -> Path:
    """Measures training and sampling; appends the records and renders what they say.

    training: by name, a problem's `sizes` (fields of `image_transformer.Sizes`),
      `batch_size`, `systems` (of SYSTEMS), `min_seconds` and `min_calls` of a turn.
    sampling: by name, an image's `sizes`, the `batch_sizes` drawn at once,
      `min_seconds`, `min_calls` and `positions_per_call` of a turn, and
      `naive_positions`: at how many positions the naive sampler is timed, 0 for none.
    out: folder of records/, tables/ and plots/, from the repository's root.
    phases: which of PHASES.

    Returns the table's path.  Raises ValueError, before anything runs, for unknown
    systems, phases and keys, and sizes of which no model can be made; CheckFailed when
    a turn of ours failed, or another's first loss is not ours.
    """
    _check_arguments(training, sampling, phases, num_rounds)
    known = step_benchmark.origin_of(
        json.loads((run_dir / "provenance.json").read_text())
    )
    bench = step_benchmark.Bench(
        EXPERIMENT, WORKER, run_dir, seed, timeout_seconds, known
    )

    kept: list[record.Record] = []
    first_bits: dict[str, list[float]] = {}
    out_of_race: set[str] = set()
    for number in range(1, num_rounds + 1):
        kept.append(step_benchmark.probe(bench, number))
        if "training" in phases:
            for name, given in training.items():
                for system in given["systems"]:
                    if f"{name}/{system}" in out_of_race:
                        continue
                    made = _train(bench, number, name, given, system, first_bits)
                    if made.status != "ok":
                        out_of_race.add(f"{name}/{system}")
                    step_benchmark.keep(bench, kept, made, _said(made, num_rounds))
        if "sampling" in phases:
            for name, given in sampling.items():
                for batch in given["batch_sizes"]:
                    for sampler in ("cached", "naive"):
                        if sampler == "cached" or given["naive_positions"]:
                            made = _sample(bench, number, name, given, batch, sampler)
                            step_benchmark.keep(
                                bench, kept, made, _said(made, num_rounds)
                            )
    step_benchmark.finish(kept, page.render_image_transformer, out)
    return REPO / out / "tables" / "image_transformer.md"


def _check_arguments(
    training: Mapping[str, Mapping[str, Any]],
    sampling: Mapping[str, Mapping[str, Any]],
    phases: Sequence[str],
    num_rounds: int,
) -> None:
    for name, given in training.items():
        subprocesses.check_keys(f"training, {name}", given, TRAINING_KEYS)
        _check_sizes(f"training, {name}", given["sizes"])
        counts = {"batch_size": 1, "min_calls": 1, "min_seconds": 0}
        step_benchmark.check_least(f"training, {name}", given, counts)
    for name, given in sampling.items():
        subprocesses.check_keys(f"sampling, {name}", given, SAMPLING_KEYS)
        positions = _check_sizes(f"sampling, {name}", given["sizes"])
        counts = {"positions_per_call": 1, "min_calls": 1, "min_seconds": 0}
        step_benchmark.check_least(
            f"sampling, {name}", given, counts | {"naive_positions": 0}
        )
        if not given["batch_sizes"] or min(given["batch_sizes"]) < 1:
            raise ValueError(
                f"sampling, {name}: batch_sizes: given {given['batch_sizes']}, wanted "
                "some, of 1 image or more"
            )
        if given["positions_per_call"] >= positions:
            raise ValueError(
                f"sampling, {name}: positions_per_call: given "
                f"{given['positions_per_call']}, wanted fewer than the {positions} of "
                "an image, for the first call is not timed"
            )
    named = {system for given in training.values() for system in given["systems"]}
    unknown = sorted(named - set(SYSTEMS)) + sorted(set(phases) - set(PHASES))
    if unknown or not phases or num_rounds < 1:
        raise ValueError(
            f"measure_image_transformer: given {unknown}, phases {list(phases)} and "
            f"{num_rounds} rounds, wanted systems of {list(SYSTEMS)}, some of "
            f"{PHASES} and at least 1"
        )
    for name, given in training.items():
        if list(given["systems"])[:1] != [OURS]:
            raise ValueError(
                f"{name}: systems: given {list(given['systems'])}, wanted {OURS!r} "
                "first, whose first loss the others are held against"
            )


def _check_sizes(what: str, given: Mapping[str, Any]) -> int:
    """The positions of an image of these sizes.

    Raises ValueError for sizes of which no model can be made.
    """
    from experiments.image_transformer import Sizes, network  # TensorFlow: seconds

    wanted = [name for name in Sizes._fields if name not in Sizes._field_defaults]
    subprocesses.check_keys(
        f"{what}: sizes", given, wanted, tuple(Sizes._field_defaults)
    )
    sizes = Sizes(**given)
    try:
        network.check_sizes(sizes)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    rows, columns, _ = network.position_shape(sizes)
    return rows * columns


def _train(
    bench: step_benchmark.Bench,
    number: int,
    name: str,
    given: Mapping[str, Any],
    system: str,
    first_bits: dict[str, list[float]],
) -> record.Record:
    """One system's steps, its losses held against ours."""
    task = {
        "mode": "train",
        "sizes": dict(given["sizes"]),
        "batch": given["batch_size"],
        "rate": RATE,
        "min_seconds": given["min_seconds"],
        "min_calls": given["min_calls"],
        **SYSTEMS[system]._asdict(),
    }
    made = step_benchmark.turn(
        bench,
        number,
        system=f"{name}/{system}",
        task=task,
        problem={
            "name": name,
            "sizes": dict(given["sizes"]),
            "batch": given["batch_size"],
        },
    )
    if made.status == "ok":
        step_benchmark.hold(made, first_bits, is_ours=system == OURS)
    return made


def _sample(
    bench: step_benchmark.Bench,
    number: int,
    name: str,
    given: Mapping[str, Any],
    batch: int,
    sampler: str,
) -> record.Record:
    task = {"sizes": dict(given["sizes"]), "batch": batch}
    if sampler == "naive":
        task |= {"mode": "naive", "num_positions": given["naive_positions"]}
    else:
        names = ("min_seconds", "min_calls", "positions_per_call")
        task |= {"mode": "sample"} | {key: given[key] for key in names}
    return step_benchmark.turn(
        bench,
        number,
        system=f"{name}/{sampler}_{batch}",
        task=task,
        problem={"name": name, "sizes": dict(given["sizes"]), "batch": batch},
    )


def _said(made: record.Record, num_rounds: int) -> str:
    return f"round {made.round}/{num_rounds}  {_told(made)}"


def _told(made: record.Record) -> str:
    return step_benchmark.told(
        made, step_benchmark.a_step if "examples" in made.work else _a_position
    )


def _a_position(made: record.Record) -> str:
    seconds = sum(made.seconds["calls"]) / sum(made.work["positions"])
    return f"{1000 * seconds:9.3f} ms a position"
