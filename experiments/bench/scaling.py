"""How training scales over devices: measured here, counted, and projected.

Measured: real steps on this machine's cores, one thread a device, in fresh processes
that are pinned to their cores.  Counted: bytes and operations of the same programs on
meshes of logical devices, never their time.  Projected: `experiments.bench.projection`,
from what was measured and counted, and from the paper's own figures of one chip.
"""

import functools
import json
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import harness, projection
from experiments.bench.models import SUBJECTS as MAKERS
from experiments.records import record
from experiments.report import page
from experiments.training import topology
from experiments.training.checks import check_count, check_number

PAPER = harness.REPO / "results" / "paper_scaling.json"
PHASES = ("measured", "counted", "projected")
LOSS_TOLERANCE = 1e-4  # relative, between a step on one device and on several
SYNTHETIC = "synthetic data, made from the seed"
CROPS = "natural-image crops, of photographs in scikit-learn and scikit-image"
CHECKS = {  # of a model's config
    "options": harness.check_dict,
    "batch_per_device": check_count,
    "counted_topologies": lambda name, value: None,  # when they are parsed
    "counted_batch_per_shard": check_count,
    "counted_options": harness.check_dict,
}
COUNTED = ("counted_topologies", "counted_batch_per_shard")

Configs = Mapping[str, Mapping[str, Any]]


class Subject(NamedTuple):
    """What a table says of a model of `models.SUBJECTS`."""

    label: str
    source: str  # of the examples
    paper: str  # the paper's model that it is, or is a toy model of


SUBJECTS = {
    "transformer": Subject(
        "transformer (toy model)",
        SYNTHETIC,
        "image_transformer",
    ),
    "vq_vae": Subject("VQ-VAE", CROPS, "vq_vae"),
    "image_transformer": Subject("Image Transformer", CROPS, "image_transformer"),
}


class Case(NamedTuple):
    """One way to train on a global batch on some cores."""

    case: str  # "one_device" | "one_process" | "processes" | "independent"
    devices: int
    processes: int
    batch: int  # of all devices together
    scaling: tuple[str, ...]  # "weak", "strong" or both: the curves it is a point of


def measure_scaling(
    *,
    run_dir: Path,
    seed: int,
    models: Configs,
    num_rounds: int,
    min_seconds: float,
    out: str,
    phases: Sequence[str] = PHASES,
    device_counts: Sequence[int] | None = None,
    timeout_seconds: float = 900.0,
) -> Path:
    """Measures, counts and projects; appends the records and renders their page.

    models: for each of SUBJECTS that takes part, its `options`, `batch_per_device`, and
      what is counted on logical devices: `counted_topologies`, `counted_options`
      (over `options`) and `counted_batch_per_shard`.
    min_seconds: for how long a case repeats its step in a round.
    phases: which of PHASES; for the others the page has their newest records.
    device_counts: None for 1, 2, 4 and so on, up to the cores.
    num_rounds, out, timeout_seconds: see `harness.Benchmark`.

    Returns the table's path.  Raises ValueError, before anything runs, for arguments of
    which no benchmark can be made; CheckFailed when a case failed or its losses differ
    from those of one device.
    """
    cores = sorted(os.sched_getaffinity(0))
    bench = harness.start(
        "scaling", "scaling_worker", run_dir, seed, num_rounds, out, timeout_seconds
    )
    check_number("min_seconds", min_seconds, above=0)
    harness.check_some_of("phases", phases, PHASES)
    _check_models(models, counted="counted" in phases)
    if device_counts is None:
        device_counts = [2**i for i in range(len(cores).bit_length())]
    harness.check_counts("device_counts", device_counts)
    if min(device_counts) != 1 or max(device_counts) > len(cores):
        raise ValueError(
            f"device_counts: given {list(device_counts)}, wanted 1 and others up to "
            f"the {len(cores)} cores of this machine: a device is a core here"
        )
    records: list[record.Record] = []
    if "counted" in phases:
        jobs = {}
        for name, config in models.items():
            jobs |= _counted_jobs(bench, name, config)
        records += harness.run_rounds(bench, jobs, 1)
    if "measured" in phases:
        probe = functools.partial(_probe, bench, cores[0], min_seconds / 2)
        jobs = {"probe": probe}
        for name, config in models.items():
            cases = make_cases(device_counts, config["batch_per_device"])
            jobs |= _measured_jobs(bench, name, config, cases, cores, min_seconds)
        records += harness.run_rounds(bench, jobs)
    if "projected" in phases:
        path = harness.REPO / out / "records" / "scaling.jsonl"
        earlier = record.read(path) if path.is_file() else []
        records += projection.project(
            bench,
            {name: _problem(name, models[name]["options"]) for name in models},
            json.loads(PAPER.read_text(encoding="utf-8")),
            {SUBJECTS[name].paper for name in models},
            [*earlier, *records],
        )
    tables = harness.finish(
        bench,
        records,
        page.render_scaling,
        fails=lambda one: one.status == "failed" or not one.check.get("passed"),
    )
    return tables / "scaling.md"


def _check_models(models: Any, *, counted: bool) -> None:
    harness.check_dict("models", models)
    harness.check_some_of("models", list(models), SUBJECTS)
    optional = ("counted_options", *(() if counted else COUNTED))
    for name, config in models.items():
        harness.check_fields(name, config, CHECKS, optional)
        with harness.errors_with(name):
            for changes in ({}, config.get("counted_options", {})):
                MAKERS[name].make({**config["options"], **changes})
            for text in config.get("counted_topologies", ()):
                topology.parse(text)


def make_cases(counts: Sequence[int], batch_per_device: int) -> list[Case]:
    """Every case of a round: weak scaling, strong scaling, and independent processes.

    Strong scaling divides the batch that weak scaling has on the most devices.  There
    the two have their cases in common.  Independent processes, which reduce nothing,
    bound the rate from above.
    """
    most = max(counts)
    whole = most * batch_per_device
    cases = []
    for devices in sorted(counts):
        batches = {devices * batch_per_device: ["weak"]}
        if most > 1 and whole % devices == 0:
            batches.setdefault(whole, []).append("strong")
        for batch, scaling in batches.items():
            if devices == 1:
                cases.append(Case("one_device", 1, 1, batch, tuple(scaling)))
                continue
            for name, processes in (("one_process", 1), ("processes", devices)):
                cases.append(Case(name, devices, processes, batch, tuple(scaling)))
        if devices > 1:
            batch = devices * batch_per_device
            cases.append(Case("independent", devices, devices, batch, ("weak",)))
    return cases


# Measured.


def _probe(
    bench: harness.Benchmark, core: int, min_seconds: float, number: int
) -> record.Record:
    task = {"mode": "probe", "seed": bench.seed, "cores": [core]}
    task["min_seconds"] = min_seconds
    (result,) = harness.run_tasks(bench, f"round{number}-probe", [task], threads=1)
    return harness.make_record(
        bench,
        result,
        system="probe",
        round=number,
        problem={"name": "a 1,024 x 1,024 matrix product and a copy of 256 MB"},
        settings={"kind": "measured", "case": "probe", "devices": 1},
        check={"passed": result["status"] == "ok"},
    )


def _measured_jobs(
    bench: harness.Benchmark,
    name: str,
    config: Mapping[str, Any],
    cases: Sequence[Case],
    cores: Sequence[int],
    min_seconds: float,
) -> dict[str, harness.Job]:
    one_device: dict[tuple[int, int], harness.Result] = {}  # by round and batch
    task = _task(bench, name, config["options"]) | {"min_seconds": min_seconds}

    def measure(case: Case, number: int) -> record.Record:
        independent = case.case == "independent"
        per_device = case.batch // case.devices
        step_seconds = min_seconds / 5
        if (number, per_device) in one_device:
            calls = one_device[number, per_device]["seconds"]["calls"]
            step_seconds = statistics.median(calls)
        num_steps = max(5, round(min_seconds / step_seconds))
        label = f"round{number}-{name}-{case.case}-{case.devices}-{case.batch}"
        results = _run_case(bench, label, case, task, cores, num_steps=num_steps)
        # Rates of independent processes add up.  A step of processes that train
        # together takes as long as the slowest one's.
        merge = statistics.harmonic_mean if independent else max
        result = harness.merge_results(results, merge)
        check: dict[str, Any] = {"passed": False}
        if result["status"] == "ok":
            if case.devices == 1:
                one_device[number, case.batch] = result
            key = (number, per_device if independent else case.batch)
            alike = one_device.get(key)
            check = check_losses(results, alike and alike["losses"])
            num_calls = len(result["seconds"]["calls"])
            result["work"] = {"examples": [case.batch] * num_calls}
        return harness.make_record(
            bench,
            result,
            system=f"{name}/{case.case}",
            round=number,
            problem=_problem(name, config["options"]),
            settings={
                "kind": "measured",
                "subject": name,
                **case._asdict(),
                "threads_per_device": 1,
                "pinned": True,
                "min_seconds": min_seconds,
                "seed": bench.seed,
                "engine": result.get("engine"),
            },
            check=check,
        )

    return {f"{name}/{case}": functools.partial(measure, case) for case in cases}


def _run_case(
    bench: harness.Benchmark,
    label: str,
    case: Case,
    task: Mapping[str, Any],
    cores: Sequence[int],
    *,
    num_steps: int,
) -> list[harness.Result]:
    """The results of a case's processes, side by side."""
    independent = case.case == "independent"
    devices = case.devices // case.processes  # of a process
    barrier = bench.run_dir / f"{label}.barrier"
    barrier.mkdir()
    tasks = [
        {
            **task,
            "mode": "measure",
            "topology": f"batch:{1 if independent else case.devices}",
            "batch": case.batch // case.devices if independent else case.batch,
            "process": 0 if independent else index,
            "processes": 1 if independent else case.processes,
            "cores": list(cores[index * devices : (index + 1) * devices]),
            "num_steps": num_steps if case.processes > 1 else 0,
            "barrier": [str(barrier), index, case.processes],
        }
        for index in range(case.processes)
    ]
    connected = case.processes > 1 and not independent
    results = harness.run_tasks(
        bench, label, tasks, threads=1, devices=devices, connected=connected
    )
    shutil.rmtree(barrier)
    return results


def check_losses(
    results: Sequence[Mapping[str, Any]], reference: Sequence[float] | None
) -> dict[str, Any]:
    """The check of every process's first losses against those of one device.

    reference: of one device on the same batch; None if it was not trained on it.
    """
    if reference is None:
        return {"passed": True, "reason": "one device was not given this batch"}
    error = max(
        abs(a - b) / max(abs(b), 1e-30)
        for result in results
        for a, b in zip(result["losses"], reference, strict=True)
    )
    check: dict[str, Any] = {
        "passed": error <= LOSS_TOLERANCE,
        "loss_error": error,
        "tolerance": LOSS_TOLERANCE,
    }
    if not check["passed"]:
        check["reason"] = f"its losses differ from those of one device by {error:.1e}"
    return check


# Counted.


def _counted_jobs(
    bench: harness.Benchmark, name: str, config: Mapping[str, Any]
) -> dict[str, harness.Job]:
    reduced = {**config["options"], **config.get("counted_options", {})}
    counted = [("batch:1", config["options"], config["batch_per_device"])]
    counted += [
        (mesh, reduced, config["counted_batch_per_shard"])
        for mesh in config["counted_topologies"]
    ]
    return {
        f"{name}/{index}": functools.partial(_count, bench, name, *arguments)
        for index, arguments in enumerate(counted)
    }


def _count(
    bench: harness.Benchmark,
    name: str,
    mesh: str,
    options: Mapping[str, Any],
    batch_per_shard: int,
    number: int,
) -> record.Record:
    parsed = topology.parse(mesh)
    batch = parsed.size("batch") * batch_per_shard
    task = {"mode": "count", "topology": mesh, "batch": batch}
    (result,) = harness.run_tasks(
        bench,
        f"count-{name}-{mesh.replace(':', '').replace(',', '-')}",
        [_task(bench, name, options) | task],
        threads=len(os.sched_getaffinity(0)),
        # oneDNN's op of a filter's and a bias's gradients has a wrong shape in the
        # graph, and so have the tensors that are packed with it.
        environment={"TF_ENABLE_ONEDNN_OPTS": "0"},
    )
    return harness.make_record(
        bench,
        result,
        system=f"{name}/counted",
        round=number,
        problem=_problem(name, options),
        settings={
            "kind": "counted",
            "subject": name,
            "topology": mesh,
            "devices": parsed.num_devices,
            "batch": batch,
            "seed": bench.seed,
            "engine": result.get("engine"),
        },
        check=result.get("check", {"passed": False}),
    )


# Tasks and records.


def _task(
    bench: harness.Benchmark, name: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "subject": name,
        "options": dict(options),
        "seed": bench.seed,
        "timeout_seconds": bench.timeout_seconds,
    }


def _problem(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    subject = SUBJECTS[name]
    height, width = (
        options.get(key, options.get("size")) for key in ("height", "width")
    )
    label = subject.label
    if height:  # because the paper's images are larger
        label += f", {height}x{width} pixels"
    options = dict(options)
    return {"name": name, "label": label, "source": subject.source, "options": options}
