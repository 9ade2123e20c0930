"""Figure 2: an implicit variational program, whose branches differ in shape and type.

Python's own `if` looks at a random value.  One branch returns numbers, the other a
count that it draws itself.  Such a program can be run, and has no density.  A config
names `run`.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special, stats

import ppl_core as ppl
from experiments.programs import claims, pictures
from experiments.training.checks import check_count

HIDDEN = 16
OUTPUTS = 3  # of the positive branch
X = np.float32([0.5, -1.0])


class Net(NamedTuple):
    """A network of one hidden layer."""

    hidden: np.ndarray  # [1 + len(X), HIDDEN]
    output: np.ndarray  # [HIDDEN, outputs]


def make_net(outputs: int, seed: int) -> Net:
    random = np.random.default_rng([seed, outputs])
    hidden = random.normal(size=(1 + len(X), HIDDEN)) / (1 + len(X)) ** 0.5
    output = random.normal(size=(HIDDEN, outputs)) / HIDDEN**0.5
    return Net(hidden.astype(np.float32), output.astype(np.float32))


def apply(net: Net, noise: Any, x: np.ndarray) -> tf.Tensor:
    """The network of the noise (scalar) and x: [outputs]."""
    inputs = tf.concat([tf.reshape(noise, [1]), x], axis=0)
    return tf.linalg.matvec(
        net.output, tf.tanh(tf.linalg.matvec(net.hidden, inputs, True)), True
    )


def variational(positive: Net, negative: Net, x: np.ndarray) -> tf.Tensor:
    """The paper's program: OUTPUTS float32 numbers, or an int32 count."""
    eps = ppl.Normal(0.0, 1.0, sample_shape=2, name="eps")
    if eps[0] > 0:
        return apply(positive, eps[1], x)
    rate = tf.nn.softplus(apply(negative, eps[1], x)[0])
    return tf.cast(ppl.Poisson(rate, name="count"), tf.int32)


# What is known of it, by quadrature over the one normal number that a branch uses.

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def outputs_at(net: Net, noise: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`apply` by NumPy in float64, at many noises: [len(noise), outputs]."""
    inputs = np.concatenate([noise[:, None], np.tile(x, (len(noise), 1))], axis=1)
    return np.tanh(inputs @ net.hidden.astype(float)) @ net.output.astype(float)


def expectation(values: np.ndarray) -> np.ndarray:
    """Of values at NODES, under a standard normal number.  values: [nodes, ...]."""
    return np.tensordot(WEIGHTS / WEIGHTS.sum(), values, axes=1)


def rates_at(net: Net, noise: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The negative branch's rates, [len(noise)]."""
    return np.logaddexp(0.0, outputs_at(net, noise, x)[:, 0])


def count_probs(net: Net, x: np.ndarray, num: int) -> np.ndarray:
    """P(count = 0), ..., P(count = num - 1) in the negative branch."""
    rates = rates_at(net, NODES, x)[:, None]
    return expectation(stats.poisson.pmf(np.arange(num), rates))


def run(
    *, run_dir: Path, seed: int, num_runs: int = 4_000, dry_run: bool = False
) -> dict[str, Any]:
    """Runs the program many times and compares what it returns with quadrature.

    Writes claims and picture to `run_dir`.  Raises ValueError for a wrong argument;
    CheckFailed for a claim that does not hold.
    """
    check_count("num_runs", num_runs, minimum=200)
    if dry_run:
        return {}
    positive, negative = make_net(OUTPUTS, seed), make_net(1, seed)
    noises, numbers, counts, misfits, differing = [], [], [], 0, 0
    kinds: Counter[str] = Counter()
    for index in range(num_runs):
        with ppl.tape() as trace, ppl.seeded((seed, index)):
            result = variational(positive, negative, X)
        noises.append(trace["eps"].numpy())
        kind = (tuple(trace), tuple(result.shape), result.dtype.name)
        kinds[str(kind)] += 1
        if noises[-1][0] > 0:
            numbers.append(result.numpy())
            misfits += kind != (("eps",), (OUTPUTS,), "float32")
        else:
            counts.append(float(result))
            misfits += kind != (("eps", "count"), (), "int32")
        if index < num_runs // 10:
            with ppl.replay(trace):
                again = variational(positive, negative, X)
            differing += not np.array_equal(result, again)
    made = [
        claims.near(
            "share of runs in the positive branch",
            len(numbers) / num_runs,
            0.5,
            error=0.5 / num_runs**0.5,
        ),
        claims.at_most(
            "runs whose trace, shape or type is not that of their branch", misfits, 0
        ),
        claims.at_most("replayed runs with another result", differing, 0),
        *_moment_claims(np.array(numbers), np.array(counts), positive, negative),
        claims.at_least(
            "p value of the counts against their exact probabilities (chi-square)",
            count_p_value(np.array(counts), negative),
            0.001,
        ),
    ]
    facts = {"runs": num_runs, "kinds": dict(kinds)}
    draw(run_dir / claims.PICTURE, noises, numbers, counts, positive, negative)
    return claims.finish(run_dir, made, facts)


def _moment_claims(
    numbers: np.ndarray, counts: np.ndarray, positive: Net, negative: Net
) -> list[claims.Claim]:
    """The means and mean squares of both branches."""
    made = []
    at_nodes = outputs_at(positive, NODES, X)
    errors = []
    for power in (1, 2):
        values = numbers.astype(float) ** power
        error = values.std(0) / len(values) ** 0.5
        errors.append((values.mean(0) - expectation(at_nodes**power)) / error)
    made.append(
        claims.at_most(
            f"positive branch, means and mean squares of {OUTPUTS} numbers: largest "
            "error in standard errors",
            float(np.abs(errors).max()),
            4.0,
        )
    )
    rates = rates_at(negative, NODES, X)
    for text, values, expected in (
        ("mean of its count", counts, expectation(rates)),
        ("mean square of its count", counts**2, expectation(rates + rates**2)),
    ):
        error = values.std() / len(values) ** 0.5
        made.append(
            claims.near(
                f"negative branch, {text}", values.mean(), float(expected), error=error
            )
        )
    return made


def count_p_value(counts: np.ndarray, negative: Net) -> float:
    """Of a chi-square test; counts that are expected less than 10 times are pooled."""
    probs = count_probs(negative, X, 60)
    expected = len(counts) * probs
    last = int(np.argmax(np.cumsum(expected[::-1])[::-1] < 10)) - 1
    last = max(last, 1)
    seen = np.bincount(np.minimum(counts.astype(int), last), minlength=last + 1)
    pooled = np.append(expected[:last], len(counts) - expected[:last].sum())
    statistic = ((seen - pooled) ** 2 / pooled).sum()
    return float(special.chdtrc(last, statistic))


def draw(
    path: Path,
    noises: list[np.ndarray],
    numbers: list[np.ndarray],
    counts: list[float],
    positive: Net,
    negative: Net,
) -> None:
    """Writes a picture of both branches to `path`."""
    with pictures.figure(path, height=4.6) as figure:
        left, right = figure.subplots(1, 2)
        taken = np.array([noise for noise in noises if noise[0] > 0])[:, 1]
        some = slice(0, 400)
        grid = np.linspace(-3, 3, 200)
        for i in range(OUTPUTS):
            values = np.array(numbers)[some, i]
            left.plot(taken[some], values, ".", color=f"C{i}", markersize=4)
            curve = outputs_at(positive, grid, X)[:, i]
            left.plot(grid, curve, color=f"C{i}", linewidth=1, label=f"number {i}")
        left.set_xlabel("eps[1]")
        left.set_ylabel("value returned")
        left.set_title(f"eps[0] > 0: {OUTPUTS} numbers ({len(numbers)} runs)")
        left.legend()
        most = int(max(counts))
        places = np.arange(most + 1)
        seen = np.bincount(np.array(counts, int), minlength=most + 1) / len(counts)
        right.bar(places, seen, alpha=0.6, label="runs")
        right.plot(places, count_probs(negative, X, most + 1), "k_", markersize=18)
        right.plot([], [], "k_", markersize=12, label="exact, by quadrature")
        right.set_xlabel("count returned")
        right.set_ylabel("probability")
        right.set_title(f"otherwise: one count ({len(counts)} runs)")
        right.legend()
