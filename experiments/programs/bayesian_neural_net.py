"""A Bayesian neural network by NUTS, by variational inference, and as an ensemble.

The data are scikit-learn's 442 patients with diabetes: ten measurements, and how far
the disease has progressed a year later.  Each patient is predicted by networks that
were fitted to the others.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp
from sklearn.datasets import load_diabetes

import ppl_core as ppl
from experiments import inference, training
from experiments.programs import claims, descent, pictures
from experiments.training.checks import check_count, check_counts, check_number

MEMBER_RATE = 0.01  # of Adam for the ensemble, at its start
LEVELS = np.linspace(0.05, 0.95, 19)  # of the calibration plot
Draws = Mapping[str, np.ndarray]  # [draws, ...] by name


def network(x: tf.Tensor, num_hidden: int) -> ppl.RandomVariable:
    """One hidden layer, for rows x [rows, inputs], all standardised."""
    num_inputs = x.shape[1]
    w1 = ppl.Normal(
        0.0, num_inputs**-0.5, sample_shape=[num_inputs, num_hidden], name="w1"
    )
    b1 = ppl.Normal(0.0, 1.0, sample_shape=num_hidden, name="b1")
    w2 = ppl.Normal(0.0, num_hidden**-0.5, sample_shape=num_hidden, name="w2")
    b2 = ppl.Normal(0.0, 1.0, name="b2")
    noise = ppl.HalfNormal(1.0, name="noise")
    mean = tf.linalg.matvec(tf.tanh(x @ w1 + b1), w2) + b2
    return ppl.Normal(mean, noise, name="y")


def by_nuts(
    posterior: ppl.Posterior, seed: int, *, num_warmup: int, num_draws: int
) -> Draws:
    """Draws of four chains of NUTS, all in one."""
    tree = inference.sample_nuts(
        posterior, num_warmup=num_warmup, num_draws=num_draws, seed=seed
    )
    return flat(tree)


def by_vi(
    posterior: ppl.Posterior, seed: int, *, num_steps: int, num_draws: int
) -> Draws:
    """Draws of a mean-field guide."""
    fit = inference.fit_vi(
        posterior, inference.mean_field(posterior), num_steps=num_steps, seed=seed
    )
    return flat(fit.draws(num_draws, seed=seed))


def by_ensemble(
    posterior: ppl.Posterior, seed: int, *, num_members: int, num_steps: int
) -> Draws:
    """Modes of the posterior that Adam finds from random starts, as if draws.

    Its learning rate falls to 0 as half a cosine.
    """
    # At a constant rate Adam would go on around a mode, and not come to rest there.
    rate = training.cosine_schedule(MEMBER_RATE, warmup_steps=0, num_steps=num_steps)
    optimizer = training.adam(rate)
    random = np.random.default_rng(seed)
    shape = [num_members, posterior.dim]
    start = tf.constant(random.uniform(-1, 1, shape), posterior.dtype)

    @tf.function(jit_compile=True, autograph=False)
    def climb(state: descent.Descent) -> descent.Descent:
        def uphill(weights: Mapping[str, tf.Tensor], _: tf.Tensor) -> Any:
            return {"vector": -posterior.log_prob_and_grad(weights["vector"])[1]}

        return descent.descend(optimizer, uphill, state, num_steps)

    found = climb(descent.begin(optimizer, {"vector": start})).weights["vector"]
    return {name: part.numpy() for name, part in posterior.constrain(found).items()}


def flat(tree: Any) -> Draws:
    """The draws of all chains of a DataTree: [chains * draws, ...] by name."""
    return {
        str(name): part.to_numpy().reshape(-1, *part.shape[2:])
        for name, part in tree["posterior"].data_vars.items()
    }


def predicted(draws: Draws, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [draws, rows] and the standard deviation [draws, 1] of each y."""
    hidden = np.tanh(x @ draws["w1"] + draws["b1"][:, np.newaxis])
    mean = np.einsum("drh,dh->dr", hidden, draws["w2"]) + draws["b2"][:, np.newaxis]
    return mean, draws["noise"][:, np.newaxis]


def scores(draws: Draws, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row: log predictive density, and predictive distribution function."""
    mean, noise = predicted(draws, x)
    log_density = logsumexp(stats.norm.logpdf(y, mean, noise), axis=0)
    return log_density - np.log(len(mean)), stats.norm.cdf(y, mean, noise).mean(0)


def folds(num_rows: int, num: int, seed: int) -> list[np.ndarray]:
    """The rows in random order, in `num` parts."""
    return np.array_split(np.random.default_rng(seed).permutation(num_rows), num)


def standardised(of: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Less the mean and over the standard deviation of other rows."""
    return (of - by.mean(0)) / by.std(0)


def run(
    *,
    run_dir: Path,
    seed: int,
    num_hidden: int = 10,
    num_folds: int = 3,
    num_rows: int | None = None,
    num_warmup: int = 500,
    num_draws: int = 500,
    num_vi_steps: int = 10_000,
    num_members: int = 20,
    num_member_steps: int = 2000,
    most_behind: float = 0.02,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Predicts each row by the other folds in three ways, and scores the predictions.

    num_rows: of the data, the first ones; None: all 442.
    num_warmup, num_draws: of each of NUTS's four chains.
    num_members, num_member_steps: the ensemble's networks, and Adam's steps of each.
    most_behind: claimed, in nats a row: how much lower NUTS's mean log score may be
      than that of the others.
    dry_run: checks the arguments alone.

    Raises ValueError for arguments out of range.
    """
    check_counts(num_hidden=num_hidden, num_draws=num_draws, num_warmup=num_warmup)
    check_counts(num_vi_steps=num_vi_steps, num_members=num_members)
    check_counts(num_member_steps=num_member_steps)
    check_counts(2, num_folds=num_folds)
    check_number("most_behind", most_behind, at_least=0)
    data = load_diabetes()
    check_count("num_rows", num_rows, minimum=2 * num_folds, optional=True)
    if dry_run:
        return {}
    x, y = data.data[:num_rows], data.target[:num_rows]
    methods: dict[str, Callable[[ppl.Posterior], Draws]] = {
        "NUTS": lambda posterior: by_nuts(
            posterior, seed, num_warmup=num_warmup, num_draws=num_draws
        ),
        "mean-field VI": lambda posterior: by_vi(
            posterior, seed, num_steps=num_vi_steps, num_draws=2000
        ),
        "ensemble": lambda posterior: by_ensemble(
            posterior, seed, num_members=num_members, num_steps=num_member_steps
        ),
    }
    log_scores = {name: np.zeros(len(y)) for name in (*methods, "linear")}
    levels = {name: np.zeros(len(y)) for name in (*methods, "linear")}
    seconds = dict.fromkeys(methods, 0.0)
    for held_out in folds(len(y), num_folds, seed):
        others = np.setdiff1d(np.arange(len(y)), held_out)
        train_x, test_x = (standardised(x[i], x[others]) for i in (others, held_out))
        train_y, test_y = (standardised(y[i], y[others]) for i in (others, held_out))
        posterior = ppl.posterior(
            network, train_x, num_hidden, observed={"y": train_y}, dtype=tf.float32
        )
        for name, method in methods.items():
            began = time.perf_counter()
            draws = method(posterior)
            seconds[name] += time.perf_counter() - began
            log_scores[name][held_out], levels[name][held_out] = scores(
                draws, test_x, test_y
            )
        log_scores["linear"][held_out], levels["linear"][held_out] = linear(
            train_x, train_y, test_x, test_y
        )
    plot(run_dir / claims.PICTURE, log_scores, levels)
    made = []
    for name in ("mean-field VI", "ensemble"):
        difference = log_scores["NUTS"] - log_scores[name]
        made.append(
            claims.at_least(
                f"log score, NUTS less {name}, nats a row",
                difference.mean(),
                -most_behind,
                error=claims.standard_error(difference),
            )
        )
    distances = {
        name: stats.kstest(part, "uniform").statistic for name, part in levels.items()
    }
    for name in ("NUTS", "mean-field VI"):
        made.append(
            claims.at_most(
                f"calibration of {name}: largest distance of the predictive "
                "distribution function from uniform",
                distances[name],
                # What a uniform one exceeds with probability 0.001 (Massart, 1990).
                np.sqrt(np.log(2 / 0.001) / (2 * len(y))),
            )
        )
    return claims.finish(
        run_dir,
        made,
        {
            "log_score": {name: part.mean() for name, part in log_scores.items()},
            "distance_from_uniform": distances,
            "inside_90_percent": {
                name: np.mean(np.abs(part - 0.5) < 0.45)
                for name, part in levels.items()
            },
            "seconds": seconds,
        },
    )


def linear(
    x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of linear regression under the prior p(w, s^2) = 1 / s^2, exact."""
    design, test = (np.column_stack([np.ones(len(part)), part]) for part in (x, test_x))
    inverse = np.linalg.inv(design.T @ design)
    slope = inverse @ design.T @ y
    freedom = len(y) - design.shape[1]
    variance = np.sum((y - design @ slope) ** 2) / freedom
    spread = np.sqrt(variance * (1 + np.einsum("ri,ij,rj->r", test, inverse, test)))
    predictive = stats.t(freedom, test @ slope, spread)
    return predictive.logpdf(test_y), predictive.cdf(test_y)


def plot(
    path: Path, log_scores: Mapping[str, np.ndarray], levels: Mapping[str, np.ndarray]
) -> None:
    """The calibration, and the log scores over that of linear regression."""
    with pictures.figure(path) as figure:
        left, right = figure.subplots(1, 2)
        left.axline((0, 0), slope=1, color="#999999", linewidth=1)
        for name in log_scores:
            below = [np.mean(levels[name] <= level) for level in LEVELS]
            left.plot(LEVELS, below, "o-", markersize=4, label=name)
        left.set(
            title="Calibration",
            xlabel="predicted probability",
            ylabel="share of held-out rows below that quantile",
        )
        left.legend()
        names = [name for name in log_scores if name != "linear"]
        gains = [log_scores[name] - log_scores["linear"] for name in names]
        right.errorbar(
            [gain.mean() for gain in gains],
            names,
            xerr=[2 * claims.standard_error(gain) for gain in gains],
            fmt="o",
            capsize=4,
        )
        right.axvline(0, color="#999999", linewidth=1)
        right.set(
            title="Log score",
            xlabel="nats a row over linear regression (2 s.e.)",
            ylim=(len(names) - 0.5, -0.5),
        )
