"""What a random variable costs in eager mode, beside the TFP distribution it wraps.

    python -m experiments.bench.eager_cost [--out=results]

Beside both stands the least that a random variable may be.  Once compiled a traced
program costs nothing more: make bench-nuts shows that.
"""

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl
from experiments.bench.subprocesses import REPO
from experiments.records import provenance
from ppl_core import operators

tfd = tfp.distributions
CALLS, ROUNDS = 300, 7
DRAW, MADE, LOG_PROB, LAPLACE, SCHOOLS = (
    "TFP: distribution and draw",
    "TFP: distribution",
    "TFP: distribution and log prob",
    "TFP: Laplace distribution and log prob",
    "TFP: log joint of eight schools, four chains, called eagerly",
)


class Case(NamedTuple):
    """What is timed."""

    call: Callable[[], object]
    beside: str | None = None  # the case of plain TFP that it is compared with
    # Whether it is timed with TensorFlow's own operators of tf.Tensor.
    is_plain: bool = False


def cases() -> dict[str, Case]:
    """What is timed, by name: each makes one normal variable."""
    seed, numbers = tf.constant([0, 1]), itertools.count()
    value = tf.constant(0.5)
    least = least_constructor()

    def variable(**given: Any) -> ppl.RandomVariable:
        return ppl.Normal(0.0, 1.0, name=f"x{next(numbers)}", **given)

    def least_variable(**given: Any) -> Drawn:
        return least(0.0, 1.0, name=f"x{next(numbers)}", **given)

    def draw_on_tape() -> object:
        with ppl.tape():
            return variable(seed=seed)

    def draw_under_three() -> object:
        with ppl.tape(), ppl.seeded(seed), ppl.scale(2.0):
            return variable()

    def log_prob() -> tf.Tensor:
        return tfd.Normal(0.0, 1.0).log_prob(value)

    return {
        DRAW: Case(lambda: tfd.Normal(0.0, 1.0).sample(seed=seed), is_plain=True),
        "least random variable, drawn": Case(
            lambda: least_variable(seed=seed), DRAW, is_plain=True
        ),
        "random variable, drawn": Case(lambda: variable(seed=seed), DRAW),
        "random variable, drawn, on a tape": Case(draw_on_tape, DRAW),
        "random variable, drawn, under tape, seeded and scale": Case(
            draw_under_three, DRAW
        ),
        MADE: Case(lambda: tfd.Normal(0.0, 1.0), is_plain=True),
        "least random variable with a value": Case(
            lambda: least_variable(value=value), MADE, is_plain=True
        ),
        "random variable with a value": Case(lambda: variable(value=value), MADE),
        LOG_PROB: Case(log_prob, is_plain=True),
        "the same under this package's operators of tf.Tensor": Case(
            log_prob, LOG_PROB
        ),
        "least random variable with a value, and its log prob": Case(
            lambda: least_variable(value=value).log_prob(), LOG_PROB, is_plain=True
        ),
        "random variable with a value, and its log prob": Case(
            lambda: variable(value=value).log_prob(), LOG_PROB
        ),
        LAPLACE: Case(lambda: tfd.Laplace(0.0, 1.0).log_prob(value), is_plain=True),
        "Laplace variable with a value, and its log prob": Case(
            lambda: ppl.Laplace(0.0, 1.0, value=value, name="x").log_prob(), LAPLACE
        ),
        SCHOOLS: Case(tfp_schools(), is_plain=True),
        "posterior of eight schools, four chains, called eagerly": Case(
            schools(), SCHOOLS
        ),
    }


class Drawn(NamedTuple):
    """The least that a random variable may be: no operators and no checks."""

    name: str
    distribution: tfd.Distribution
    value: tf.Tensor

    def log_prob(self) -> tf.Tensor:
        """The log density of its value."""
        return self.distribution.log_prob(self.value)


def least_constructor() -> Callable[..., Drawn]:
    """Makes a normal variable through a stack of tracers, and does nothing more.

    Tran et al. (2018), figure 5: the function on top of the stack has the call, and the
    one at the bottom runs it.
    """
    stack: list[Callable[..., Any]] = [
        lambda make, *args, **given: make(*args, **given)
    ]

    def make(*args: Any, name: str, value: Any = None, seed: Any = None) -> Drawn:
        distribution = tfd.Normal(*args)
        if value is None:
            value = distribution.sample(seed=seed)
        return Drawn(name, distribution, value)

    return lambda *args, **given: stack[-1](make, *args, **given)


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


@contextlib.contextmanager
def plain_operators() -> Iterator[None]:
    """Gives tf.Tensor TensorFlow's own operators for the block."""
    ours = {name: getattr(tf.Tensor, name) for name in operators.TENSORFLOWS}
    for name, theirs in operators.TENSORFLOWS.items():
        setattr(tf.Tensor, name, theirs)
    try:
        yield
    finally:
        for name, operator in ours.items():
            setattr(tf.Tensor, name, operator)


def measure(made: dict[str, Case]) -> dict[str, list[float]]:
    """Microseconds of CPU a call by case, one number a round; the cases take turns."""
    times: dict[str, list[float]] = {name: [] for name in made}
    for number in range(1 + ROUNDS):
        for name, case in made.items():
            with plain_operators() if case.is_plain else contextlib.nullcontext():
                began = time.process_time()
                for _ in range(CALLS):
                    case.call()
                seconds = time.process_time() - began
            if number:  # the first round warms up
                times[name].append(1e6 * seconds / CALLS)
    return times


def markdown(made: dict[str, Case], times: dict[str, list[float]]) -> str:
    """The table: median and range over the rounds, and the median difference."""
    machine = provenance.hardware()
    lines = [
        "# Eager cost of a random variable",
        "",
        f"{machine['cpu']}, {machine['cores']} cores; {ROUNDS} rounds of {CALLS} calls "
        "in turn, one normal variable a call where no other is named.",
        "",
        "The rows of TFP, and of the least random variable (tracing as in Tran et al. "
        "(2018), figure 5, without checks or operators), are measured under "
        "TensorFlow's own operators of tf.Tensor.  The last column is the difference "
        "from the row of TFP above, round by round.  The eager log prob of a normal "
        "variable is this package's, by cheaper functions than TFP's; that of a "
        "Laplace variable is TFP's.",
        "",
        "| case | CPU µs a call, median (range) | more than TFP, median (range) |",
        "|---|---|---|",
    ]
    for name, values in times.items():
        beside = made[name].beside
        more = "" if beside is None else _summary(np.subtract(values, times[beside]))
        lines.append(f"| {name} | {_summary(values)} | {more} |")
    return "\n".join(lines) + "\n"


def _summary(values: Any) -> str:
    low, median, high = min(values), statistics.median(values), max(values)
    return f"{median:.0f} ({low:.0f} to {high:.0f})"


def main() -> None:
    """Prints the table and writes it to tables/eager_cost.md under --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "results")
    path = parser.parse_args().out / "tables" / "eager_cost.md"
    made = cases()
    text = markdown(made, measure(made))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
