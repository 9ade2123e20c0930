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
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.bench.subprocesses import REPO
from experiments.records import provenance

tfd = tfp.distributions
CALLS, ROUNDS = 300, 7


def cases() -> dict[str, Callable[[], object]]:
    """What is timed, by name: each makes one normal variable."""
    seed, numbers = tf.constant([0, 1]), itertools.count()
    value = tf.constant(0.5)

    def variable(**given: Any) -> ppl.RandomVariable:
        return ppl.Normal(0.0, 1.0, name=f"x{next(numbers)}", **given)

    def draw_on_tape() -> object:
        with ppl.tape():
            return variable(seed=seed)

    def draw_under_three() -> object:
        with ppl.tape(), ppl.seeded(seed), ppl.scale(2.0):
            return variable()

    return {
        "TFP: distribution and draw": lambda: tfd.Normal(0.0, 1.0).sample(seed=seed),
        "random variable, drawn": lambda: variable(seed=seed),
        "random variable, drawn, on a tape": draw_on_tape,
        "random variable, drawn, under tape, seeded and scale": draw_under_three,
        "TFP: distribution": lambda: tfd.Normal(0.0, 1.0),
        "random variable with a value": lambda: variable(value=value),
        "TFP: distribution and log prob": lambda: tfd.Normal(0.0, 1.0).log_prob(value),
        "random variable with a value, and its log prob": (
            lambda: variable(value=value).log_prob()
        ),
        "TFP: log joint of eight schools, four chains, called eagerly": tfp_schools(),
        "posterior of eight schools, four chains, called eagerly": schools(),
    }


Y = np.float32([28, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.float32([15, 10, 16, 11, 9, 11, 10, 18])


def schools() -> Callable[[], object]:
    """Our posterior's log prob, which is traced once for each shape."""

    def program() -> None:
        mu = ppl.Normal(0.0, 5.0, name="mu")
        tau = ppl.HalfNormal(5.0, name="tau")
        theta = ppl.Normal(mu, tau, sample_shape=8, name="theta")
        ppl.Normal(theta, SIGMA, name="y")

    posterior = ppl.unconstrain(program, observed={"y": Y})
    vectors = tf.zeros([4, posterior.dim])
    return lambda: posterior.log_prob(vectors)


def tfp_schools() -> Callable[[], object]:
    """The same density by TFP's distributions, operation by operation."""
    mu, y = tf.zeros([4]), tf.zeros([4, 8])
    tau = tf.fill([4], float(np.log(2.0)))

    def log_joint() -> tf.Tensor:
        prior = tfd.Normal(0.0, 5.0).log_prob(mu) + tfd.HalfNormal(5.0).log_prob(tau)
        theta = tfd.Normal(mu[:, tf.newaxis], tau[:, tf.newaxis]).log_prob(y)
        data = tfd.Normal(y, SIGMA).log_prob(Y)
        return prior + tf.reduce_sum(theta + data, axis=1)

    return log_joint


def measure() -> dict[str, list[float]]:
    """Microseconds a call by case, one number a round; the cases take turns."""
    made = cases()
    times: dict[str, list[float]] = {name: [] for name in made}
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
        "in turn, one normal variable a call where no other is named.",
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
