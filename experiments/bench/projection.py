"""Curves from the cost model: of what was measured here, and of the paper's figures."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.bench import cost_model
from experiments.records import record

DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CHIPS = DEVICES[:-1]  # of TPUv2, two devices each
# Of a step with Adam, for each byte of weights: weights read forward and backward, the
# gradient written and read, weight and two slots read and written.
WEIGHT_PASSES = 2 + 2 + 6
# A supposition made after seeing the points: the gradients also cross a 10 Gbit/s
# network between hosts of four chips.  The table says what it explains and what not.
CHIPS_PER_HOST = 4
BETWEEN_HOSTS = cost_model.Ring(
    bytes_per_second=10e9 / 8, hop_seconds=cost_model.ASSUMED_HOP_SECONDS
)
VARIANTS = {"links": None, "hosts": BETWEEN_HOSTS}


def from_measured(
    measured: Sequence[record.Record],
    counted: Sequence[record.Record],
    probes: Sequence[record.Record],
) -> Iterator[tuple[cost_model.Hardware, dict[str, Any]]]:
    """For each hardware the points from 1 to 512 devices, or why there are none."""
    usable = [made for made in measured if made.status == "ok" and made.check["passed"]]
    counts = [made for made in counted if made.status == "ok"]
    probed = [made for made in probes if made.status == "ok"]
    core = None
    if probed:
        core = core_hardware(
            probed[0].hardware["cpu"],
            max(made.work["matmul_flops_per_second"] for made in probed),
            max(made.work["copy_bytes_per_second"] for made in probed),
        )
    for hardware in (core, cost_model.TPU_V2, cost_model.V100):
        if core is None or not usable or not counts:
            reason = "no measured step, count or probe to calibrate with"
            if hardware is not None:
                yield hardware, {"status": "skipped", "reason": reason}
            continue
        (count,) = counts
        batch = usable[0].settings["batch"]
        if count.settings["batch"] != batch:
            reason = f"counted with batch {count.settings['batch']}, measured {batch}"
            yield hardware, {"status": "failed", "reason": reason}
            continue
        step_seconds = statistics.median(
            statistics.median(made.seconds["calls"]) for made in usable
        )
        work = cost_model.Work(
            flops=count.work["flops"],
            memory_bytes=2 * count.work["activation_bytes"]
            + WEIGHT_PASSES * count.work["parameter_bytes"],
            gradient_bytes=count.work["parameter_bytes"],
        )
        try:
            share = cost_model.roofline_share(step_seconds, work, core)
        except ValueError as error:
            yield hardware, {"status": "failed", "reason": str(error)}
            continue
        seconds = cost_model.roofline_seconds(work, hardware) / share
        steps = [
            cost_model.project(
                compute_seconds=seconds,
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
                    "roofline_share": share,
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
    """A core as the probe found it, in a ring as fast as its copies of memory."""
    return cost_model.Hardware(
        label=f"cores like one of this {cpu}",
        flops_per_second=flops_per_second,
        memory_bytes_per_second=bytes_per_second,
        devices_per_chip=1,
        network=cost_model.Ring(bytes_per_second=bytes_per_second, hop_seconds=0.0),
        source=(
            "measured in this benchmark: the fastest matrix product and copy of one "
            "core; each further core is supposed to have as much for itself"
        ),
    )


def from_paper(
    paper: Mapping[str, Any], model: Mapping[str, Any], variant: str
) -> dict[str, list[Any]]:
    """The paper's model over chips, from its one-chip figure; lists by chips."""
    shards = paper["shards_per_chip"]
    batch = shards * paper["batch_per_shard"]
    published = dict(zip(model["chips"], model["examples_per_second"], strict=True))
    gradient_bytes = 4 * model["parameters"]  # float32
    found: dict[str, list[Any]] = {
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
        found["chips"].append(chips)
        found["examples_per_second"].append(rate)
        found["collective_seconds"].append(step.collective_seconds)
        error = more = needed = None
        if chips in published:
            error = rate / published[chips] - 1
            more = chips * batch / published[chips] - step.seconds
            if VARIANTS[variant] is None:
                needed = cost_model.host_bytes_per_second(
                    gradient_bytes=gradient_bytes,
                    hosts=-(-chips // CHIPS_PER_HOST),
                    seconds=more,
                )
        found["error"].append(error)
        found["unexplained_seconds"].append(more)
        found["host_bytes_per_second"].append(needed)
    return found
