"""Trains the sigmoid belief network by VIMCO, and judges bound and gradient exactly."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments import training
from experiments.programs import claims, descent, digits, pictures
from experiments.programs.vimco.program import (
    Samples,
    Weights,
    bound_of,
    draw,
    exact_bound,
    exact_log_prob,
    gradient,
    score_function,
    vimco,
)
from experiments.training.checks import check_count, check_number

NUM_FEW = 50  # held-out images, of what takes a sum over all pairs of samples
MAX_LATENTS = 12  # 4,096 values
NUM_POINTS = 20  # of a training curve
ESTIMATORS: dict[str, Callable[[Samples], tf.Tensor]] = {
    "VIMCO": vimco,
    "score function": score_function,
}


def start(num_latents: int, images: np.ndarray, seed: int) -> dict[str, tf.Tensor]:
    """Small random weights; each visible bias is its pixel's log odds in the images."""
    random = np.random.default_rng(seed)
    on = (images.sum(0) + 1.0) / (len(images) + 2.0)
    num_pixels = images.shape[1]
    weights = {
        "prior": np.zeros(num_latents),
        "down": 0.1 * random.standard_normal([num_latents, num_pixels]),
        "visible": np.log(on / (1 - on)),
        "up": 0.1 * random.standard_normal([num_pixels, num_latents]),
        "hidden": np.zeros(num_latents),
    }
    return {name: tf.constant(part, tf.float32) for name, part in weights.items()}


def train(
    estimator: Callable[[Samples], tf.Tensor],
    weights: Weights,
    images: np.ndarray,
    *,
    num_samples: int,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    log_prob: Callable[[Weights], tf.Tensor],
) -> tuple[dict[str, tf.Tensor], np.ndarray]:
    """Ascends the bound on random batches: the weights, and a curve [points, 2].

    log_prob: of what the curve has the mean of, behind the number of the step.
    """
    optimizer = training.adam(learning_rate)
    data = tf.constant(images, tf.float32)

    def descent_of(weights: Weights, step: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = tf.random.split(tf.random.fold_in(tf.constant([seed, 1]), step))
        rows = tf.random.stateless_uniform(
            [batch_size], seeds[0], 0, len(images), tf.int32
        )
        x = tf.gather(data, rows)
        return gradient(
            weights, lambda weights: -estimator(draw(weights, x, num_samples, seeds[1]))
        )

    per_point = num_steps // NUM_POINTS
    state = descent.begin(optimizer, weights)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state: descent.Descent) -> descent.Descent:
        return descent.descend(optimizer, descent_of, state, per_point)

    curve = []
    for point in range(NUM_POINTS + 1):
        state = advance(state) if point else state
        mean = tf.reduce_mean(log_prob(state.weights))
        curve.append((int(state.step), float(mean)))
    return dict(state.weights), np.array(curve)


class Moments(NamedTuple):
    """Of independent estimates: each of one estimate's shape."""

    mean: np.ndarray
    variance: np.ndarray
    error: np.ndarray  # standard error of the mean


def moments(
    estimate: Callable[[Weights, tf.Tensor], tf.Tensor], num: int, seed: int
) -> Callable[[Weights], Moments]:
    """The moments of `num` values of a function of weights and a seed, by the weights.

    estimate: a float32 tensor.
    """

    @tf.function(jit_compile=True, autograph=False)
    def values(weights: Weights, seeds: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda seed: estimate(weights, seed),
            seeds,
            fn_output_signature=tf.float32,
        )

    def moments_at(weights: Weights) -> Moments:
        seeds = tf.random.split(tf.constant([seed, 2]), num)
        compiled = values.get_concrete_function(weights, seeds)
        found = np.asarray(compiled(weights, seeds), np.float64)
        variance = found.var(0, ddof=1)
        return Moments(found.mean(0), variance, np.sqrt(variance / num))

    return moments_at


def mean_bound(
    x: tf.Tensor, num_samples: int
) -> Callable[[Weights, tf.Tensor], tf.Tensor]:
    """One estimate of the bound: its mean over the images."""
    return lambda weights, seed: tf.reduce_mean(
        bound_of(draw(weights, x, num_samples, seed).log_weight)
    )


def guide_gradient(
    estimator: Callable[[Samples], tf.Tensor], x: tf.Tensor, num_samples: int
) -> Callable[[Weights, tf.Tensor], tf.Tensor]:
    """One estimate of the bound's gradient by the guide's weights, as one vector."""
    return lambda weights, seed: flat_guide(
        gradient(weights, lambda w: estimator(draw(w, x, num_samples, seed)))
    )


def flat_guide(grads: Weights) -> tf.Tensor:
    """The guide's part of a gradient, as one vector."""
    return tf.concat([tf.reshape(grads[name], [-1]) for name in ("up", "hidden")], 0)


def run(
    *,
    run_dir: Path,
    seed: int,
    num_latents: int = 8,
    num_samples: int = 10,
    num_steps: int = 2000,
    batch_size: int = 100,
    learning_rate: float = 0.01,
    compared: Sequence[int] = (1, 2, 5, 10, 50),
    num_estimates: int = 2000,
    largest_gap: float = 0.5,
    least_variance_ratio: float = 10.0,
    least_gain: float = 0.1,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Trains the network by VIMCO and by the score function, and judges both exactly.

    num_samples: of the bound that is trained on.
    compared: the numbers of samples whose bounds and gradients are compared, ascending;
      2 and `num_samples` among them.
    num_estimates: of a bound or a gradient, for its mean and variance.
    largest_gap: claimed, in nats, between the bound of most samples and log p(x).
    least_variance_ratio: claimed, score function to VIMCO, with `num_samples`.
    least_gain: claimed, in nats, of VIMCO in held-out log p(x) after equal steps.
    dry_run: checks the arguments alone.

    Raises ValueError for arguments out of range.
    """
    check_count("num_latents", num_latents)
    if num_latents > MAX_LATENTS:
        raise ValueError(
            f"num_latents: given {num_latents}, wanted at most {MAX_LATENTS}: the "
            "exact likelihood is a sum over all of their values"
        )
    check_count("num_samples", num_samples, minimum=2)
    check_count("num_steps", num_steps, minimum=NUM_POINTS)
    check_count("batch_size", batch_size)
    check_count("num_estimates", num_estimates, minimum=2)
    compared = tuple(compared)
    if sorted({2, num_samples, *compared}) != list(compared):
        raise ValueError(
            f"compared: given {compared}, wanted ascending numbers with 2 and "
            f"num_samples, {num_samples}, among them"
        )
    check_number("learning_rate", learning_rate, above=0)
    if dry_run:
        return {}
    images = digits.load(2, num_held_out=297, seed=seed)
    held_out = tf.constant(images.held_out, tf.float32)
    first = start(num_latents, images.training, seed)

    @tf.function(jit_compile=True, autograph=False)
    def log_prob(weights: Weights) -> tf.Tensor:
        return exact_log_prob(weights, held_out)

    trained, curves, seconds = {}, {}, {}
    for name, estimator in ESTIMATORS.items():
        began = time.perf_counter()
        trained[name], curves[name] = train(
            estimator,
            first,
            images.training,
            num_samples=num_samples,
            num_steps=num_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            log_prob=log_prob,
        )
        seconds[name] = time.perf_counter() - began
    weights = trained["VIMCO"]
    exact = {name: log_prob(trained[name]).numpy() for name in ESTIMATORS}
    gains = exact["VIMCO"] - exact["score function"]

    few = held_out[:NUM_FEW]
    exact_few = exact["VIMCO"][:NUM_FEW]
    bounds = {
        num: moments(mean_bound(few, num), num_estimates, seed)(weights)
        for num in compared
    }
    gaps = {num: exact_few.mean() - bounds[num].mean for num in compared}
    kinds = {
        **ESTIMATORS,
        "baseline": functools.partial(score_function, baseline=exact_few),
    }
    at_start: dict[str, dict[int, Moments]] = {name: {} for name in kinds}
    at_end: dict[str, dict[int, Moments]] = {name: {} for name in kinds}
    for name, estimator in kinds.items():
        for num in compared:
            # The exact baseline is of the trained model, and only its one ratio told.
            if num > 1 and (name in ESTIMATORS or num == num_samples):
                gradient_moments = moments(
                    guide_gradient(estimator, few, num), num_estimates, seed
                )
                at_end[name][num] = gradient_moments(weights)
                if name in ESTIMATORS:
                    at_start[name][num] = gradient_moments(first)
    ratios = {
        "start": variance_ratios(at_start["score function"], at_start["VIMCO"]),
        "end": variance_ratios(at_end["score function"], at_end["VIMCO"]),
        "end, log p(x) as baseline": variance_ratios(
            at_end["baseline"], at_end["VIMCO"]
        ),
    }
    exact_pair = float(tf.reduce_mean(exact_bound(weights, few, 2)))
    exact_gradient = flat_guide(gradient(weights, lambda w: exact_bound(w, few, 2)))
    found = at_end["VIMCO"][2]
    error = np.linalg.norm(found.error)
    off = np.linalg.norm(found.mean - exact_gradient) / error
    plot(run_dir / claims.PICTURE, curves, gaps, ratios)
    most = compared[-1]
    return claims.finish(
        run_dir,
        [
            claims.near(
                f"bound of 2 samples on {NUM_FEW} images, nats, against its exact mean",
                bounds[2].mean,
                exact_pair,
                error=bounds[2].error,
            ),
            claims.at_most(
                "VIMCO's mean gradient of 2 samples less the exact one, norm over that "
                f"of {num_estimates} estimates' standard errors (about 1 if unbiased)",
                off,
                2.0,
            ),
            claims.at_least(
                f"gradient variance, score function to VIMCO, {num_samples} samples, "
                "after training",
                ratios["end"][num_samples],
                least_variance_ratio,
            ),
            claims.at_least(
                "the same with exact log p(x) as the score function's baseline",
                ratios["end, log p(x) as baseline"][num_samples],
                1.0,
            ),
            claims.at_least(
                f"smallest rise of the bound, nats, over {compared} samples",
                -np.diff(list(gaps.values())).max(),
                0.0,
            ),
            claims.at_most(
                f"gap from the bound of {most} samples to exact log p(x), nats an "
                "image",
                gaps[most],
                largest_gap,
                error=bounds[most].error,
            ),
            claims.at_least(
                "exact held-out log p(x), VIMCO less score function after equal "
                "steps, nats an image",
                gains.mean(),
                least_gain,
                error=claims.standard_error(gains),
            ),
        ],
        {
            "gap_nats_by_samples": {str(num): float(gaps[num]) for num in gaps},
            "variance_ratio_by_samples": {
                when: {str(num): float(ratio) for num, ratio in of_num.items()}
                for when, of_num in ratios.items()
            },
            "gradient_error_over_norm": error / np.linalg.norm(exact_gradient),
            "held_out_log_prob": {name: float(exact[name].mean()) for name in exact},
            "training_seconds": seconds,
        },
    )


def variance_ratios(
    over: Mapping[int, Moments], under: Mapping[int, Moments]
) -> dict[int, float]:
    """Of two estimators' summed variances, by the number of samples of the first."""
    return {num: over[num].variance.sum() / under[num].variance.sum() for num in over}


def plot(
    path: Path,
    curves: Mapping[str, np.ndarray],
    gaps: Mapping[int, float],
    ratios: Mapping[str, Mapping[int, float]],
) -> None:
    """Training curves, the bound's gap, and the ratio of variances."""
    with pictures.figure(path, width=10, height=3.8) as figure:
        training_axes, gap_axes, ratio_axes = figure.subplots(1, 3)
        for name, curve in curves.items():
            training_axes.plot(curve[:, 0], curve[:, 1], label=name)
        training_axes.set(
            title="Training",
            xlabel="step",
            ylabel="exact held-out log p(x), nats an image",
        )
        training_axes.legend()
        gap_axes.loglog(list(gaps), list(gaps.values()), "o-")
        gap_axes.set(
            title="Bound after training",
            xlabel="samples",
            ylabel="exact log p(x) less bound, nats",
        )
        for when, of_num in ratios.items():
            ratio_axes.loglog(list(of_num), list(of_num.values()), "o-", label=when)
        ratio_axes.set(
            title="Gradient of the guide",
            xlabel="samples",
            ylabel="variance, score function / VIMCO",
        )
        ratio_axes.legend(fontsize=7.5)
        for axes in (gap_axes, ratio_axes):
            axes.set_xticks(list(gaps), [str(num) for num in gaps])
            axes.minorticks_off()
