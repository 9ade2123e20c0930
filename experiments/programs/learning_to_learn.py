"""Learning to learn: the gradient of a whole optimisation, the paper's Figure 13.

Figure 12 fits a guide by Adam on preconditioned gradients.  Its last loss is a function
of the preconditioner, and is descended by Adam as well.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.inference import xla_options
from experiments.programs import claims, pictures, preconditioned
from experiments.programs.checkpointed_loop import checkpointed_loop
from experiments.programs.loop_memory import loop_bytes
from experiments.records.progress import progress
from experiments.training.checks import check_count, check_counts, check_number

NUM_FEATURES = 4
PRIOR_SCALE, NOISE = 10.0, 1.0
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # among which Adam's is chosen


class Problems(NamedTuple):
    """Regressions on the powers of a number, each with data of its own."""

    features: tf.Tensor  # [problems, rows, features] float64
    y: tf.Tensor  # [problems, rows]


# The programs.


def regressions(features: tf.Tensor) -> None:
    """p(coeffs) p(y | features, coeffs) of every problem."""
    zeros = tf.zeros_like(features[:, 0])  # [problems, features]
    coeffs = ppl.Normal(zeros, PRIOR_SCALE, name="coeffs")
    ppl.Normal(tf.linalg.matvec(features, coeffs), NOISE, name="y")


def mean_field(parameters: tf.Tensor) -> None:
    """A normal for each coefficient; parameters are [problems, 2 * features]."""
    loc, scale = tf.split(parameters, 2, axis=-1)
    ppl.Normal(loc, tf.nn.softplus(scale), name="q_coeffs")


def loss(problems: Problems, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Figure 12's loss, added up over the problems."""
    terms = preconditioned.elbo_terms(
        functools.partial(regressions, problems.features),
        functools.partial(mean_field, parameters),
        {"coeffs": "q_coeffs"},
        {"y": problems.y},
        seed,
    )
    return preconditioned.negative(terms)


def last_loss(
    preconditioner: tf.Tensor, problems: Problems, seed: tf.Tensor, num_steps: int
) -> tf.Tensor:
    """The mean last loss of Figure 12.

    Its gradient by the preconditioner is that of the whole optimisation, in memory that
    grows as the square root of the steps.
    """

    def step(
        preconditioner: tf.Tensor, state: preconditioned.State, index: tf.Tensor
    ) -> preconditioned.State:
        at_index = preconditioned.step_seed(seed, index)
        return preconditioned.step(
            lambda parameters: loss(problems, parameters, at_index),
            state,
            index,
            preconditioner=preconditioner,
        )[0]

    first = preconditioned.start(first_parameters(problems))
    last = checkpointed_loop(step, preconditioner, first, num_steps)
    at_end = preconditioned.step_seed(seed, num_steps)
    return loss(problems, last.parameters, at_end) / problems.y.shape[0]


# What is done with them.


def run(
    *,
    run_dir: Path,
    seed: int,
    num_inner_steps: int = preconditioned.NUM_STEPS,
    num_outer_steps: int = 100,
    num_problems: int = 256,
    num_held_out: int = 1000,
    num_rows: int = 20,
    memory_steps: tuple[int, ...] = (125, 500, 2000),
    num_memory_rows: int = 50_000,
    most_relative_error: float = 1e-4,
    num_errors: float = 4.0,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Learns the preconditioner of Figure 12 by Figure 13, and uses it on new problems.

    num_inner_steps, num_outer_steps: of Adam with the rate 0.1, at both levels.
    num_problems: new regressions in each outer step, on which it is learned.
    num_held_out: other regressions, on which it is compared.
    num_rows: of each regression.
    memory_steps: inner steps whose gradient's memory is measured, in ascending order.
    num_memory_rows: of the one regression of that measurement.
    most_relative_error: of the gradient against central differences.
    num_errors: by how many standard errors the learned one has to be better.

    Writes claims.json and picture.png, and returns the former.  Raises ValueError for
    arguments that do not fit, and CheckFailed for a claim that does not hold.
    """
    check_counts(num_inner_steps=num_inner_steps, num_outer_steps=num_outer_steps)
    check_counts(num_problems=num_problems, num_rows=num_rows)
    check_counts(num_memory_rows=num_memory_rows)
    check_count("num_held_out", num_held_out, minimum=2)
    for steps in memory_steps:
        check_count("memory_steps", steps)
    if len(memory_steps) < 2 or list(memory_steps) != sorted(set(memory_steps)):
        raise ValueError(
            f"memory_steps: given {memory_steps!r}, wanted two or more in ascending "
            "order"
        )
    check_number("most_relative_error", most_relative_error, above=0)
    check_number("num_errors", num_errors, at_least=0)
    if dry_run:
        return {}
    xla_options.read_options()  # its loops of small steps are several times as fast
    rng = np.random.default_rng(seed)
    problems = draw_problems(rng, num_problems, num_rows)
    held_out = draw_problems(rng, num_held_out, num_rows)
    error = gradient_error(rng, problems, (seed, 0), num_inner_steps)
    learned, outer_losses = learn(
        rng, (seed, 1), num_problems, num_rows, num_inner_steps, num_outer_steps
    )
    rate = best_rate(problems, (seed, 2), num_inner_steps)
    fit = fitter(held_out, (seed, 3), num_inner_steps)
    fits = {
        "learned": fit(learned, preconditioned.LEARNING_RATE),
        "identity": fit(identity(), preconditioned.LEARNING_RATE),
        f"Adam, best rate ({rate:g})": fit(identity(), rate),
    }
    excess = {
        name: excess_loss(held_out, found.parameters.numpy())
        for name, found in fits.items()
    }
    kept = gradient_memory(rng, num_memory_rows, memory_steps)
    made = [
        claims.at_most(
            f"gradient through {num_inner_steps} steps against central differences, "
            "relative",
            error,
            most_relative_error,
        ),
        *(
            better(excess["learned"], other, name, num_errors)
            for name, other in excess.items()
            if name != "learned"
        ),
        claims.at_most(
            f"growth of the gradient's memory from {memory_steps[0]} to "
            f"{memory_steps[-1]} steps, as a power of the steps",
            growth(kept),
            0.55,
        ),
    ]
    facts = {
        "excess_nats": {name: float(part.mean()) for name, part in excess.items()},
        "bytes_by_steps": {str(steps): size for steps, size in kept.items()},
        "preconditioner": learned.numpy().round(3).tolist(),
    }
    draw(run_dir / claims.PICTURE, held_out, fits, outer_losses, kept)
    return claims.finish(run_dir, made, facts)


def draw_problems(
    rng: np.random.Generator, num_problems: int, num_rows: int
) -> Problems:
    """Problems from the model itself, on the powers 0, 1, ... of uniform numbers."""
    x = rng.uniform(size=[num_problems, num_rows, 1])
    features = x ** np.arange(NUM_FEATURES)
    coeffs = PRIOR_SCALE * rng.standard_normal([num_problems, NUM_FEATURES, 1])
    noise = NOISE * rng.standard_normal([num_problems, num_rows])
    return Problems(
        tf.constant(features), tf.constant((features @ coeffs)[..., 0] + noise)
    )


def first_parameters(problems: Problems) -> tf.Tensor:
    """Where every fit starts: zeros, [problems, 2 * features]."""
    return tf.zeros([problems.y.shape[0], 2 * NUM_FEATURES], tf.float64)


def identity() -> tf.Tensor:
    """The preconditioner of plain Adam."""
    return tf.eye(2 * NUM_FEATURES, dtype=tf.float64)


def learn(
    rng: np.random.Generator,
    seed: tuple[int, int],
    num_problems: int,
    num_rows: int,
    num_inner_steps: int,
    num_steps: int,
) -> tuple[tf.Tensor, np.ndarray]:
    """Figure 13: the preconditioner, and the mean last loss before each outer step.

    Each outer step has problems of its own.
    """

    @compiled
    def outer_step(
        state: preconditioned.State, problems: Problems, index: tf.Tensor
    ) -> tuple[preconditioned.State, tf.Tensor]:
        at_index = preconditioned.step_seed(seed, index)
        return preconditioned.step(
            lambda matrix: last_loss(matrix, problems, at_index, num_inner_steps),
            state,
            index,
        )

    state, losses = preconditioned.start(identity()), []
    with progress(num_steps, "outer steps") as advance:
        for index in range(num_steps):
            problems = draw_problems(rng, num_problems, num_rows)
            state, value = outer_step(state, problems, tf.constant(index))
            losses.append(float(value))
            advance(loss=losses[-1])
    return state.parameters, np.array(losses)


def gradient_error(
    rng: np.random.Generator,
    problems: Problems,
    seed: tuple[int, int],
    num_steps: int,
    *,
    num_directions: int = 3,
    width: float = 1e-5,
) -> float:
    """The gradient's largest relative error, against differences along directions."""
    size = [2 * NUM_FEATURES, 2 * NUM_FEATURES]
    matrix = identity() + 0.1 * rng.standard_normal(size)
    key = tf.constant(seed)
    value = compiled(lambda matrix: last_loss(matrix, problems, key, num_steps))
    gradient = gradient_of(problems, key, num_steps)(matrix).numpy()
    errors = []
    for _ in range(num_directions):
        direction = rng.standard_normal(size)
        direction /= np.linalg.norm(direction)
        step = width * direction
        expected = (value(matrix + step) - value(matrix - step)).numpy() / (2 * width)
        errors.append(abs(np.sum(gradient * direction) / expected - 1))
    return float(max(errors))


def gradient_of(
    problems: Problems, seed: tf.Tensor, num_steps: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """The gradient of `last_loss` by the preconditioner, compiled."""

    @compiled
    def gradient(matrix: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            value = last_loss(matrix, problems, seed, num_steps)
        return tape.gradient(value, matrix)

    return gradient


def fitter(
    problems: Problems, seed: tuple[int, int], num_steps: int
) -> Callable[[tf.Tensor, float], preconditioned.Trained]:
    """Figure 12 as a function of the preconditioner and the learning rate."""

    @compiled
    def fit(matrix: tf.Tensor, rate: tf.Tensor) -> preconditioned.Trained:
        return preconditioned.train(
            functools.partial(loss, problems),
            first_parameters(problems),
            seed=seed,
            preconditioner=matrix,
            learning_rate=rate,
            num_steps=num_steps,
        )

    return lambda matrix, rate: fit(matrix, tf.constant(rate, tf.float64))


def best_rate(problems: Problems, seed: tuple[int, int], num_steps: int) -> float:
    """The rate with which Adam ends best on the problems."""
    fit = fitter(problems, seed, num_steps)
    ends = [
        excess_loss(problems, fit(identity(), rate).parameters.numpy()).mean()
        for rate in RATES
    ]
    return RATES[int(np.argmin(ends))]


def excess_loss(problems: Problems, parameters: np.ndarray) -> np.ndarray:
    """The expected loss above that of the best mean-field guide, in nats: [problems].

    With the posterior's mean m and precision L, the loss of locations l and scales s is
    (l - m)' L (l - m) / 2 + sum(L_ii s_i^2 / 2 - log s_i) and a constant.
    """
    features = problems.features.numpy()
    loc, scale = np.split(parameters, 2, axis=-1)
    scale = np.logaddexp(0, scale)
    cross = np.swapaxes(features, 1, 2)
    precision = cross @ features / NOISE**2 + np.eye(NUM_FEATURES) / PRIOR_SCALE**2
    target = cross @ problems.y.numpy()[..., np.newaxis] / NOISE**2
    off = loc - np.linalg.solve(precision, target)[..., 0]
    ratio = np.diagonal(precision, axis1=1, axis2=2) * scale**2
    of_loc = 0.5 * np.einsum("pi,pij,pj->p", off, precision, off)
    return of_loc + 0.5 * np.sum(ratio - 1 - np.log(ratio), -1)


def better(
    learned: np.ndarray, other: np.ndarray, name: str, num_errors: float
) -> claims.Claim:
    """That the learned preconditioner ends lower, by so many standard errors."""
    gain = other - learned
    error = claims.standard_error(gain)
    return claims.at_least(
        f"held-out last loss of {name} above the learned one's, nats",
        gain.mean(),
        num_errors * error,
        error=error,
    )


def gradient_memory(
    rng: np.random.Generator, num_rows: int, memory_steps: tuple[int, ...]
) -> dict[int, int]:
    """The bytes that one gradient keeps, by the number of inner steps."""
    problem = draw_problems(rng, 1, num_rows)
    kept = {}
    for steps in memory_steps:
        gradient = gradient_of(problem, tf.constant([0, 1]), steps)
        kept[steps] = loop_bytes(gradient, identity())
    return kept


def growth(kept: Mapping[int, int]) -> float:
    """The power of the steps with which memory grows from the first to the last."""
    (first, few), *_, (last, many) = kept.items()
    return float(np.log(many / few) / np.log(last / first))


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A tf.function that XLA compiles."""
    return tf.function(fn, jit_compile=True, autograph=False)


def draw(
    path: Path,
    held_out: Problems,
    fits: Mapping[str, preconditioned.Trained],
    outer_losses: np.ndarray,
    kept: Mapping[int, int],
) -> None:
    """Three plots: the held-out fits, the outer descent, and the memory."""
    with pictures.figure(path, width=10, height=4) as figure:
        inner, outer, memory = figure.subplots(1, 3)
        for name, found in fits.items():
            losses = found.losses.numpy() / len(held_out.y)
            inner.plot(losses, label=name, linewidth=1)
        inner.set(xlabel="inner step", ylabel="loss, nats", yscale="log")
        inner.set_title("Held-out problems, mean")
        inner.legend()
        outer.plot(outer_losses, linewidth=1)
        outer.set(xlabel="outer step", ylabel="last inner loss, nats")
        outer.set_title("Learning the preconditioner")
        steps, sizes = np.array([*kept]), np.array([*kept.values()]) / 2**20
        root = sizes[0] * np.sqrt(steps / steps[0])
        memory.loglog(steps, sizes, "o-", label="measured")
        memory.loglog(steps, root, "--", color="gray", label="square root")
        memory.set_xticks(steps, steps)
        memory.set_yticks(sizes, sizes.round(1))
        memory.minorticks_off()
        memory.set(xlabel="inner steps", ylabel="memory of a gradient, MiB")
        memory.set_title("Memory")
        memory.legend()
