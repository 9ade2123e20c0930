"""What our runtime and loop add to a training step written by hand in TensorFlow.

    python -m experiments.bench.step_cost [--out=results]

One transformer on one device, in one process: rounds of the loop's steps, everything
that it does included, and of the hand-written step's, in turn.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import stand_ins
from experiments.inference import optimize
from experiments.parallel import engines, optimizers, topology
from experiments.parallel.model import Model, draw, num_parameters
from experiments.parallel.randomness import Randomness
from experiments.parallel.runtime import StepSettings
from experiments.records import metrics, provenance
from experiments.stand_ins import data

REPO = Path(__file__).resolve().parents[2]
STEPS, ROUNDS = 10, 9  # of a round; the first round warms up and is dropped
BATCH = 8
RATE, BETA1, BETA2, EPSILON = 1e-4, 0.9, 0.999, 1e-8
SIZES = dict(
    vocabulary=256,
    length=256,
    hidden=512,
    heads=8,
    filter_size=2048,
    layers=4,
    dropout=0.0,
)
OURS = "runtime and loop"
BY_HAND = "by hand, Adam as in the paper"
FUSED = "by hand, TensorFlow's fused Adam"

Batches = Callable[[int], Mapping[str, np.ndarray]]


def by_hand(model: Model, batches: Batches, *, fused: bool) -> Callable[[], float]:
    """A function that takes STEPS steps and gives their mean loss.

    fused: Adam by TensorFlow's kernel, which passes over a weight once.
    """
    weights = {
        name: tf.Variable(draw(weight, name, 0))
        for name, weight in model.weights.items()
    }
    means = {name: tf.Variable(tf.zeros_like(w)) for name, w in weights.items()}
    squares = {name: tf.Variable(tf.zeros_like(w)) for name, w in weights.items()}
    step = tf.Variable(0, dtype=tf.int64)
    randomness = Randomness(tf.constant([0, 0]), tf.constant(0))

    @tf.function
    def update(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            nats, _ = model.loss(
                {name: weight.read_value() for name, weight in weights.items()},
                batch,
                randomness,
            )
            loss = tf.reduce_mean(nats)
        grads = tape.gradient(loss, list(weights.values()))
        power = tf.cast(step.assign_add(1), tf.float32)
        power1, power2 = BETA1**power, BETA2**power
        for (name, weight), grad in zip(weights.items(), grads, strict=True):
            mean, square = means[name], squares[name]
            if fused:
                tf.raw_ops.ResourceApplyAdam(
                    var=weight.handle,
                    m=mean.handle,
                    v=square.handle,
                    beta1_power=power1,
                    beta2_power=power2,
                    lr=RATE,
                    beta1=BETA1,
                    beta2=BETA2,
                    epsilon=EPSILON,
                    grad=grad,
                )
                continue
            new_mean = mean.assign(BETA1 * mean + (1 - BETA1) * grad)
            new_square = square.assign(BETA2 * square + (1 - BETA2) * grad * grad)
            change = RATE * (new_mean / (1 - power1))
            weight.assign_sub(change / (tf.sqrt(new_square / (1 - power2)) + EPSILON))
        return loss

    number = 0

    def round_of_steps() -> float:
        nonlocal number
        losses = []
        for _ in range(STEPS):
            batch = {name: tf.constant(a) for name, a in batches(number).items()}
            losses.append(update(batch))
            number += 1
        return float(np.mean([loss.numpy() for loss in losses]))

    return round_of_steps


def measure(
    model: Model, others: Mapping[str, Callable[[], float]], batches: Batches
) -> tuple[dict[str, list[float]], dict[str, float], float]:
    """Seconds a step by case, one number a round; losses after the last; the peak.

    The loop says at each of its lines that a round is over; then the others have
    theirs, and its clock goes on.
    """
    seconds: dict[str, list[float]] = {name: [] for name in (OURS, *others)}
    losses: dict[str, float] = {}
    peak = 0.0
    began = None
    adam = optimizers.adam(
        optimizers.constant(RATE), beta1=BETA1, beta2=BETA2, epsilon=EPSILON
    )
    runtime = engines.make_runtime(
        model, adam, topology.parse("batch:1"), StepSettings()
    )
    with tempfile.TemporaryDirectory() as kept:
        with metrics.recording(Path(kept)) as record:

            def event(kind: str, step: int, **values: Any) -> None:
                nonlocal began, peak
                record(kind, step, **values)
                if kind == "peak":
                    peak = values["matmul_flops_per_second"]
                if kind != "train":
                    return
                if began is not None:
                    seconds[OURS].append((time.perf_counter() - began) / STEPS)
                losses[OURS] = values["loss"]
                for name, take in others.items():
                    before = time.perf_counter()
                    losses[name] = take()
                    if began is not None:
                        seconds[name].append((time.perf_counter() - before) / STEPS)
                began = time.perf_counter()

            optimize.train(
                runtime,
                optimize.Data("made", BATCH, batches, batches),
                run_dir=Path(kept),
                seed=0,
                settings=optimize.LoopSettings(
                    num_steps=STEPS * (1 + ROUNDS), log_every=STEPS
                ),
                event=event,
            )
    return seconds, losses, peak


def markdown(
    model: Model,
    seconds: Mapping[str, list[float]],
    losses: Mapping[str, float],
    peak: float,
) -> str:
    """The table: medians and ranges over the rounds, ratios taken within each."""
    machine = provenance.hardware()
    flops = model.flops_per_example * BATCH
    lines = [
        "# Cost of a training step through runtime and loop",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, one device; {model.name}, "
        f"{num_parameters(model):,} parameters, {BATCH} examples a step; {ROUNDS} "
        f"rounds of {STEPS} steps in turn. Measured matmul peak: {peak / 1e9:.0f} "
        "GFLOP/s.",
        "",
        "| case | s a step, median (range) | ours over it | MFU | loss at the end |",
        "|---|---|---|---|---|",
    ]
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(seconds[OURS], values, strict=True)]
        ratio = "-" if name == OURS else _range(ratios)
        mfu = flops / statistics.median(values) / peak
        lines.append(
            f"| {name} | {_range(values)} | {ratio} | {mfu:.0%} | {losses[name]:.5f} |"
        )
    return "\n".join(lines) + "\n"


def _range(values: list[float]) -> str:
    low, median, high = min(values), statistics.median(values), max(values)
    return f"{median:.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    """Prints the table and writes it to tables/step_cost.md under --out.

    Raises RuntimeError where the cases did not train alike.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "results")
    path = parser.parse_args().out / "tables" / "step_cost.md"
    model = stand_ins.transformer(**SIZES)
    examples = stand_ins.token_lines(
        length=SIZES["length"], vocabulary=SIZES["vocabulary"]
    )
    batches = data.batches(examples, seed=0, split=data.TRAINING, batch_size=BATCH)
    others = {
        BY_HAND: by_hand(model, batches, fused=False),
        FUSED: by_hand(model, batches, fused=True),
    }
    seconds, losses, peak = measure(model, others, batches)
    for name, loss in losses.items():
        if abs(loss / losses[OURS] - 1) > 1e-3:
            raise RuntimeError(f"{name}: loss {loss}, ours {losses[OURS]}: not alike")
    text = markdown(model, seconds, losses, peak)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
