"""MCMC inside variational inference: the paper's appendix C, on 8 x 8 digits.

A guide draws the latent vector of each image, some NUTS transitions move it towards the
model's posterior, and the model learns from where it ends.  The guide itself learns
from its own evidence lower bound, since the moved vector has no tractable density, as
in Hoffman (2017), Learning deep latent Gaussian models with Markov chain Monte Carlo.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

import ppl_core as ppl
from experiments import inference, training
from experiments.inference.leapfrog import value_and_gradient
from experiments.programs import claims, descent, digits, pictures
from experiments.training.checks import check_count, check_counts, check_number

Weights = Mapping[str, tf.Tensor]
WEIGHTS_AT_ONCE = 10  # annealed ones of each held-out image
CHUNK = 50  # steps of one compiled call, between which a run can be stopped


def decoder(weights: Weights) -> ppl.RandomVariable:
    """p(z) p(x | z), of the pixels of one image."""
    num_latents = weights["decoder"].shape[0]
    z = ppl.MultivariateNormalDiag(
        tf.zeros(num_latents), tf.ones(num_latents), name="z"
    )
    hidden = tf.nn.relu(z @ weights["decoder"] + weights["decoder_bias"])
    logits = tf.tensordot(hidden, weights["logits"], 1) + weights["logits_bias"]
    return ppl.Categorical(logits=logits, name="x")


def encoder(weights: Weights, x: tf.Tensor) -> ppl.RandomVariable:
    """q(z | x), of the latent vectors of images [batch, pixels]."""
    levels = weights["logits"].shape[-1]
    scaled = 2.0 * tf.cast(x, tf.float32) / (levels - 1) - 1.0
    hidden = tf.nn.relu(scaled @ weights["encoder"] + weights["encoder_bias"])
    loc, scale = tf.split(hidden @ weights["code"] + weights["code_bias"], 2, -1)
    return ppl.MultivariateNormalDiag(loc, tf.nn.softplus(scale) + 1e-3, name="q_z")


OF_THE_GUIDE = ("encoder", "encoder_bias", "code", "code_bias")
log_joint = ppl.make_log_joint_fn(decoder, batch_ndims=1)


class Transitions(NamedTuple):
    """How NUTS moves the guide's sample."""

    num: int  # or, of `annealed_bound`, a scalar int32 tensor
    step_size: float  # in the guide's standard deviations
    max_depth: int


def guided(weights: Weights, x: tf.Tensor, seed: Any) -> tuple[tf.Tensor, Any]:
    """The guide's sample, aligned with the model's z, and the guide's variable."""
    with ppl.tape() as variables, ppl.seeded(seed):
        encoder(weights, x)
    z = ppl.align({"z": "q_z"}, variables)["z"]
    return z, variables["q_z"]


def moved(
    weights: Weights, x: tf.Tensor, z: tf.Tensor, q: Any, moves: Transitions, seed: Any
) -> tf.Tensor:
    """The guide's sample z after the transitions, which leave p(z | x) as it is."""
    if moves.num == 0:
        return tf.stop_gradient(z)
    z, _ = inference.nuts_transitions(
        value_and_gradient(lambda z: log_joint(weights, z=z, x=x)),
        z,
        num_transitions=moves.num,
        step_size=moves.step_size,
        max_depth=moves.max_depth,
        scale=q.distribution.stddev(),
        seed=seed,
    )
    return z


def gradient(
    weights: Weights, x: tf.Tensor, moves: Transitions, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Of the loss: the model's part at the moved sample, the guide's at its own.

    Without transitions, it is the gradient of minus the evidence lower bound.
    """
    guide_seed, nuts_seed = tf.unstack(tf.random.split(seed))
    z, q = guided(weights, x, guide_seed)
    end = moved(weights, x, tf.stop_gradient(z), q, moves, nuts_seed)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        z, q = guided(weights, x, guide_seed)
        fixed = {name: tf.stop_gradient(part) for name, part in weights.items()}
        of_guide = log_joint(fixed, z=z, x=x) + q.distribution.entropy()
        loss = -tf.reduce_mean(log_joint(weights, z=end, x=x) + of_guide)
    return tape.gradient(loss, dict(weights))


# ---- Held-out bounds, of trained weights.


def importance_bound(log_weight: np.ndarray) -> np.ndarray:
    """log of the mean of weights by their logs, [weights, images]: [images].

    A bound on log p(x) in mean, which more weights tighten (Burda et al., 2016).
    """
    return logsumexp(log_weight, axis=0) - np.log(len(log_weight))


def annealed_bound(
    weights: Weights, x: tf.Tensor, moves: Transitions, seed: tf.Tensor
) -> tf.Tensor:
    """One annealed importance weight of each image: its log, a bound in mean: [images].

    The transitions lead from the guide to the posterior, the k-th under
    q^(1 - b) p^b at b = k / (num + 1).  Without any it is the evidence lower bound.
    Neal (2001), Annealed importance sampling.
    """
    z, q = guided(weights, x, seed)
    log_q = q.distribution.log_prob
    steps = tf.cast(moves.num + 1, tf.float32)

    def log_ratio(z: tf.Tensor) -> tf.Tensor:
        return log_joint(weights, z=z, x=x) - log_q(z)

    def one(k: tf.Tensor, z: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, ...]:
        b = tf.cast(k, tf.float32) / steps
        density = value_and_gradient(lambda z: log_q(z) + b * log_ratio(z))
        z, _ = inference.nuts_transitions(
            density,
            z,
            num_transitions=1,
            step_size=moves.step_size,
            max_depth=moves.max_depth,
            scale=q.distribution.stddev(),
            seed=tf.random.fold_in(seed, k),
        )
        return k + 1, z, total + log_ratio(z)

    *_, total = tf.while_loop(
        lambda k, *_: k <= moves.num,
        one,
        (tf.constant(1), tf.stop_gradient(z), log_ratio(z)),
    )
    return total / steps


def annealed_weights(
    weights: Weights, x: tf.Tensor, moves: Transitions, num: int, seed: tf.Tensor
) -> tf.Tensor:
    """`annealed_bound` of `num` independent draws of the guide: [num, images]."""
    repeated = tf.tile(x, [num, 1])
    bounds = annealed_bound(weights, repeated, moves, seed)
    return tf.reshape(bounds, [num, x.shape[0]])


# ---- The experiment.


def start(
    num_latents: int, num_hidden: int, levels: int, images: np.ndarray, seed: int
) -> dict[str, tf.Tensor]:
    """Random weights; the last biases are log frequencies of each pixel's levels."""
    random = np.random.default_rng(seed)
    counts = np.stack([(images == level).sum(0) for level in range(levels)], -1)

    def dense(*shape: int) -> np.ndarray:
        return random.standard_normal(shape) / np.sqrt(shape[0])

    weights = {
        "decoder": dense(num_latents, num_hidden),
        "decoder_bias": np.zeros(num_hidden),
        "logits": 0.1 * dense(num_hidden, digits.NUM_PIXELS, levels),
        "logits_bias": np.log((counts + 0.5) / (len(images) + 0.5 * levels)),
        "encoder": dense(digits.NUM_PIXELS, num_hidden),
        "encoder_bias": np.zeros(num_hidden),
        "code": 0.1 * dense(num_hidden, 2 * num_latents),
        "code_bias": np.zeros(2 * num_latents),
    }
    return {name: tf.constant(part, tf.float32) for name, part in weights.items()}


def train(
    weights: Weights,
    images: np.ndarray,
    moves: Transitions,
    *,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> dict[str, tf.Tensor]:
    """The weights after Adam's steps on random batches, by one compiled loop."""
    optimizer = training.adam(learning_rate)
    data = tf.constant(images)

    def of_step(weights: Weights, step: tf.Tensor) -> dict[str, tf.Tensor]:
        rows_seed, seed_of_step = tf.unstack(
            tf.random.split(tf.random.fold_in(tf.constant([seed, 1]), step))
        )
        rows = tf.random.stateless_uniform(
            [batch_size], rows_seed, 0, len(images), tf.int32
        )
        return gradient(weights, tf.gather(data, rows), moves, seed_of_step)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state: descent.Descent) -> descent.Descent:
        return descent.descend(optimizer, of_step, state, CHUNK)

    state = descent.begin(optimizer, weights)
    for _ in range(num_steps // CHUNK):
        state = advance(state)
    return dict(state.weights)


def run(
    *,
    run_dir: Path,
    seed: int,
    numbers: Sequence[int] = (0, 1, 5, 10),
    levels: int = 2,
    num_latents: int = 8,
    num_hidden: int = 32,
    num_steps: int = 1000,
    batch_size: int = 100,
    learning_rate: float = 0.005,
    step_size: float = 0.5,
    max_depth: int = 3,
    num_annealing: int = 100,
    num_weights: int = 20,
    least_gain: float = 0.0,
    least_tightening: float = 0.1,
    largest_change: float = 0.1,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Trains with no, few and more transitions, and compares held-out likelihoods.

    numbers: of transitions, ascending from 0.
    levels: of a pixel; the data's 17 are joined to these.
    num_steps: a multiple of 50.
    step_size: of NUTS, in the guide's standard deviations.
    num_annealing: transitions of each annealed weight, for held-out log p(x).
    num_weights: of each held-out image, a multiple of 10.
    least_gain: claimed, in nats, of each number of transitions over none.
    least_tightening: claimed, in nats, of the bound by the most transitions.
    largest_change: claimed, in nats, of log p(x) by ten times as many weights.
    dry_run: checks the arguments alone.

    Raises ValueError for arguments out of range.
    """
    check_counts(num_latents=num_latents, num_hidden=num_hidden, batch_size=batch_size)
    check_counts(max_depth=max_depth)
    check_counts(num_annealing=num_annealing, num_weights=num_weights)
    check_number("learning_rate", learning_rate, above=0)
    check_number("step_size", step_size, above=0)
    check_count("num_steps", num_steps, minimum=CHUNK)
    numbers = tuple(numbers)
    if len(numbers) < 2 or sorted({0, *numbers}) != list(numbers):
        raise ValueError(f"numbers: given {numbers}, wanted 0 and more, ascending")
    for name, value, unit in (
        ("num_steps", num_steps, CHUNK),
        ("num_weights", num_weights, WEIGHTS_AT_ONCE),
    ):
        if value % unit:
            raise ValueError(f"{name}: given {value}, wanted a multiple of {unit}")
    images = digits.load(levels, num_held_out=497, seed=seed)
    if dry_run:
        return {}
    held_out = tf.constant(images.held_out)
    first = start(num_latents, num_hidden, levels, images.training, seed)

    @tf.function(jit_compile=True, autograph=False)
    def some_weights(weights: Weights, num: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        moves = Transitions(num, step_size, max_depth)
        return annealed_weights(weights, held_out, moves, WEIGHTS_AT_ONCE, seed)

    def log_weights(weights: Weights, num: int) -> np.ndarray:
        """Of the guide's draws, annealed over `num` transitions: [weights, images]."""
        seeds = [
            tf.constant([seed, 1000 + i]) for i in range(num_weights // WEIGHTS_AT_ONCE)
        ]
        return np.concatenate(
            [some_weights(weights, tf.constant(num), one) for one in seeds]
        )

    plain: Weights = first
    log_probs, changes, elbos, seconds = {}, {}, {}, {}
    for num in numbers:
        moves = Transitions(num, step_size, max_depth)
        began = time.perf_counter()
        weights = train(
            first,
            images.training,
            moves,
            num_steps=num_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
        )
        seconds[num] = time.perf_counter() - began
        plain = plain if num else weights
        elbos[num] = log_weights(weights, 0).mean(0)
        found = log_weights(weights, num_annealing)
        log_probs[num] = importance_bound(found)
        few = importance_bound(found[: len(found) // 10])
        changes[num] = np.mean(log_probs[num] - few)
    annealed = {0: elbos[0]}
    for num in numbers[1:]:
        annealed[num] = log_weights(plain, num).mean(0)
    plot(run_dir / claims.PICTURE, log_probs, annealed)
    gains = [
        claims.at_least(
            f"held-out log p(x), trained with {num} transitions less none, nats "
            "an image",
            np.mean(log_probs[num] - log_probs[0]),
            least_gain,
            error=claims.standard_error(log_probs[num] - log_probs[0]),
        )
        for num in numbers[1:]
    ]
    tightened = annealed[numbers[-1]] - annealed[0]
    return claims.finish(
        run_dir,
        [
            *gains,
            claims.at_least(
                f"bound of the model trained without, annealed over {numbers[-1]} "
                "transitions less ELBO, nats an image",
                tightened.mean(),
                least_tightening,
                error=claims.standard_error(tightened),
            ),
            claims.at_most(
                f"change of log p(x) from {num_weights // 10} to {num_weights} "
                "annealed weights, nats an image, the largest of all models",
                max(changes.values()),
                largest_change,
            ),
        ],
        {
            "held_out_log_prob": {str(n): float(log_probs[n].mean()) for n in numbers},
            "elbo_of_guide": {str(n): float(elbos[n].mean()) for n in numbers},
            "annealed_bound": {str(n): float(annealed[n].mean()) for n in numbers},
            "training_seconds": {str(n): seconds[n] for n in numbers},
        },
    )


def plot(
    path: Path, log_probs: Mapping[int, np.ndarray], annealed: Mapping[int, np.ndarray]
) -> None:
    """Held-out log p(x) by transitions in training, and the bound by those after."""
    with pictures.figure(path, height=4) as figure:
        left, right = figure.subplots(1, 2)
        gains = {num: log_probs[num] - log_probs[0] for num in log_probs}
        left.errorbar(
            list(gains),
            [gain.mean() for gain in gains.values()],
            [2 * claims.standard_error(gain) for gain in gains.values()],
            fmt="o-",
            capsize=4,
        )
        left.set(
            title="Trained with K transitions",
            xlabel="K",
            ylabel="gain in held-out log p(x), nats an image (2 s.e.)",
        )
        right.plot(
            list(annealed),
            [part.mean() for part in annealed.values()],
            "o-",
            label="bound",
        )
        right.axhline(
            log_probs[0].mean(), color="#555555", linestyle="--", label="log p(x)"
        )
        right.set(
            title="Trained without, bound with K transitions",
            xlabel="K",
            ylabel="held-out bound, nats an image",
        )
        right.legend()
        for axes in (left, right):
            axes.set_xticks(list(log_probs))
