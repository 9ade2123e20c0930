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

    def make(
        system: str, problem: dict[str, Any], result: Mapping[str, Any], **settings: Any
    ) -> record.Record:
        return harness.make_record(
            bench,
            result,
            system=system,
            round=1,
            problem=problem,
            settings={"kind": "projected", **settings},
            check={"passed": result["status"] == "ok"},
        )

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
        projected += [
            make(
                f"{name}/projected",
                problem,
                result,
                subject=name,
                against="measured",
                on=hardware.label,
                source=hardware.source,
                batch_per_device=result.get("batch_per_device"),
                calibration=result.get("calibration"),
            )
            for hardware, result in from_measured(measured, counted, probes)
        ]
    for model in paper["models"]:
        projected += [
            make(
                f"paper/{model['id']}",
                {"name": model["label"], "source": paper["source"]},
                {"status": "ok", "work": from_paper(paper, model, variant)},
                against="paper",
                model=model["id"],
                variant=variant,
                on=paper["hardware"],
                source=cost_model.TPU_V2.source,
                gradient_bytes=4 * model["parameters"],
            )
            for variant in VARIANTS
            if model["id"] in paper_models
        ]
    return projected


def _newest(records: Iterable[record.Record], **settings: Any) -> list[record.Record]:
    """The records with these settings, of the newest benchmark that has any."""
    matching = [r for r in records if settings.items() <= r.settings.items()]
    ids = [r.provenance["bench_id"] for r in matching]
    return [r for r, one in zip(matching, ids, strict=True) if one == ids[-1]]


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
    hardware: list[cost_model.Hardware] = [cost_model.TPU_V2, cost_model.V100]
    if probes:
        core = core_hardware(
            probes[0].hardware["cpu"],
            max(one.work["matmul_flops_per_second"] for one in probes),
            max(one.work["copy_bytes_per_second"] for one in probes),
        )
        hardware.insert(0, core)
    if not probes or not measured or not counted:
        reason = "no measured step, count or probe to calibrate with"
        for each in hardware:
            yield each, {"status": "skipped", "reason": reason}
        return
    (count,) = counted
    batch, weights = measured[0].settings["batch"], count.work["parameter_bytes"]
    medians = (statistics.median(one.seconds["calls"]) for one in measured)
    step_seconds = statistics.median(medians)
    moved = 2 * count.work["activation_bytes"] + WEIGHT_PASSES * weights
    work = cost_model.Work(count.work["flops"], moved, gradient_bytes=weights)
    try:
        if count.settings["batch"] != batch:
            raise ValueError(
                f"counted with batch {count.settings['batch']}, measured {batch}"
            )
        fraction = cost_model.roofline_fraction(step_seconds, work, core)
    except ValueError as error:
        for each in hardware:
            yield each, {"status": "failed", "reason": str(error)}
        return
    for each in hardware:
        steps = [
            cost_model.Step(
                devices,
                cost_model.roofline_seconds(work, each) / fraction,
                cost_model.all_reduce_seconds(work.gradient_bytes, devices, each),
            )
            for devices in DEVICES
        ]
        calibration = {"step_seconds": step_seconds, "roofline_share": fraction}
        rates = [step.devices * batch / step.seconds for step in steps]
        yield (
            each,
            {
                "status": "ok",
                "batch_per_device": batch,
                "calibration": calibration | work._asdict(),
                "work": {
                    "devices": [step.devices for step in steps],
                    "examples_per_second": rates,
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
    rows = []
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
        if chips in published and VARIANTS[variant] is None:
            host_rate = cost_model.host_bytes_per_second(
                gradient_bytes, -(-chips // CHIPS_PER_HOST), unexplained
            )
        rows.append(
            {
                "chips": chips,
                "examples_per_second": rate,
                "collective_seconds": step.collective_seconds,
                "error": error,
                "unexplained_seconds": unexplained,
                "host_bytes_per_second": host_rate,
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}
