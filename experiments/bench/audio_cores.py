"""What it costs to train the audio VAE on the paper's 17 cores instead of one device.

    python -m experiments.bench.audio_cores [--out=results]

The same step of the same model in one process: all of it on one logical CPU device, and
each node of the flow on its own of 17, in turn, round by round.  All devices share the
machine's cores, so that the work is the same and what is left is the cutting up.  Three
minutes on 2 cores.
"""

import argparse
import secrets
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.datasets import audio as clips
from experiments.datasets import synthetic_tones
from experiments.parallel import accounting, engines, optimizers, topology
from experiments.parallel.model import num_parameters
from experiments.parallel.placed import Placed
from experiments.parallel.runtime import Runtime, StepSettings
from experiments.records import jsonlines, provenance, record
from experiments.records.run_dir import utc_now
from experiments.vae import AudioSizes, audio

REPO = Path(__file__).resolve().parents[2]
ONE, CORES = "batch:1", "core:17"
STEPS, ROUNDS = 3, 9  # of a round; the first round warms up and is dropped
BATCH = 8
LOSS_TOLERANCE = 1e-4  # relative, of the last round's mean loss
AT_MOST = 1.3  # times the step on one device


def run(
    sizes: AudioSizes, *, batch_size: int, steps: int, rounds: int
) -> list[record.Record]:
    """The model of these sizes trained by either in turn: its records."""
    data = synthetic_tones(length=sizes.length)
    batches = clips.training_batches(data, seed=0, batch_size=batch_size)
    model, placement = audio.model(sizes), audio.placement(sizes)
    topology.local_devices(placement.num_cores, "CPU")
    runtimes: dict[str, Runtime] = {}
    for mesh in (ONE, CORES):
        runtimes[mesh] = engines.make_runtime(
            model,
            optimizers.adam(optimizers.constant(1e-4)),
            topology.parse(mesh),
            StepSettings(),
            kind="CPU",
            placement=placement,
        )
        runtimes[mesh].start(0)
    seconds, losses = measured(runtimes, batches, steps=steps, rounds=rounds)
    placed = runtimes[CORES]
    assert isinstance(placed, Placed)
    passed = accounting.passed_bytes(placed.graph(batches(0)))
    now = utc_now()
    origin = provenance.git_state() | {
        "versions": provenance.versions(),
        "started_at": now,
        "bench_id": f"{now}-{secrets.token_hex(3)}",
    }
    return [
        record.Record(
            experiment="audio_cores",
            system=mesh,
            round=number,
            problem={
                "name": model.name,
                "source": data.source,
                "parameters": num_parameters(model),
            },
            hardware=provenance.hardware()
            | {
                "device": "logical cpu",
                "num_devices": topology.parse(mesh).num_devices,
            },
            settings={"batch": batch_size, "steps": steps},
            status="ok",
            seconds={"step": seconds[mesh][number]},
            work={
                "flops": model.flops_per_example * batch_size,
                "passed_bytes": sum(passed.values()) if mesh == CORES else 0,
            },
            check={
                "passed": abs(losses[mesh] / losses[ONE] - 1) <= LOSS_TOLERANCE,
                "loss": losses[mesh],
                "tolerance": LOSS_TOLERANCE,
            },
            provenance=origin,
        )
        for number in range(rounds)
        for mesh in runtimes
    ]


def measured(
    runtimes: Mapping[str, Runtime],
    batches: Callable[[int], Mapping[str, np.ndarray]],
    *,
    steps: int,
    rounds: int,
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds a step of each, one number a round, and the last round's mean losses."""
    seconds: dict[str, list[float]] = {mesh: [] for mesh in runtimes}
    losses: dict[str, float] = {}
    for number in range(1 + rounds):
        numbers = range(number * steps, (number + 1) * steps)
        held = [batches(n) for n in numbers]
        for mesh, runtime in runtimes.items():
            began = time.perf_counter()
            made = [
                runtime.step(batch, n, 0)["loss"]
                for batch, n in zip(held, numbers, strict=True)
            ]
            losses[mesh] = float(np.mean([loss.numpy() for loss in made]))
            if number:
                seconds[mesh].append((time.perf_counter() - began) / steps)
    return seconds, losses


def markdown(records: Sequence[record.Record]) -> str:
    """The table of one benchmark's records."""
    held = {mesh: [r for r in records if r.system == mesh] for mesh in (ONE, CORES)}
    seconds = {mesh: [r.seconds["step"] for r in rs] for mesh, rs in held.items()}
    pairs = zip(seconds[CORES], seconds[ONE], strict=True)
    ratios = [cores / one for cores, one in pairs]
    any_record = held[CORES][0]
    median = statistics.median(ratios)
    said = "reached" if median <= AT_MOST else "not reached"
    if not all(r.check["passed"] for r in records):
        said = "void, for the losses are not the same"
    hardware, problem = any_record.hardware, any_record.problem
    lines = [
        "# A step of the audio VAE on 17 logical devices",
        "",
        f"{hardware['cpu']}, {hardware['cores']} cores, of which all logical devices "
        f"are parts; {str(any_record.provenance['started_at'])[:10]}; "
        f"{problem['name']}, {problem['parameters']:,} parameters, "
        f"{any_record.settings['batch']} clips a step ({problem['source']}); "
        f"{len(ratios)} rounds of {any_record.settings['steps']} steps in turn.",
        "",
        "| devices | s a step, median (range) | bytes passed a step |",
        "| --- | ---: | ---: |",
    ]
    for mesh, label in ((ONE, "one"), (CORES, "17: 4 x 4 and the aggregator")):
        times, passed = seconds[mesh], held[mesh][0].work["passed_bytes"]
        lines.append(
            f"| {label} | {statistics.median(times):.3f} "
            f"({min(times):.3f}-{max(times):.3f}) | {passed:,} |"
        )
    lines += [
        "",
        f"- At most {AT_MOST} times the step on one device: {said}, {median:.3f} "
        f"({min(ratios):.3f}-{max(ratios):.3f})",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table, which with its records is kept under --out.

    Raises RuntimeError where the two did not train alike.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "results")
    out = parser.parse_args().out
    found = run(AudioSizes(), batch_size=BATCH, steps=STEPS, rounds=ROUNDS)
    for made in found:
        record.append(out / "records" / "audio_cores.jsonl", made)
    text = markdown(found)
    (out / "tables").mkdir(parents=True, exist_ok=True)
    jsonlines.write_text(out / "tables" / "audio_cores.md", text)
    print(text, end="")
    if not all(made.check["passed"] for made in found):
        raise RuntimeError(f"{CORES}: not the losses of {ONE}")


if __name__ == "__main__":
    main()
