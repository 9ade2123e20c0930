"""Training steps of several systems, compared: what the benchmarks of models share."""

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.bench import harness
from experiments.records import record

BITS_TOLERANCE = 1e-4  # bits/dim before the first update
LATER_TOLERANCE = 1e-3  # relative, of bits/dim after updates
LEARNING_RATE = 1e-4  # of plain Adam
OURS = "ours"
PROBE = "square matrix products, float32"
TRAINING_KEYS = ("sizes", "batch_size", "systems", "min_seconds", "min_calls")


def probe_job(bench: harness.Benchmark) -> harness.Job:
    """A job that measures the peak of matrix products, which MFU is relative to."""

    def probe(number: int) -> record.Record:
        return run_system(
            bench,
            number,
            system="probe",
            task={"mode": "probe"},
            problem={"name": PROBE},
        )

    return probe


def training_jobs(
    bench: harness.Benchmark,
    name: str,
    config: Mapping[str, Any],
    *,
    task: Mapping[str, Any],
    problem: Mapping[str, Any],
    systems: Mapping[str, Mapping[str, Any]],
) -> dict[str, harness.Job]:
    """A job for each system that trains a model, ours first.

    config: of the model, with TRAINING_KEYS.
    task, problem: of all systems, in the task's file and in the record.
    systems: by name, what a system's own task has besides.

    The losses of ours in the first round are those that all others must have.
    """
    reference: list[float] = []

    def job(system: str) -> harness.Job:
        def train(number: int) -> record.Record:
            one = run_system(
                bench,
                number,
                system=f"{name}/{system}",
                task={
                    **task,
                    "sizes": dict(config["sizes"]),
                    "batch": config["batch_size"],
                    "learning_rate": LEARNING_RATE,
                    "min_seconds": config["min_seconds"],
                    "min_calls": config["min_calls"],
                    **systems[system],
                },
                problem={
                    "name": name,
                    "sizes": dict(config["sizes"]),
                    "batch": config["batch_size"],
                    **problem,
                },
            )
            if one.status == "ok":
                bits = one.check["bits_per_dim"]
                if system == OURS and not reference:
                    reference.extend(bits)
                one.check.update(compare_bits(bits, reference))
            return one

        return train

    return {f"{name}/{system}": job(system) for system in systems}


def run_system(
    bench: harness.Benchmark,
    number: int,
    *,
    system: str,
    task: Mapping[str, Any],
    problem: Mapping[str, Any],
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
        number=number,
        problem={**problem, **model},
        settings={key: value for key, value in task.items() if key != "sizes"},
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


def step_figure(one: record.Record) -> str:
    """The median time of a step, or the peak of matrix products, in words."""
    if "matmul_flops_per_second" in one.work:
        return f"{one.work['matmul_flops_per_second'] / 1e9:9.1f} GFLOP/s"
    return f"{1000 * statistics.median(one.seconds['calls']):9.1f} ms a step"


def check_training(
    name: str, config: Any, known: Sequence[str], optional: Sequence[str] = ()
) -> None:
    """Raises ValueError for wrong values of a model's config, its sizes apart.

    known: the systems there are.
    optional: more keys that it must have.
    """
    harness.check_keys(name, config, (*TRAINING_KEYS, *optional))
    harness.check_count(f"{name}: batch_size", config["batch_size"])
    harness.check_count(f"{name}: min_calls", config["min_calls"])
    harness.check_seconds(f"{name}: min_seconds", config["min_seconds"])
    harness.check_some_of(f"{name}: systems", config["systems"], known)
    if config["systems"][0] != OURS:
        raise ValueError(
            f"{name}: systems: given {list(config['systems'])}, wanted {OURS!r} first, "
            "because the losses of the others are compared with its"
        )


def make_sizes(name: str, sizes: Any, values: Any) -> Any:
    """The NamedTuple `sizes` of a config's values.

    Raises ValueError, with the name, for unknown keys and missing ones.
    """
    defaults = sizes._field_defaults
    required = [field for field in sizes._fields if field not in defaults]
    harness.check_keys(name, values, required, tuple(defaults))
    return sizes(**values)
