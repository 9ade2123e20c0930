"""What our engine and loop add to a training step written by hand in TensorFlow.

    python -m experiments.bench.step_cost [--out=results]

One transformer on one device, in one process: rounds of steps of our loop, with all
that it does, alternate with rounds of the hand-written step.  2 minutes on 2 cores.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import toy_models
from experiments.baselines.training_tf import make_adam
from experiments.bench import step_timing
from experiments.bench.problems import AdamSettings
from experiments.bench.subprocesses import REPO
from experiments.records import metrics, provenance, record
from experiments.records.run_dir import utc_now
from experiments.report import page
from experiments.toy_models import data
from experiments.training import loop, timing
from experiments.training.model import Model, initial_weight, num_parameters
from experiments.training.prng import BatchRng
from experiments.training.task import Data

STEPS, ROUNDS = 4, 9  # steps a round; one round more warms up and is dropped
BATCH = 8
LOSS_TOLERANCE = 1e-4  # relative, between the mean losses of the last round
ADAM = AdamSettings()
SIZES = {"vocabulary": 256, "length": 256, "hidden": 512, "heads": 8}
SIZES |= {"filter_size": 2048, "layers": 4, "dropout": 0.0}
OURS, BY_HAND, FUSED = "ours", "by_hand", "by_hand_fused"

Batches = Callable[[int], Mapping[str, np.ndarray]]


def by_hand(
    model: Model, batches: Batches, *, fused: bool, steps: int
) -> Callable[[], float]:
    """A function that takes so many steps and returns their mean loss.

    fused: Adam by TensorFlow's kernel, which makes one pass over a weight.
    """
    weights = {
        name: tf.Variable(initial_weight(weight, name, 0))
        for name, weight in model.weights.items()
    }
    apply = make_adam(weights, ADAM, fused=fused)
    randomness = BatchRng(tf.constant([0, 0]), tf.constant(0))

    @tf.function
    def update(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            values = {name: weight.read_value() for name, weight in weights.items()}
            loss = tf.reduce_mean(model.loss(values, batch, randomness)[0])
        apply(tape.gradient(loss, weights))
        return loss

    number = 0

    def round_of_steps() -> float:
        nonlocal number
        losses = []
        for _ in range(steps):
            batch = {name: tf.constant(a) for name, a in batches(number).items()}
            losses.append(update(batch))
            number += 1
        return float(np.mean([loss.numpy() for loss in losses]))

    return round_of_steps


def measure(
    model: Model,
    others: Mapping[str, Callable[[], float]],
    batches: Batches,
    *,
    batch_size: int,
    steps: int,
    rounds: int,
) -> tuple[dict[str, list[float]], dict[str, float], float]:
    """Seconds a step by case and round; the last round's losses; the matmul peak.

    others: by case, a function that takes a round's steps and returns their mean loss.
    steps: of a round.  One round more warms up.

    A round of the loop ends when it writes a log line; the others' rounds follow.
    """
    seconds: dict[str, list[float]] = {name: [] for name in (OURS, *others)}
    losses: dict[str, float] = {}
    peak = 0.0
    began = None
    engine = step_timing.make_engine(model, ADAM, "batch:1")
    with tempfile.TemporaryDirectory() as folder:
        with metrics.metric_writer(Path(folder)) as write:

            def event(kind: str, step: int, **values: Any) -> None:
                nonlocal began, peak
                write(kind, step, **values)
                if kind == "peak":
                    peak = values["matmul_flops_per_second"]
                if kind != "train":
                    return
                if began is not None:
                    seconds[OURS].append((time.perf_counter() - began) / steps)
                losses[OURS] = values["loss"]
                for name, take in others.items():
                    before = time.perf_counter()
                    losses[name] = take()
                    if began is not None:
                        seconds[name].append((time.perf_counter() - before) / steps)
                began = time.perf_counter()

            num_steps = steps * (1 + rounds)
            loop.train(
                engine,
                Data("made", batch_size, batches, batches),
                run_dir=Path(folder),
                seed=0,
                settings=loop.LoopSettings(num_steps=num_steps, log_every=steps),
                write_event=event,
            )
    # The machine may have been faster at one end: the peak is the higher of both.
    return seconds, losses, max(peak, timing.peak_matmul_flops(["CPU:0"], "float32"))


def run(
    sizes: Mapping[str, Any], *, batch_size: int, steps: int, rounds: int
) -> list[record.Record]:
    """Records of the transformer of these sizes, trained by each case in turn.

    The check of a case fails if its last loss is not ours.
    """
    model = toy_models.transformer(**sizes)
    examples = toy_models.token_lines(
        length=sizes["length"], vocabulary=sizes["vocabulary"]
    )
    batches = data.batches(examples, seed=0, split=data.TRAINING, batch_size=batch_size)
    others = {
        name: by_hand(model, batches, fused=name == FUSED, steps=steps)
        for name in (BY_HAND, FUSED)
    }
    origin = provenance.git_state() | {
        "versions": provenance.versions(),
        "started_at": utc_now(),
        "bench_id": record.new_bench_id(),
    }
    seconds, losses, peak = measure(
        model, others, batches, batch_size=batch_size, steps=steps, rounds=rounds
    )
    problem = {"name": model.name, "source": examples.source}
    flops = model.flops_per_example * batch_size
    return [
        record.Record(
            experiment="step_cost",
            system=name,
            round=number,
            problem=problem | {"parameters": num_parameters(model)},
            hardware=provenance.hardware() | {"device": "cpu", "num_devices": 1},
            settings={"batch": batch_size, "steps": steps},
            status="ok",
            seconds={"step": seconds[name][number]},
            work={"flops": flops, "matmul_flops_per_second": peak},
            check={
                "passed": abs(losses[name] / losses[OURS] - 1) <= LOSS_TOLERANCE,
                "loss": losses[name],
                "tolerance": LOSS_TOLERANCE,
            },
            provenance=origin,
        )
        for number in range(rounds)
        for name in seconds
    ]


def main() -> None:
    """Prints the table; writes it and its records below --out.

    Raises RuntimeError if the cases differ in their losses.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "results")
    out = parser.parse_args().out
    tf.config.set_visible_devices([], "GPU")  # all cases run on the CPU
    path = out / "records" / "step_cost.jsonl"
    records = run(SIZES, batch_size=BATCH, steps=STEPS, rounds=ROUNDS)
    for case in records:
        record.append(path, case)
    page.render_step_cost(records_path=path, out_dir=out)
    print((out / "tables" / "step_cost.md").read_text(encoding="utf-8"), end="")
    wrong = {case.system for case in records if not case.check["passed"]}
    if wrong:
        raise RuntimeError(f"{sorted(wrong)}: given other losses, wanted those of ours")


if __name__ == "__main__":
    main()
