"""A discriminator aligned with a model: a posterior from a ratio of densities.

The model can be run, and its density is not used.  A discriminator learns to tell its
runs from runs whose parameters were drawn apart from the data.  Its log odds are the
log ratio of p(x | theta) and p(x), so the prior times their exponential is the
posterior: Hermans, Begy and Louppe (2020), Likelihood-free MCMC with Amortized
Approximate Ratio Estimators.  The alignment says which of the model's variables the
discriminator sees: Tran et al. (2018), section 3.3.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import special, stats
from scipy.spatial import distance

import ppl_core as ppl
from experiments.programs import claims, pictures, preconditioned
from experiments.training.checks import check_count, check_counts, check_number
from experiments.training.optimizers import cosine_schedule

LEVEL_NOISE, CURVE_NOISE = 0.8, 0.5
HIDDEN = 64
ALIGNMENT = {"seen_theta": "theta", "seen_x": "x"}  # the discriminator's to the model's
GRID = np.linspace(-6, 6, 4001)  # of the first parameter, far into its prior's tails

Weights = dict[str, tf.Tensor]


# The programs.


def model(num_runs: int) -> None:
    """p(theta) p(x | theta), whose posterior is curved: [runs, 2] each."""
    theta = ppl.Normal(0.0, 1.0, sample_shape=[num_runs, 2], name="theta")
    first, second = tf.unstack(theta, axis=-1)
    mean = tf.stack([first, second + first**2], -1)
    ppl.Normal(mean, [LEVEL_NOISE, CURVE_NOISE], name="x")


def discriminator(weights: Weights, num_runs: int) -> None:
    """p(joint | theta, x): whether theta and x are of one run of the model."""
    theta = ppl.Flat(sample_shape=[num_runs, 2], name="seen_theta")
    x = ppl.Flat(sample_shape=[num_runs, 2], name="seen_x")
    ppl.Bernoulli(log_ratio(weights, theta, x), name="joint")


def log_ratio(weights: Weights, theta: Any, x: Any) -> tf.Tensor:
    """The discriminator's log odds: [runs]."""
    inputs = tf.concat([theta, x], -1)
    hidden = tf.tanh(inputs @ weights["first"] + weights["first_bias"])
    hidden = tf.tanh(hidden @ weights["second"] + weights["second_bias"])
    return tf.linalg.matvec(hidden, weights["last"]) + weights["last_bias"]


def discriminator_loss(weights: Weights, seed: tf.Tensor, num_runs: int) -> tf.Tensor:
    """Minus the discriminator's mean log prob of what is true, in nats."""
    with ppl.tape() as variables, ppl.seeded(seed):
        model(num_runs)
    seen = ppl.align(ALIGNMENT, variables)
    # The next run's data go with this run's theta.
    apart = seen | {"seen_x": tf.roll(seen["seen_x"], 1, axis=0)}
    log_joint = ppl.make_log_joint_fn(discriminator)
    true = log_joint(weights, num_runs, **seen, joint=tf.ones([num_runs], tf.int32))
    false = log_joint(weights, num_runs, **apart, joint=tf.zeros([num_runs], tf.int32))
    return -(true + false) / (2 * num_runs)


# What is done with them.


def run(
    *,
    run_dir: Path,
    seed: int,
    num_runs: int = 4096,
    num_steps: int = 3000,
    learning_rate: float = 0.005,
    num_observed: int = 5,
    num_draws: int = 500,
    num_permutations: int = 999,
    num_test_runs: int = 100_000,
    least_p_value: float = 0.05,
    most_nats_short: float = 0.003,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Trains the discriminator, and compares its posterior with the exact one.

    num_runs: of the model, drawn anew in each step.
    learning_rate: of Adam, which falls to 0 as half a cosine.
    num_observed: data sets from the model, each with a posterior.
    num_draws: of each posterior; a two-sample test compares them with as many exact
      ones, by the maximum mean discrepancy and permutations.
    num_test_runs: on which the discriminator is compared with the exact ratio.
    least_p_value: that the smallest of the tests may have, with Bonferroni's factor.
    most_nats_short: how far the loss may end above that of the exact ratio.

    Writes claims.json and picture.png, and returns the former.  Raises ValueError for
    arguments that do not fit, and CheckFailed for a claim that does not hold.
    """
    check_count("num_runs", num_runs, minimum=2)
    check_count("num_draws", num_draws, minimum=10)
    check_count("num_permutations", num_permutations, minimum=99)
    check_count("num_test_runs", num_test_runs, minimum=100)
    check_counts(num_steps=num_steps, num_observed=num_observed)
    check_number("learning_rate", learning_rate, above=0)
    check_number("least_p_value", least_p_value, above=0, below=1)
    check_number("most_nats_short", most_nats_short, above=0)
    if dry_run:
        return {}
    rng = np.random.default_rng(seed)
    weights = train(rng, (seed, 0), num_runs, num_steps, learning_rate)
    theta, x = draw_runs((seed, 1), num_test_runs)
    short, error = loss_above_exact(weights, theta, x)
    prior, _ = draw_runs((seed, 2), 200_000)
    observed = draw_runs((seed, 3), num_observed)[1]
    p_values, control, pairs = [], [], []
    for data in observed:
        estimated = resample(rng, weights, prior, data, num_draws)
        exact = exact_draws(rng, data, num_draws)
        pairs.append((estimated, exact))
        p_values.append(two_sample_p_value(rng, estimated, exact, num_permutations))
        other = prior[:num_draws]
        control.append(two_sample_p_value(rng, other, exact, num_permutations))
    made = [
        claims.at_most(
            "discriminator's loss above that of the exact ratio, nats",
            short,
            most_nats_short,
            error=error,
        ),
        claims.at_least(
            f"two-sample test against the exact posterior, smallest p-value of "
            f"{num_observed}, times {num_observed}",
            min(1.0, num_observed * min(p_values)),
            least_p_value,
        ),
        claims.at_most(
            "the same test of the prior against the exact posterior, largest p-value",
            max(control),
            0.01,
        ),
    ]
    draw(run_dir / claims.PICTURE, observed, pairs)
    return claims.finish(run_dir, made, {"p_values": p_values})


def train(
    rng: np.random.Generator,
    seed: tuple[int, int],
    num_runs: int,
    num_steps: int,
    learning_rate: float,
) -> Weights:
    """The discriminator's weights after training on new runs in each step."""
    schedule = cosine_schedule(learning_rate, warmup_steps=1, num_steps=num_steps)
    trained = preconditioned.fit(
        lambda weights, seed: {
            "discriminator": -discriminator_loss(weights, seed, num_runs)
        },
        first_weights(rng),
        seed=seed,
        jit_compile=True,
        learning_rate=schedule,
        num_steps=num_steps,
    )
    return trained.parameters


def first_weights(rng: np.random.Generator) -> Weights:
    """Random weights, and biases of 0."""
    shapes = {"first": (4, HIDDEN), "second": (HIDDEN, HIDDEN), "last": (HIDDEN,)}
    weights = {
        name: rng.standard_normal(shape) / np.sqrt(shape[0])
        for name, shape in shapes.items()
    }
    biases = {"first_bias": HIDDEN, "second_bias": HIDDEN, "last_bias": ()}
    weights |= {name: np.zeros(shape) for name, shape in biases.items()}
    return {name: tf.constant(part, tf.float32) for name, part in weights.items()}


def draw_runs(seed: tuple[int, int], num_runs: int) -> tuple[np.ndarray, np.ndarray]:
    """theta and x of runs of the model: both [runs, 2]."""
    with ppl.tape() as variables, ppl.seeded(seed):
        model(num_runs)
    return variables["theta"].numpy(), variables["x"].numpy()


def resample(
    rng: np.random.Generator,
    weights: Weights,
    prior: np.ndarray,
    x: np.ndarray,
    num_draws: int,
) -> np.ndarray:
    """Draws of the estimated posterior at x, among draws of the prior: [draws, 2]."""
    repeated = np.broadcast_to(x, prior.shape)
    ratio = special.softmax(log_ratio(weights, prior, repeated).numpy().astype(float))
    return prior[rng.choice(len(prior), num_draws, replace=False, p=ratio)]


def exact_draws(rng: np.random.Generator, x: np.ndarray, num_draws: int) -> np.ndarray:
    """Draws of the exact posterior at x: [draws, 2].

    The first parameter's posterior is known on a grid, and the second's given the first
    is normal.
    """
    below = np.cumsum(special.softmax(log_weights(x[np.newaxis])[0]))
    first = np.interp(rng.uniform(size=num_draws), below, GRID)
    variance = 1 / (1 + 1 / CURVE_NOISE**2)
    mean = variance * (x[1] - first**2) / CURVE_NOISE**2
    second = mean + np.sqrt(variance) * rng.standard_normal(num_draws)
    return np.stack([first, second], -1)


def log_weights(x: np.ndarray) -> np.ndarray:
    """log p(first, x) at the grid's points, without its width: [rows, grid]."""
    second_spread = np.hypot(1, CURVE_NOISE)  # of x[1] given the first parameter
    return (
        stats.norm.logpdf(GRID)
        + stats.norm.logpdf(x[:, :1], GRID, LEVEL_NOISE)
        + stats.norm.logpdf(x[:, 1:], GRID**2, second_spread)
    )


def exact_log_ratio(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log p(x | theta) - log p(x): [rows]."""
    first, second = theta.T.astype(float)
    likelihood = stats.norm.logpdf(x[:, 0], first, LEVEL_NOISE)
    likelihood += stats.norm.logpdf(x[:, 1], second + first**2, CURVE_NOISE)
    width = GRID[1] - GRID[0]
    parts = np.array_split(x.astype(float), max(len(x) // 1000, 1))
    marginal = [special.logsumexp(log_weights(part), axis=1) for part in parts]
    return likelihood - np.concatenate(marginal) - np.log(width)


def loss_above_exact(
    weights: Weights, theta: np.ndarray, x: np.ndarray
) -> tuple[float, float]:
    """The discriminator's loss above the exact ratio's on these runs, and its error."""
    other = np.roll(x, 1, axis=0)
    losses = []
    for estimate in (lambda *pair: log_ratio(weights, *pair).numpy(), exact_log_ratio):
        true = np.logaddexp(0, -estimate(theta, x))
        losses.append(0.5 * (true + np.logaddexp(0, estimate(theta, other))))
    above = losses[0] - losses[1]
    return float(above.mean()), claims.standard_error(above)


def two_sample_p_value(
    rng: np.random.Generator,
    first: np.ndarray,
    second: np.ndarray,
    num_permutations: int,
) -> float:
    """The p-value of the hypothesis that two samples have one distribution.

    Gretton et al. (2012), A kernel two-sample test: the maximum mean discrepancy with a
    Gaussian kernel as wide as the median distance, against permutations of the samples.
    """
    pooled = np.concatenate([first, second])
    squares = distance.squareform(distance.pdist(pooled, "sqeuclidean"))
    kernel = np.exp(-squares / np.median(squares))
    signs = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])
    permuted = rng.permuted(np.tile(signs, (num_permutations, 1)), axis=1)
    discrepancy = signs @ kernel @ signs
    others = np.sum(permuted @ kernel * permuted, axis=1)
    return float((1 + np.sum(others >= discrepancy)) / (1 + num_permutations))


def draw(path: Path, observed: np.ndarray, pairs: Any) -> None:
    """Both posteriors' draws, for the first two data sets."""
    shown: Mapping[str, str] = {"ratio": "tab:blue", "exact": "black"}
    with pictures.figure(path, height=4.5) as figure:
        row = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, x, pair in zip(row, observed, pairs, strict=False):
            for points, (label, color) in zip(pair, shown.items(), strict=True):
                axes.scatter(*points.T, s=6, alpha=0.6, color=color, label=label)
            axes.set(xlabel="theta 1", ylabel="theta 2")
            axes.set_title(f"posterior at x = ({x[0]:.2f}, {x[1]:.2f})")
            axes.legend(title="draws by")
