"""What a random variable costs in eager mode, beside the TFP distribution it wraps.

    python -m experiments.bench.eager_cost [--out=results]

Once compiled a traced program costs nothing more: make bench-nuts shows that.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.records import provenance

tfd = tfp.distributions
REPO = Path(__file__).resolve().parents[2]
CALLS, ROUNDS = 300, 7


def cases() -> dict[str, Callable[[], object]]:
    """What is timed, by name: each makes one normal variable."""
    seed, numbers = tf.constant([0, 1]), itertools.count()
    value = tf.constant(0.5)

    def name() -> str:
        return f"x{next(numbers)}"

    def tfp_draw() -> object:
        return tfd.Normal(0.0, 1.0).sample(seed=seed)

    def tfp_log_prob() -> object:
        return tfd.Normal(0.0, 1.0).log_prob(value)

    def draw() -> object:
        return ppl.Normal(0.0, 1.0, name=name(), seed=seed)

    def log_prob() -> object:
        return ppl.Normal(0.0, 1.0, name=name(), value=value).log_prob()

    def draw_on_tape() -> object:
        with ppl.tape():
            return draw()

    def draw_under_three() -> object:
        with ppl.tape(), ppl.seeded(seed), ppl.scale(2.0):
            return ppl.Normal(0.0, 1.0, name=name())

    return {
        "TFP: distribution and draw": tfp_draw,
        "random variable, drawn": draw,
        "random variable, drawn, on a tape": draw_on_tape,
        "random variable, drawn, under tape, seeded and scale": draw_under_three,
        "TFP: distribution and log prob": tfp_log_prob,
        "random variable with a value, and its log prob": log_prob,
    }


def measure() -> dict[str, list[float]]:
    """Microseconds a call by case, one number a round; the cases take turns."""
    times: dict[str, list[float]] = {name: [] for name in cases()}
    made = cases()
    for number in range(1 + ROUNDS):
        for name, call in made.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                call()
            if number:  # the first round warms up
                seconds = time.perf_counter() - began
                times[name].append(1e6 * seconds / CALLS)
    return times


def markdown(times: dict[str, list[float]]) -> str:
    """The table: median and range over the rounds."""
    machine = provenance.hardware()
    lines = [
        "# Eager cost of a random variable",
        "",
        f"{machine['cpu']}, {machine['cores']} cores; {ROUNDS} rounds of {CALLS} calls "
        "in turn, one normal variable a call.",
        "",
        "| case | µs a call, median (range) |",
        "|---|---|",
    ]
    for name, values in times.items():
        low, median, high = min(values), statistics.median(values), max(values)
        lines.append(f"| {name} | {median:.0f} ({low:.0f}-{high:.0f}) |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table and writes it to tables/eager_cost.md under --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "results")
    path = parser.parse_args().out / "tables" / "eager_cost.md"
    text = markdown(measure())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
