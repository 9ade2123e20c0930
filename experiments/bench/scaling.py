"""How training scales over devices: measured here, counted, and projected.

Measured: real steps on this machine's cores, one thread a device, each turn in fresh
processes pinned to their cores; turns go round so that a machine that drifts moves all
alike.  Counted: the same programs on meshes of logical devices, for their bytes and
operations and never for their time.  Projected: `experiments.bench.projection`, from
what was measured and counted, and from the paper's own one-chip figures.
"""

import json
import os
import secrets
import shutil
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import cost_model, projection, subprocesses
from experiments.records import provenance, record
from experiments.records.run_dir import CheckFailed, utc_now
from experiments.report import page

REPO = Path(__file__).resolve().parents[2]
PAPER = REPO / "results" / "paper_scaling.json"
PHASES = ("measured", "counted", "projected")
LOSS_TOLERANCE = 1e-4  # relative, of a step's loss on one device and on several


class Subject(NamedTuple):
    """A model whose training is scaled; reached by name, in a fresh process."""

    label: str
    model: str  # the function that makes it, of the options
    examples: str  # the function that makes its examples, whose arguments are options:
    examples_options: Mapping[str, str]  # by argument
    batches: str  # the function that makes batches of the examples
    source: str  # of the examples
    paper: str  # the paper's model that it is or stands in for


SYNTHETIC = "synthetic data, made from the seed"
CROPS = "natural-image crops, of photographs in scikit-learn and scikit-image"
SUBJECTS = {
    "transformer": Subject(
        label="transformer (stand-in for the Image Transformer)",
        model="experiments.toy_models:transformer",
        examples="experiments.toy_models:token_lines",
        examples_options={"length": "length", "vocabulary": "vocabulary"},
        batches="experiments.toy_models.data:batches",
        source=SYNTHETIC,
        paper="image_transformer",
    ),
    "vector_quantized": Subject(
        label="VQ-VAE-shaped model (stand-in for the VQ-VAE)",
        model="experiments.toy_models:vector_quantized",
        examples="experiments.toy_models:blob_images",
        examples_options={"size": "size"},
        batches="experiments.toy_models.data:batches",
        source=SYNTHETIC,
        paper="vq_vae",
    ),
    "vq_vae": Subject(
        label="VQ-VAE",
        model="experiments.bench.scaling_models:vq_vae",
        examples="experiments.datasets:natural_image_crops",
        examples_options={"size": "size"},
        batches="experiments.datasets.images:training_batches",
        source=CROPS,
        paper="vq_vae",
    ),
    "image_transformer": Subject(
        label="Image Transformer",
        model="experiments.image_transformer:image_transformer",
        examples="experiments.datasets:natural_image_crops",
        examples_options={"size": "height"},
        batches="experiments.datasets.images:training_batches",
        source=CROPS,
        paper="image_transformer",
    ),
}


class Case(NamedTuple):
    """One way to take a global batch on some cores."""

    name: str  # "one_device" | "one_process" | "processes" | "independent"
    devices: int
    processes: int
    batch: int  # of all devices together
    scaling: tuple[str, ...]  # "weak", "strong" or both: what it is a point of


def measure_scaling(
    *,
    run_dir: Path,
    seed: int,
    models: Mapping[str, Mapping[str, Any]],
    num_rounds: int,
    min_seconds: float,
    out: str,
    phases: Sequence[str] = PHASES,
    device_counts: Sequence[int] | None = None,
    timeout_seconds: float = 900.0,
) -> Path:
    """Measures, counts and projects; appends the records and renders what they say.

    models: for each of SUBJECTS that takes part: its `options`, `batch_per_device`,
      and what is counted on logical devices: `counted_topologies`, `counted_options`
      (over `options`) and `counted_batch_per_shard`.
    min_seconds: for how long a turn repeats its step.
    out: folder of records/, tables/ and plots/, from the repository's root.
    phases: which of PHASES; those left out keep the newest records that there are.
    device_counts: None for 1, 2, 4 and so on, up to the cores.

    Returns the table's path.  Raises ValueError for unknown models or phases and more
    devices than cores, CheckFailed when a turn failed or its losses differ.
    """
    cores = sorted(os.sched_getaffinity(0))
    counts = device_counts or [2**i for i in range(16) if 2**i <= len(cores)]
    _check_arguments(models, phases, counts, len(cores), num_rounds)
    out_dir = REPO / out
    records_path = out_dir / "records" / "scaling.jsonl"
    origin = json.loads((run_dir / "provenance.json").read_text())
    origin = {key: value for key, value in origin.items() if key != "hardware"}
    origin["bench_id"] = f"{utc_now()}-{secrets.token_hex(3)}"
    bench = _Bench(run_dir, seed, min_seconds, timeout_seconds, origin)

    kept: list[record.Record] = []
    if "counted" in phases:
        kept += _count(bench, models)
    if "measured" in phases:
        kept += _measure(bench, models, counts, cores, num_rounds)
    if "projected" in phases:
        before = record.read(records_path) if records_path.is_file() else []
        kept += _project(bench, models, [*before, *kept])
    for made in kept:  # together, so that a benchmark cut short leaves the last one
        record.append(records_path, made)
    page.render_scaling(records_path=records_path, paper_path=PAPER, out_dir=out_dir)
    print(f"wrote {out}/tables and {out}/plots", flush=True)
    wrong = {
        f"{made.system}, round {made.round}": made.reason or made.check.get("reason")
        for made in kept
        if made.status == "failed" or not made.check.get("passed")
    }
    if wrong:
        raise CheckFailed(str(wrong))
    return out_dir / "tables" / "scaling.md"


def _check_arguments(
    models: Mapping[str, Any],
    phases: Sequence[str],
    counts: Sequence[int],
    cores: int,
    num_rounds: int,
) -> None:
    unknown = sorted(set(models) - set(SUBJECTS)) + sorted(set(phases) - set(PHASES))
    if unknown or not models or not phases or num_rounds < 1:
        raise ValueError(
            f"measure_scaling: given {unknown or list(models)}, phases "
            f"{list(phases)} and {num_rounds} rounds, wanted some of {list(SUBJECTS)}, "
            f"some of {PHASES} and at least 1"
        )
    counted = ("counted_topologies", "counted_batch_per_shard")
    for name, given in models.items():
        subprocesses.check_keys(
            f"measure_scaling: {name}",
            given,
            ("options", "batch_per_device", *(counted if "counted" in phases else ())),
            (*counted, "counted_options"),
        )
    if min(counts) != 1 or max(counts) > cores:
        raise ValueError(
            f"device_counts: given {list(counts)}, wanted 1 and others up to the "
            f"{cores} cores of this machine: a device is a core here"
        )


def cases(counts: Sequence[int], batch_per_device: int) -> list[Case]:
    """Every turn of a round: weak scaling, strong scaling, and what bounds them.

    Strong scaling divides the batch that weak scaling has on the most devices, so that
    there the two share their turns.
    """
    most = max(counts)
    whole = most * batch_per_device
    found = []
    for devices in sorted(counts):
        batches = {devices * batch_per_device: ["weak"]}
        if most > 1 and whole % devices == 0:
            batches.setdefault(whole, []).append("strong")
        for batch, scaling in batches.items():
            if devices == 1:
                found.append(Case("one_device", 1, 1, batch, tuple(scaling)))
                continue
            for name, processes in (("one_process", 1), ("processes", devices)):
                found.append(Case(name, devices, processes, batch, tuple(scaling)))
        if devices > 1:
            batch = devices * batch_per_device
            found.append(Case("independent", devices, devices, batch, ("weak",)))
    return found


# Measured.


class _Bench(NamedTuple):
    run_dir: Path
    seed: int
    min_seconds: float
    timeout_seconds: float
    origin: dict[str, Any]


def _measure(
    bench: _Bench,
    models: Mapping[str, Mapping[str, Any]],
    counts: Sequence[int],
    cores: Sequence[int],
    num_rounds: int,
) -> list[record.Record]:
    kept: list[record.Record] = []
    out_of_race: set[tuple[str, Case]] = set()
    for number in range(1, num_rounds + 1):
        kept.append(_probe_turn(bench, number, cores[0]))
        for name, given in models.items():
            seconds_by_batch: dict[int, float] = {}  # of a step, by a device's batch
            losses: dict[int, list[float]] = {}  # of one device, by global batch
            for case in cases(counts, given["batch_per_device"]):
                if (name, case) in out_of_race:
                    continue
                made = _turn(
                    bench, number, name, given, case, cores, seconds_by_batch, losses
                )
                if made.status != "ok":
                    out_of_race.add((name, case))
                kept.append(made)
                record.append(bench.run_dir / "records.jsonl", made)
                print(f"round {number}/{num_rounds}  {_told(made)}", flush=True)
    return kept


def _probe_turn(bench: _Bench, number: int, core: int) -> record.Record:
    task = {
        "mode": "probe",
        "seed": bench.seed,
        "cores": [core],
        "min_seconds": bench.min_seconds / 2,
    }
    when = _when()
    (result,) = subprocesses.run(
        bench.run_dir,
        f"round{number}-probe",
        [task],
        threads=1,
        timeout=bench.timeout_seconds,
    )
    return _record(
        bench,
        system="probe",
        round=number,
        problem={"name": "a 1,024 x 1,024 matrix product and a copy of 256 MB"},
        settings={"kind": "measured", "case": "probe", "devices": 1},
        results=[result],
        work=result.get("work", {}),
        check={"passed": result["status"] == "ok"},
        when=when,
    )


def _turn(
    bench: _Bench,
    number: int,
    name: str,
    given: Mapping[str, Any],
    case: Case,
    cores: Sequence[int],
    seconds_by_batch: dict[int, float],
    losses: dict[int, list[float]],
) -> record.Record:
    """One case's processes, side by side, and what they measured together."""
    alone = case.name == "independent"
    per_process = case.devices // case.processes
    topology = f"batch:{1 if alone else case.devices}"
    share = case.batch // case.devices
    label = f"round{number}-{name}-{case.name}-{case.devices}-{case.batch}"
    meeting = bench.run_dir / f"{label}.meet"
    meeting.mkdir()
    steps = 0
    if case.processes > 1:
        usual = seconds_by_batch.get(share, bench.min_seconds / 5)
        steps = max(5, round(bench.min_seconds / usual))
    tasks = [
        _task(bench, name, given)
        | {
            "mode": "measure",
            "topology": topology,
            "batch": share if alone else case.batch,
            "process": 0 if alone else index,
            "processes": 1 if alone else case.processes,
            "cores": list(cores[index * per_process : (index + 1) * per_process]),
            "num_steps": steps,
            "meet": [str(meeting), index, case.processes],
        }
        for index in range(case.processes)
    ]
    when = _when()
    results = subprocesses.run(
        bench.run_dir,
        label,
        tasks,
        threads=1,
        devices=per_process,
        timeout=bench.timeout_seconds,
        connected=case.processes > 1 and not alone,
    )
    shutil.rmtree(meeting)
    check: dict[str, Any] = {"passed": False}
    work: dict[str, Any] = {}
    if all(result["status"] == "ok" for result in results):
        if case.devices == 1:
            calls = results[0]["seconds"]["calls"]
            seconds_by_batch[case.batch] = statistics.median(calls)
        batch = share if alone else case.batch
        if case.devices == 1:
            losses.setdefault(batch, results[0]["losses"])
        check = _check_losses(results, losses.get(batch))
        work = {
            "examples": [case.batch] * min(len(r["seconds"]["calls"]) for r in results)
        }
    return _record(
        bench,
        system=f"{name}/{case.name}",
        round=number,
        problem=_problem(name, given["options"]),
        settings={
            "kind": "measured",
            "subject": name,
            "case": case.name,
            "devices": case.devices,
            "processes": case.processes,
            "batch": case.batch,
            "scaling": list(case.scaling),
            "threads_per_device": 1,
            "pinned": True,
            "min_seconds": bench.min_seconds,
            "seed": bench.seed,
            "engine": results[0].get("engine"),
        },
        results=results,
        work=work,
        check=check,
        when=when,
    )


def _check_losses(
    results: Sequence[Mapping[str, Any]], wanted: Sequence[float] | None
) -> dict[str, Any]:
    """Whether every process's first losses are those of one device on that batch.

    wanted: those; None: one device was not given that batch, and nothing is known.
    """
    if wanted is None:
        return {"passed": True, "reason": "one device was not given this batch"}
    given = [result["losses"] for result in results]
    error = max(
        abs(a - b) / max(abs(b), 1e-30)
        for losses in given
        for a, b in zip(losses, wanted, strict=True)
    )
    check: dict[str, Any] = {
        "passed": error <= LOSS_TOLERANCE,
        "loss_error": error,
        "tolerance": LOSS_TOLERANCE,
    }
    if not check["passed"]:
        check["reason"] = f"its losses are off by {error:.1e} from those of one device"
    return check


# Counted.


def _count(
    bench: _Bench, models: Mapping[str, Mapping[str, Any]]
) -> list[record.Record]:
    kept = []
    for name, given in models.items():
        reduced = {**given["options"], **given.get("counted_options", {})}
        counts = [("batch:1", given["options"], given["batch_per_device"])]
        counts += [
            (topology, reduced, given["counted_batch_per_shard"])
            for topology in given["counted_topologies"]
        ]
        for topology, options, batch_per_shard in counts:
            kept.append(
                _count_turn(bench, name, given, topology, options, batch_per_shard)
            )
            record.append(bench.run_dir / "records.jsonl", kept[-1])
            print(_told(kept[-1]), flush=True)
    return kept


def _count_turn(
    bench: _Bench,
    name: str,
    given: Mapping[str, Any],
    topology: str,
    options: Mapping[str, Any],
    batch_per_shard: int,
) -> record.Record:
    dims = dict(part.split(":") for part in topology.split(","))
    shards = int(dims.get("batch", "1"))
    devices = 1
    for size in dims.values():
        devices *= int(size)
    task = _task(bench, name, {**given, "options": options}) | {
        "mode": "count",
        "topology": topology,
        "batch": shards * batch_per_shard,
        "process": 0,
        "processes": 1,
        "cores": [],
    }
    when = _when()
    label = f"count-{name}-{topology.replace(':', '').replace(',', '-')}"
    cores = len(os.sched_getaffinity(0))
    (result,) = subprocesses.run(
        bench.run_dir, label, [task], threads=cores, timeout=bench.timeout_seconds
    )
    return _record(
        bench,
        system=f"{name}/counted",
        round=1,
        problem=_problem(name, options),
        settings={
            "kind": "counted",
            "subject": name,
            "topology": topology,
            "devices": devices,
            "batch": shards * batch_per_shard,
            "seed": bench.seed,
            "engine": result.get("engine"),
        },
        results=[result],
        work=result.get("work", {}),
        check=result.get("check", {"passed": False}),
        when=when,
    )


# Projected.


def _project(
    bench: _Bench,
    models: Mapping[str, Mapping[str, Any]],
    records: Sequence[record.Record],
) -> list[record.Record]:
    kept = []
    probes = _newest(records, kind="measured", case="probe")
    for name, given in models.items():
        measured = [
            made
            for made in _newest(records, kind="measured", subject=name)
            if made.settings["case"] == "one_device"
            and "weak" in made.settings["scaling"]
        ]
        counted = [
            made
            for made in _newest(records, kind="counted", subject=name)
            if made.settings["topology"] == "batch:1"
        ]
        kept += [
            _projection_record(bench, name, given, hardware, result)
            for hardware, result in projection.from_measured(measured, counted, probes)
        ]
    paper = json.loads(PAPER.read_text(encoding="utf-8"))
    wanted = {SUBJECTS[name].paper for name in models}
    for model in paper["models"]:
        if model["id"] in wanted:
            for variant in projection.VARIANTS:
                kept.append(_paper_record(bench, paper, model, variant))
    for made in kept:
        print(_told(made), flush=True)
    return kept


def _newest(records: Iterable[record.Record], **wanted: Any) -> list[record.Record]:
    """The records whose settings are as wanted, of the newest benchmark with any."""
    found = [
        made
        for made in records
        if all(made.settings.get(key) == value for key, value in wanted.items())
    ]
    if not found:
        return []
    last = found[-1].provenance["bench_id"]
    return [made for made in found if made.provenance["bench_id"] == last]


def _projection_record(
    bench: _Bench,
    name: str,
    given: Mapping[str, Any],
    hardware: cost_model.Hardware,
    result: dict[str, Any],
) -> record.Record:
    return _record(
        bench,
        system=f"{name}/projected",
        round=1,
        problem=_problem(name, given["options"]),
        settings={
            "kind": "projected",
            "subject": name,
            "against": "measured",
            "on": hardware.label,
            "source": hardware.source,
            "batch_per_device": result.get("batch_per_device"),
            "calibration": result.get("calibration"),
        },
        results=[result],
        work=result.get("work", {}),
        check={"passed": result["status"] == "ok"},
        when=_when(),
    )


def _paper_record(
    bench: _Bench, paper: Mapping[str, Any], model: Mapping[str, Any], variant: str
) -> record.Record:
    made = {"status": "ok"}
    return _record(
        bench,
        system=f"paper/{model['id']}",
        round=1,
        problem={"name": model["label"], "source": paper["source"]},
        settings={
            "kind": "projected",
            "against": "paper",
            "model": model["id"],
            "variant": variant,
            "on": paper["hardware"],
            "source": cost_model.TPU_V2.source,
            "gradient_bytes": 4 * model["parameters"],
        },
        results=[made],
        work=projection.from_paper(paper, model, variant),
        check={"passed": True},
        when=_when(),
    )


# Processes and records.


def _task(bench: _Bench, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    subject = SUBJECTS[name]
    return {
        "model": subject.model,
        "examples": subject.examples,
        "examples_options": {
            argument: given["options"][option]
            for argument, option in subject.examples_options.items()
        },
        "batches": subject.batches,
        "options": dict(given["options"]),
        "seed": bench.seed,
        "min_seconds": bench.min_seconds,
        "num_steps": 0,
        "meet": None,
        "timeout_seconds": bench.timeout_seconds,
    }


def _when() -> dict[str, Any]:
    return {"started_at": utc_now(), "load_average": round(os.getloadavg()[0], 2)}


def _problem(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    label = SUBJECTS[name].label
    if "height" in options:  # beside the paper's, whose images are larger
        label += f", {options['height']}x{options['width']} pixels"
    elif "size" in options:
        label += f", {options['size']}x{options['size']} pixels"
    return {
        "name": name,
        "label": label,
        "source": SUBJECTS[name].source,
        "options": dict(options),
    }


def _record(
    bench: _Bench,
    *,
    results: Sequence[Mapping[str, Any]],
    when: Mapping[str, Any],
    **fields: Any,
) -> record.Record:
    """A turn's record, of all its processes."""
    failed = [result for result in results if result["status"] != "ok"]
    status = failed[0]["status"] if failed else "ok"
    return record.Record(
        experiment="scaling",
        hardware=provenance.hardware() | {"device": "cpu"},
        status=status,
        reason=failed[0]["reason"] if failed else "",
        seconds=(
            {}
            if failed
            else _together(
                [result.get("seconds", {}) for result in results],
                apart=fields["settings"].get("case") == "independent",
            )
        ),
        provenance=bench.origin | when,
        **fields,
    )


def _together(seconds: Sequence[Mapping[str, Any]], *, apart: bool) -> dict[str, Any]:
    """Of processes that train together a step is as long as the slowest one's.

    apart: of independent ones it is the time in which each does one on average, so that
      their rates add up.
    """
    if len(seconds) == 1:
        return dict(seconds[0])
    join = statistics.harmonic_mean if apart else max
    steps = zip(*(s["calls"] for s in seconds), strict=True)
    return {
        "build": max(s["build"] for s in seconds),
        "first": max(s["first"] for s in seconds),
        "calls": [join(calls) for calls in steps],
    }


def _told(made: record.Record) -> str:
    where = made.settings.get("topology") or made.settings.get("on") or ""
    head = f"{made.system:32} {where}"
    if made.status != "ok":
        return f"{head} {made.status}: {made.reason}"
    verdict = "" if made.check["passed"] else f"  WRONG: {made.check.get('reason')}"
    if made.settings["kind"] == "measured" and "examples" in made.work:
        rate = sum(made.work["examples"]) / sum(made.seconds["calls"])
        devices = made.settings["devices"]
        return f"{head} {devices} devices {rate:10.2f} examples/s{verdict}"
    return f"{head} done{verdict}"
