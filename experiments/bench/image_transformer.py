"""The Image Transformer's training and sampling, timed beside other systems.

Training: the same model in other systems, from the same weights, on the same images.  A
system whose losses differ from ours gets no ratio.  Sampling: the cached sampler on
small and large images, and the naive one, which computes all outputs anew for each
position.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import harness, step_benchmark
from experiments.records import record
from experiments.report import page

WORKER = "experiments.bench.image_transformer_worker"


class System(NamedTuple):
    """One way to train the model."""

    module: str  # of experiments.baselines; "": ours
    variant: dict[str, Any] = {}  # keywords of its `prepare`


SYSTEMS = {
    step_benchmark.OURS: System(""),
    "handwritten_tf": System("image_transformer.handwritten_tf"),
    "handwritten_tf_kernels": System("image_transformer.handwritten_tf_kernels"),
    "keras": System("image_transformer.keras", {"jit_compile": False}),
    "keras_xla": System("image_transformer.keras", {"jit_compile": True}),
    "flax": System("image_transformer.flax"),
}
PHASES = ("training", "sampling")
SAMPLING_KEYS = (
    "sizes",
    "batch_sizes",
    "min_seconds",
    "min_calls",
    "positions_per_call",
    "naive_positions",
)

Configs = Mapping[str, Mapping[str, Any]]


def measure_image_transformer(
    *,
    run_dir: Path,
    seed: int,
    training: Configs,
    sampling: Configs,
    num_rounds: int,
    out: str,
    phases: Sequence[str] = PHASES,
    timeout_seconds: float = 600.0,
) -> Path:
    """Measures training and sampling; appends the records and renders their page.

    training: by the name of a model, its `sizes` (fields of `image_transformer.Sizes`),
      `batch_size`, `systems` (of SYSTEMS, ours first), and for at least how long and
      how often a system repeats its step in a round: `min_seconds` and `min_calls`.
    sampling: by the name of a model, its `sizes`; `batch_sizes`, each of so many images
      drawn at once; `min_seconds` and `min_calls` of `positions_per_call` positions
      each; and `naive_positions`, at how many positions the naive sampler is timed.
    out: the folder of records/ and tables/, from the repository's root.
    phases: which of PHASES.
    timeout_seconds: of one system in one round.

    Returns the table's path.  Raises ValueError, before anything runs, for arguments of
    which no benchmark can be made; CheckFailed when a system failed or its losses
    differ from ours.
    """
    harness.check_run(num_rounds, out, timeout_seconds)
    harness.check_some_of("phases", phases, PHASES)
    _check_models(training, sampling)
    bench = harness.start(
        "image_transformer",
        WORKER,
        run_dir=run_dir,
        seed=seed,
        timeout_seconds=timeout_seconds,
    )
    jobs = {"probe": step_benchmark.probe_job(bench)}
    if "training" in phases:
        for name, config in training.items():
            jobs |= step_benchmark.training_jobs(
                bench,
                name,
                config,
                task={"mode": "train"},
                problem={},
                systems={s: SYSTEMS[s]._asdict() for s in config["systems"]},
            )
    if "sampling" in phases:
        for name, config in sampling.items():
            for batch_size in config["batch_sizes"]:
                jobs |= _sampling_jobs(bench, name, config, batch_size)
    records = harness.run_rounds(bench, jobs, num_rounds, figure)
    harness.finish(bench, records, page.render_image_transformer, out)
    return harness.REPO / out / "tables" / "image_transformer.md"


def _check_models(training: Configs, sampling: Configs) -> None:
    harness.check_dict("training", training)
    harness.check_dict("sampling", sampling)
    for name, config in training.items():
        where = f"training, {name}"
        step_benchmark.check_training(where, config, tuple(SYSTEMS))
        _count_positions(where, config["sizes"])
    for name, config in sampling.items():
        where = f"sampling, {name}"
        harness.check_keys(where, config, SAMPLING_KEYS)
        positions = _count_positions(where, config["sizes"])
        for key, least in (
            ("min_calls", 1),
            ("positions_per_call", 1),
            ("naive_positions", 0),
        ):
            harness.check_count(f"{where}: {key}", config[key], least)
        harness.check_seconds(f"{where}: min_seconds", config["min_seconds"])
        harness.check_counts(f"{where}: batch_sizes", config["batch_sizes"])
        if config["positions_per_call"] >= positions:
            raise ValueError(
                f"{where}: positions_per_call: given {config['positions_per_call']}, "
                f"wanted fewer than the {positions} of an image, because the first "
                "call is not timed"
            )


def _count_positions(where: str, values: Any) -> int:
    """The positions of an image of these sizes.

    Raises ValueError for sizes of which no model can be made.
    """
    # Imported here because it takes seconds: TensorFlow.
    from experiments.image_transformer import Sizes, network

    sizes = step_benchmark.make_sizes(f"{where}: sizes", Sizes, values)
    with harness.errors_with(where):
        network.check_sizes(sizes)
    rows, columns, _ = network.position_shape(sizes)
    return rows * columns


def _sampling_jobs(
    bench: harness.Benchmark, name: str, config: Mapping[str, Any], batch_size: int
) -> dict[str, harness.Job]:
    """The jobs of the cached sampler and, if it is timed, of the naive one."""
    sizes = dict(config["sizes"])
    timed = ("min_seconds", "min_calls", "positions_per_call")
    tasks = {"cached": {"mode": "sample"} | {key: config[key] for key in timed}}
    if config["naive_positions"]:
        tasks["naive"] = {"mode": "naive", "num_positions": config["naive_positions"]}

    def job(system: str, task: Mapping[str, Any]) -> harness.Job:
        return lambda number: step_benchmark.run_system(
            bench,
            number,
            system=system,
            task={"sizes": sizes, "batch": batch_size, **task},
            problem={"name": name, "sizes": sizes, "batch": batch_size},
        )

    systems = {
        f"{name}/{sampler}_{batch_size}": task for sampler, task in tasks.items()
    }
    return {system: job(system, task) for system, task in systems.items()}


def figure(one: record.Record) -> str:
    """The median time of a step, or the mean time of a position, in words."""
    if "positions" not in one.work:
        return step_benchmark.step_figure(one)
    seconds = sum(one.seconds["calls"]) / sum(one.work["positions"])
    return f"{1000 * seconds:9.3f} ms a position"
