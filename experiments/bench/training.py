"""Models' training steps, and the Image Transformer's sampler, timed.

Training: the same model in other systems, from the same weights, on the same examples
and with the same random numbers.  A system whose losses differ from ours gets no ratio.
The audio VAE also trains with each core of its virtual topology on a logical device.
Sampling: the cached sampler on small and large images, and the naive one, which
computes all outputs anew for each position.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.bench import harness, models
from experiments.image_transformer import network
from experiments.records import record
from experiments.report import page
from experiments.training.checks import check_count

BITS_TOLERANCE = 1e-4  # bits/dim before the first update
LATER_TOLERANCE = 1e-3  # relative, of bits/dim after updates
LEARNING_RATE = 1e-4  # of plain Adam
WORKER = "training_worker"
OURS, CORES = "ours", "ours_cores"
PHASES = ("training", "sampling")
MODES = {"image_transformer": "train", "vq_vae": "images", "audio_vae": "audio"}

# Ways to train, by the subject: the module of experiments.baselines ("": ours), and
# keywords of its `prepare`.
_HANDWRITTEN = "image_transformer.handwritten_tf"
_KERAS = "image_transformer.keras"
SYSTEMS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "image_transformer": {
        OURS: ("", {}),
        "handwritten_tf": (_HANDWRITTEN, {}),
        "handwritten_tf_kernels": (f"{_HANDWRITTEN}_kernels", {}),
        "keras": (_KERAS, {"jit_compile": False}),
        "keras_xla": (_KERAS, {"jit_compile": True}),
        "flax": ("image_transformer.flax", {}),
    },
    "vq_vae": {
        OURS: ("", {}),
        "handwritten_tf": ("vae.vq_vae_tf", {}),
        "flax": ("vae.vq_vae_flax", {}),
    },
    "audio_vae": {
        OURS: ("", {}),
        CORES: ("", {}),
        "handwritten_tf": ("vae.audio_vae_tf", {}),
    },
}
CHECKS = {  # of a model's config
    "sizes": harness.check_dict,
    "batch_size": check_count,
    "min_seconds": harness.check_seconds,
    "min_calls": check_count,
}
SAMPLING_CHECKS = {
    "sizes": harness.check_dict,
    "batch_sizes": harness.check_counts,
    "min_seconds": harness.check_seconds,
    "min_calls": check_count,
    "positions_per_call": check_count,
    "naive_positions": functools.partial(check_count, minimum=0),
}

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
    phases: which of PHASES.
    num_rounds, out, timeout_seconds: see `harness.Benchmark`.

    Returns the table's path.  Raises ValueError, before anything runs, for arguments of
    which no benchmark can be made; CheckFailed when a system failed or its losses
    differ from ours.
    """
    bench = harness.start(
        "image_transformer", WORKER, run_dir, seed, num_rounds, out, timeout_seconds
    )
    harness.check_some_of("phases", phases, PHASES)
    trained = _training_jobs(bench, "training", "image_transformer", training)
    sampled = _sampling_jobs(bench, sampling)
    jobs = trained if "training" in phases else {}
    return _run(bench, jobs | (sampled if "sampling" in phases else {}))


def measure_vae(
    *,
    run_dir: Path,
    seed: int,
    images: Configs,
    audio: Configs,
    num_rounds: int,
    out: str,
    timeout_seconds: float = 600.0,
) -> Path:
    """Measures the autoencoders' training; appends the records and renders their page.

    images: as `training` of `measure_image_transformer`, with `sizes` of `vq_vae.Sizes`
      and a `codebook`, fields of `vq_vae.Codebook`.
    audio: likewise, with `sizes` of `audio_vae.Sizes`.

    The other arguments, what it returns and raises: as there.
    """
    bench = harness.start(
        "vae", WORKER, run_dir, seed, num_rounds, out, timeout_seconds
    )
    jobs = _training_jobs(bench, "images", "vq_vae", images)
    jobs |= _training_jobs(bench, "audio", "audio_vae", audio)
    names = [*images, *audio]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"images, audio: given {names}, wanted one or more, none twice"
        )
    return _run(bench, jobs)


def _run(bench: harness.Benchmark, jobs: Mapping[str, harness.Job]) -> Path:
    """Runs the jobs, and first in each round measures the peak that MFU needs."""
    problem = {"name": "square matrix products, float32"}
    probe = functools.partial(_run_system, bench, "probe", {"mode": "probe"}, problem)
    records = harness.run_rounds(bench, {"probe": probe, **jobs})
    tables = harness.finish(bench, records, getattr(page, f"render_{bench.experiment}"))
    return tables / f"{bench.experiment}.md"


def _training_jobs(
    bench: harness.Benchmark, argument: str, subject: str, configs: Configs
) -> dict[str, harness.Job]:
    """A job for each model and each system that trains it.

    Raises ValueError for a config of which no model can be made.
    """
    harness.check_dict(argument, configs)
    known, maker = SYSTEMS[subject], models.SUBJECTS[subject]
    checks = CHECKS | {"systems": functools.partial(harness.check_some_of, known=known)}
    if subject == "vq_vae":
        checks["codebook"] = harness.check_dict
    jobs = {}
    for name, config in configs.items():
        where = f"{argument}, {name}"
        harness.check_fields(where, config, checks)
        if config["systems"][0] != OURS:
            raise ValueError(
                f"{where}: systems: given {list(config['systems'])}, wanted {OURS!r} "
                "first, because the losses of the others are compared with its"
            )
        parts = {key: config[key] for key in ("sizes", "codebook") if key in config}
        options = {option: v for part in parts.values() for option, v in part.items()}
        with harness.errors_with(where):
            maker.make(options)
        sizes, *_ = maker.read(options)
        problem = {"name": name, "batch": config["batch_size"], **parts}
        shared = {
            "mode": MODES[subject],
            "subject": subject,
            "options": options,
            "batch": config["batch_size"],
            "learning_rate": LEARNING_RATE,
            "min_seconds": config["min_seconds"],
            "min_calls": config["min_calls"],
        }
        reference: list[float] = []
        for system in config["systems"]:
            module, variant = known[system]
            mesh = f"core:{sizes.num_cores}" if system == CORES else "batch:1"
            task = shared | {"module": module, "variant": variant, "mesh": mesh}
            jobs[f"{name}/{system}"] = functools.partial(
                _train, bench, f"{name}/{system}", task, problem, reference
            )
    return jobs


def _train(
    bench: harness.Benchmark,
    system: str,
    task: Mapping[str, Any],
    problem: Mapping[str, Any],
    reference: list[float],
    number: int,
) -> record.Record:
    """Times a system's training in a round.

    reference: the losses of ours in the first round, which all others must have.
    """
    one = _run_system(bench, system, task, problem, number)
    if one.status == "ok":
        bits = one.check["bits_per_dim"]
        if system.endswith(f"/{OURS}") and not reference:
            reference.extend(bits)
        one.check.update(compare_bits(bits, reference))
    return one


def _sampling_jobs(
    bench: harness.Benchmark, configs: Configs
) -> dict[str, harness.Job]:
    """The jobs of the cached sampler and, where it is timed, of the naive one.

    Raises ValueError for a config of which no model can be made.
    """
    harness.check_dict("sampling", configs)
    maker = models.SUBJECTS["image_transformer"]
    jobs = {}
    for name, config in configs.items():
        where = f"sampling, {name}"
        harness.check_fields(where, config, SAMPLING_CHECKS)
        options = dict(config["sizes"])
        with harness.errors_with(where):
            maker.make(options)
        rows, columns, _ = network.position_shape(*maker.read(options))
        positions = rows * columns
        if config["positions_per_call"] >= positions:
            raise ValueError(
                f"{where}: positions_per_call: given {config['positions_per_call']}, "
                f"wanted fewer than the {positions} of an image, because the first "
                "call is not timed"
            )
        timed = ("min_seconds", "min_calls", "positions_per_call")
        tasks = {"cached": {"mode": "sample"} | {key: config[key] for key in timed}}
        if config["naive_positions"]:
            num = config["naive_positions"]
            tasks["naive"] = {"mode": "naive", "num_positions": num}
        for batch in config["batch_sizes"]:
            problem = {"name": name, "batch": batch, "sizes": options}
            for sampler, task in tasks.items():
                system = f"{name}/{sampler}_{batch}"
                task = {"options": options, "batch": batch, **task}
                jobs[system] = functools.partial(
                    _run_system, bench, system, task, problem
                )
    return jobs


def _run_system(
    bench: harness.Benchmark,
    system: str,
    task: Mapping[str, Any],
    problem: Mapping[str, Any],
    number: int,
) -> record.Record:
    """Runs a task in one process with a thread for each core; returns its record."""
    cores = len(os.sched_getaffinity(0))
    task = {**task, "seed": bench.seed}
    label = f"round{number}-{system.replace('/', '-')}"
    (result,) = harness.run_tasks(bench, label, [task], threads=cores)
    check = {"passed": result["status"] == "ok"}
    if "bits_per_dim" in result:
        check["bits_per_dim"] = result["bits_per_dim"]
    model = {key: result[key] for key in ("model", "source") if key in result}
    return harness.make_record(
        bench,
        result,
        system=system,
        round=number,
        problem={**problem, **model},
        settings={key: value for key, value in task.items() if key != "options"},
        check=check,
        hardware={"threads": cores},
    )


def compare_bits(bits: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """The check of a system's bits/dim in its first steps against ours.

    Before any update they must agree to 1e-4.  After updates the rounding differs, and
    so does where Adam adds its epsilon; there they must agree to a relative 1e-3.
    """
    check: dict[str, Any] = {"bits_per_dim": list(bits), "tolerance": BITS_TOLERANCE}
    if not reference:
        return check | {"passed": False, "reason": "ours has no losses to compare with"}
    first = abs(bits[0] - reference[0])
    later = max(abs(a / b - 1) for a, b in zip(bits, reference, strict=True))
    check |= {"bits_error": first, "later_error": later}
    check["passed"] = first <= BITS_TOLERANCE and later <= LATER_TOLERANCE
    if not check["passed"]:
        check["reason"] = (
            f"its bits/dim differ from ours by {first:.1e} before the first update and "
            f"by a relative {later:.1e} after updates"
        )
    return check
