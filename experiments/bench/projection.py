"""Scaling curves that the cost model projects from measurements and from the paper."""

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from experiments.bench import cost_model, harness
from experiments.records import record

DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CHIPS = DEVICES[:-1]  # of TPUv2, two devices each
# How often a step with Adam moves each byte of weights: weights are read forward and
# backward, the gradient is written and read, and the weight and two moments are read
# and written.
WEIGHT_PASSES = 2 + 2 + 6
# An assumption made after the paper's points were seen: gradients also cross a
# 10 Gbit/s network between hosts of four chips.  The table says what it explains.
CHIPS_PER_HOST = 4
BETWEEN_HOSTS = cost_model.Ring(
    bytes_per_second=10e9 / 8, hop_seconds=cost_model.ASSUMED_HOP_SECONDS
)
VARIANTS = {"links": None, "hosts": BETWEEN_HOSTS}


def project(
    bench: harness.Benchmark,
    problems: Mapping[str, dict[str, Any]],
    paper: Mapping[str, Any],
    paper_models: Collection[str],
    records: Sequence[record.Record],
) -> list[record.Record]:
    """The records of all projections of a scaling benchmark.

    problems: by the model's name, as in its measured records.
    paper: the paper's published figures.
    paper_models: the ids of those of its models that are projected.
    records: measured and counted; of each kind the newest benchmark's are used.
    """
    projected = []
    probes = _newest(records, kind="measured", case="probe")
    for name, problem in problems.items():
        measured = [
            one
            for one in _newest(records, kind="measured", subject=name)
            if one.settings["case"] == "one_device"
            and "weak" in one.settings["scaling"]
        ]
        counted = [
            one
            for one in _newest(records, kind="counted", subject=name)
            if one.settings["topology"] == "batch:1"
        ]
        for hardware, result in from_measured(measured, counted, probes):
            settings = {
                "subject": name,
                "against": "measured",
                "on": hardware.label,
                "source": hardware.source,
                "batch_per_device": result.get("batch_per_device"),
                "calibration": result.get("calibration"),
            }
            projected.append(
                _record(bench, f"{name}/projected", problem, settings, result)
            )
    for model in paper["models"]:
        for variant in VARIANTS if model["id"] in paper_models else ():
            settings = {
                "against": "paper",
                "model": model["id"],
                "variant": variant,
                "on": paper["hardware"],
                "source": cost_model.TPU_V2.source,
                "gradient_bytes": 4 * model["parameters"],
            }
            problem = {"name": model["label"], "source": paper["source"]}
            result = {"status": "ok", "work": from_paper(paper, model, variant)}
            projected.append(
                _record(bench, f"paper/{model['id']}", problem, settings, result)
            )
    return projected


def _newest(records: Iterable[record.Record], **settings: Any) -> list[record.Record]:
    """The records with these settings, of the newest benchmark that has any."""
    matching = [
        one
        for one in records
        if all(one.settings.get(key) == value for key, value in settings.items())
    ]
    return [
        one
        for one in matching
        if one.provenance["bench_id"] == matching[-1].provenance["bench_id"]
    ]


def _record(
    bench: harness.Benchmark,
    system: str,
    problem: dict[str, Any],
    settings: dict[str, Any],
    result: Mapping[str, Any],
) -> record.Record:
    return harness.make_record(
        bench,
        result,
        system=system,
        number=1,
        problem=problem,
        settings={"kind": "projected", **settings},
        check={"passed": result["status"] == "ok"},
    )


def from_measured(
    measured: Sequence[record.Record],
    counted: Sequence[record.Record],
    probes: Sequence[record.Record],
) -> Iterator[tuple[cost_model.Hardware, dict[str, Any]]]:
    """For each hardware a result with points from 1 to 512 devices.

    Without the records that calibrate it, the result is "skipped" or "failed" with the
    reason.
    """
    measured = [one for one in measured if one.status == "ok" and one.check["passed"]]
    counted = [one for one in counted if one.status == "ok"]
    probes = [one for one in probes if one.status == "ok"]
    core = None
    if probes:
        core = core_hardware(
            probes[0].hardware["cpu"],
            max(one.work["matmul_flops_per_second"] for one in probes),
            max(one.work["copy_bytes_per_second"] for one in probes),
        )
    for hardware in (core, cost_model.TPU_V2, cost_model.V100):
        if hardware is None:
            continue
        if core is None or not measured or not counted:
            reason = "no measured step, count or probe to calibrate with"
            yield hardware, {"status": "skipped", "reason": reason}
            continue
        (count,) = counted
        batch = measured[0].settings["batch"]
        if count.settings["batch"] != batch:
            reason = f"counted with batch {count.settings['batch']}, measured {batch}"
            yield hardware, {"status": "failed", "reason": reason}
            continue
        step_seconds = statistics.median(
            statistics.median(one.seconds["calls"]) for one in measured
        )
        work = cost_model.Work(
            flops=count.work["flops"],
            memory_bytes=2 * count.work["activation_bytes"]
            + WEIGHT_PASSES * count.work["parameter_bytes"],
            gradient_bytes=count.work["parameter_bytes"],
        )
        try:
            fraction = cost_model.roofline_fraction(step_seconds, work, core)
        except ValueError as error:
            yield hardware, {"status": "failed", "reason": str(error)}
            continue
        steps = [
            cost_model.project(
                compute_seconds=cost_model.roofline_seconds(work, hardware) / fraction,
                gradient_bytes=work.gradient_bytes,
                devices=devices,
                hardware=hardware,
            )
            for devices in DEVICES
        ]
        yield (
            hardware,
            {
                "status": "ok",
                "batch_per_device": batch,
                "calibration": {
                    "step_seconds": step_seconds,
                    "roofline_share": fraction,
                    **work._asdict(),
                },
                "work": {
                    "devices": [step.devices for step in steps],
                    "examples_per_second": [
                        step.devices * batch / step.seconds for step in steps
                    ],
                    "compute_seconds": [step.compute_seconds for step in steps],
                    "collective_seconds": [step.collective_seconds for step in steps],
                },
            },
        )


def core_hardware(
    cpu: str, flops_per_second: float, bytes_per_second: float
) -> cost_model.Hardware:
    """A core as the probe measured it, in a ring as fast as its copies of memory."""
    return cost_model.Hardware(
        label=f"cores like one of this {cpu}",
        flops_per_second=flops_per_second,
        memory_bytes_per_second=bytes_per_second,
        devices_per_chip=1,
        network=cost_model.Ring(bytes_per_second=bytes_per_second, hop_seconds=0.0),
        source=(
            "measured in this benchmark: the fastest matrix product and copy of one "
            "core; assumes that each further core has as much for itself"
        ),
    )


def from_paper(
    paper: Mapping[str, Any], model: Mapping[str, Any], variant: str
) -> dict[str, list[Any]]:
    """The paper's model on more chips, projected from its figure of one chip.

    error: relative, of the projected rate; None where the paper has no figure.
    unexplained_seconds: by which the published step is longer than the projected one.
    host_bytes_per_second: that a network between hosts would need to explain them.
    """
    batch = paper["shards_per_chip"] * paper["batch_per_shard"]
    published = dict(zip(model["chips"], model["examples_per_second"], strict=True))
    gradient_bytes = 4 * model["parameters"]  # float32
    columns: dict[str, list[Any]] = {
        "chips": [],
        "examples_per_second": [],
        "collective_seconds": [],
        "error": [],
        "unexplained_seconds": [],
        "host_bytes_per_second": [],
    }
    for chips in CHIPS:
        step = cost_model.project_from_chip(
            chip_seconds=batch / published[1],
            gradient_bytes=gradient_bytes,
            chips=chips,
            hardware=cost_model.TPU_V2,
            between_hosts=VARIANTS[variant],
            chips_per_host=CHIPS_PER_HOST,
        )
        rate = chips * batch / step.seconds
        error = unexplained = host_rate = None
        if chips in published:
            error = rate / published[chips] - 1
            unexplained = chips * batch / published[chips] - step.seconds
            if VARIANTS[variant] is None:
                host_rate = cost_model.host_bytes_per_second(
                    gradient_bytes=gradient_bytes,
                    hosts=-(-chips // CHIPS_PER_HOST),
                    seconds=unexplained,
                )
        row = (chips, rate, step.collective_seconds, error, unexplained, host_rate)
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return columns
