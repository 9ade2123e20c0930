"""Minibatches by `plate` and `scale`: stochastic gradients, and VI on all of Covertype.

A plate with a total multiplies its log probs by total / size, so the gradient of a
random minibatch has the full gradient as its mean.  With it, a normal guide is fitted
to the logistic regression of the paper's Table 1 and compared with NUTS.
"""

import itertools
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments import inference, training
from experiments.datasets.covertype import CONTINUOUS, load_covertype
from experiments.programs import claims, descent, pictures
from experiments.programs.laplace import Normal, hessian, laplace, normal_of
from experiments.training.checks import check_count, check_counts, check_number

MEASURED = len(CONTINUOUS)  # the first columns; others are soils and areas, one-hot
PARTS = 4  # disjoint minibatches that make up all rows
NUM_POINTS = 20  # of the curve of the means


def regression(features: tf.Tensor, total: int | None = None) -> ppl.RandomVariable:
    """p(coeffs) p(labels | coeffs) of some rows, or of a minibatch of `total` rows.

    features: [dim, rows].
    """
    dim, rows = features.shape
    prior_loc = tf.zeros([], features.dtype)
    coeffs = ppl.Normal(prior_loc, 1.0, sample_shape=dim, name="coeffs")
    logits = tf.tensordot(coeffs, features, 1)
    with ppl.plate("row", rows, total=total):
        return ppl.Bernoulli(logits=logits, name="labels")


def scaled_regression(features: tf.Tensor, total: int) -> ppl.RandomVariable:
    """The same, with the minibatch's factor given by `scale`."""
    with ppl.scale(total / features.shape[1], "labels"):
        return regression(features)


def guide(
    loc: tf.Tensor, log_scale: tf.Tensor, factor: tf.Tensor
) -> ppl.RandomVariable:
    """A normal of all coefficients, independent in preconditioned coordinates.

    factor: L, [dim, dim] and lower triangular.  The mean is L loc, and the covariance
      L diag(scale)^2 L'.
    """
    return ppl.MultivariateNormalTriL(
        tf.linalg.matvec(factor, loc), factor * tf.exp(log_scale), name="q_coeffs"
    )


log_joint = ppl.make_log_joint_fn(regression)


def gradient(
    features: tf.Tensor, labels: tf.Tensor, coeffs: tf.Tensor, *, total: int | None
) -> tf.Tensor:
    """Of the log joint of a minibatch, by the coefficients: [dim]."""
    with tf.GradientTape() as tape:
        tape.watch(coeffs)
        value = log_joint(features, total, coeffs=coeffs, labels=labels)
    return tape.gradient(value, coeffs)


def worst_of_all_minibatches(
    program: Any, num_rows: int, size: int, seed: int
) -> float:
    """The largest error of the mean gradient over all minibatches of that size.

    program: `regression` or `scaled_regression`.
    """
    random = np.random.default_rng(seed)
    features = tf.constant(random.standard_normal([3, num_rows]))
    labels = tf.constant(random.integers(0, 2, num_rows))
    coeffs = tf.constant(random.standard_normal(3))

    @tf.function(autograph=False)
    def of_rows(rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(coeffs)
            value = ppl.make_log_joint_fn(program)(
                tf.ensure_shape(tf.gather(features, rows, axis=1), [3, size]),
                num_rows,
                coeffs=coeffs,
                labels=tf.gather(labels, rows),
            )
        return tape.gradient(value, coeffs)

    grads = [
        of_rows(tf.constant(rows))
        for rows in itertools.combinations(range(num_rows), size)
    ]
    full = gradient(features, labels, coeffs, total=None)
    return float(np.abs(np.mean(grads, axis=0) - full).max())


def with_both_labels(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which columns to keep: bool [dim].

    A soil or an area whose rows all have one label, or of which there are none, is left
    out.  Its coefficient would be held by the prior alone on one side, and by a steep
    wall of likelihood on the other, which no normal guide and no metric fits.

    features: [dim, rows]; the last column is the intercept.
    """
    keep = np.ones(len(features), bool)
    for column in range(MEASURED, len(features) - 1):
        inside = features[column] == features[column].max()
        keep[column] = not inside.all() and 0 < labels[inside].mean() < 1
    return keep


def wrap(
    features: np.ndarray, labels: np.ndarray, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The rows with the first `size` again behind the last, for `window`."""
    return (
        tf.constant(np.concatenate([features, features[:, :size]], 1)),
        tf.constant(np.concatenate([labels, labels[:size]])),
    )


def window(
    features: tf.Tensor, labels: tf.Tensor, first: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The minibatch of `size` rows in a row from `first` on.

    Each row is in as many of them as any other.
    """
    dim = features.shape[0]
    return tf.slice(features, [0, first], [dim, size]), tf.slice(
        labels, [first], [size]
    )


class Fit(NamedTuple):
    """A fitted guide, and how it came there."""

    found: Normal
    epochs: np.ndarray  # [points], how often each row has been read on average
    means: np.ndarray  # [points, dim], of the coefficients


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    batch_size: int,
    num_steps: int,
    learning_rate: float,
    seed: int,
) -> Fit:
    """The guide after Adam's steps on minibatches, from 0 on.

    features: [dim, rows], the rows in random order.  A minibatch is a random `window`
      of them.

    The preconditioner L is the Cholesky factor of the inverse Hessian at 0, which is
    that of the features' second moments.  A point is the mean over the latter half of
    the steps until then (Polyak and Juditsky, 1992).
    """
    dim, total = features.shape
    inverse = np.linalg.inv(hessian(features, np.full(total, 0.25)))
    root = np.linalg.cholesky(inverse)
    factor = tf.constant(root, tf.float32)
    wrapped = wrap(features, labels, batch_size)
    optimizer = training.adam(learning_rate)

    def of_step(weights: descent.Weights, step: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = tf.unstack(
            tf.random.split(tf.random.fold_in(tf.constant([seed, 3]), step))
        )
        first = tf.random.stateless_uniform([], seeds[0], 0, total, tf.int32)
        batch, batch_labels = window(*wrapped, first, batch_size)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with ppl.tape() as variables, ppl.seeded(seeds[1]):
                guide(**weights, factor=factor)
            coeffs = ppl.align({"coeffs": "q_coeffs"}, variables)
            energy = log_joint(batch, total, labels=batch_labels, **coeffs)
            loss = -energy - variables["q_coeffs"].distribution.entropy()
        return tape.gradient(loss, dict(weights))

    per_point = num_steps // NUM_POINTS

    @tf.function(jit_compile=True, autograph=False)
    def advance(state: descent.Descent) -> tuple[descent.Descent, descent.Weights]:
        def one(
            state: descent.Descent, sums: descent.Weights
        ) -> tuple[descent.Descent, descent.Weights]:
            state = descent.descend(optimizer, of_step, state, 1)
            return state, {name: sums[name] + state.weights[name] for name in sums}

        end = state.step + per_point
        sums = {name: tf.zeros(dim) for name in state.weights}
        return tf.while_loop(
            lambda state, _: state.step < end,
            one,
            (state, sums),
            parallel_iterations=1,
        )

    state = descent.begin(optimizer, {"loc": tf.zeros(dim), "log_scale": tf.zeros(dim)})
    parts: list[list[np.ndarray]] = []
    epochs, means = [], []
    for _ in range(NUM_POINTS):
        state, sums = advance(state)
        parts.append([sums[name].numpy() / per_point for name in ("loc", "log_scale")])
        half = parts[len(parts) // 2 :]
        loc, log_scale = np.mean(half, axis=0, dtype=np.float64)
        epochs.append(int(state.step) * batch_size / total)
        means.append(root @ loc)
    scaled = root * np.exp(log_scale)
    return Fit(Normal(means[-1], scaled @ scaled.T), np.array(epochs), np.array(means))


def by_nuts(
    features: np.ndarray,
    labels: np.ndarray,
    metric: Normal,
    *,
    num_warmup: int,
    num_draws: int,
    seed: int,
) -> Any:
    """Draws of four chains of NUTS on all rows, as a DataTree.

    metric: where its dense metric begins, and chains start around.
    """
    posterior = ppl.posterior(
        regression, features, observed={"labels": labels}, dtype=tf.float32
    )
    random = np.random.default_rng(seed)
    root = np.linalg.cholesky(metric.covariance)
    start = metric.mean + random.standard_normal([4, len(metric.mean)]) @ root.T
    return inference.sample_nuts(
        posterior,
        num_warmup=num_warmup,
        num_draws=num_draws,
        start=start,
        metric="dense",
        inverse_mass=metric.covariance,
        pooled=True,
        seed=seed,
    )


def run(
    *,
    run_dir: Path,
    seed: int,
    num_rows: int | None = None,
    batch_size: int = 2000,
    num_steps: int = 100_000,
    learning_rate: float = 0.02,
    num_warmup: int = 150,
    num_draws: int = 250,
    largest_r_hat: float = 1.02,
    largest_mean_error: float = 0.25,
    largest_spread_error: float = 0.25,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Checks that minibatches are unbiased, and fits Covertype by them and by NUTS.

    num_rows: of Covertype, a multiple of 4; None: all 581,012.
    num_steps: of the fit, a multiple of 20.
    num_warmup, num_draws: of each of NUTS's four chains, on all rows.
    largest_r_hat: claimed of NUTS.
    largest_mean_error: claimed of VI's means of the ten measurements' coefficients: the
      root of the mean square, in NUTS's standard deviations.
    largest_spread_error: claimed of the logarithms of their standard deviations.
    dry_run: checks the arguments alone.

    Raises ValueError for arguments out of range.
    """
    check_counts(batch_size=batch_size, num_steps=num_steps, num_draws=num_draws)
    check_count("num_rows", num_rows, minimum=PARTS, optional=True)
    check_count("num_warmup", num_warmup, minimum=0)
    check_number("learning_rate", learning_rate, above=0)
    for name, value, unit in (
        ("num_rows", num_rows or PARTS, PARTS),
        ("num_steps", num_steps, NUM_POINTS),
    ):
        if value % unit:
            raise ValueError(f"{name}: given {value}, wanted a multiple of {unit}")
    if batch_size > (num_rows or batch_size):
        raise ValueError(
            f"batch_size: given {batch_size}, wanted at most the {num_rows} rows"
        )
    if dry_run:
        return {}
    problem = load_covertype(num_rows=num_rows, seed=seed)
    order = np.random.default_rng(seed).permutation(problem.rows)
    features, labels = problem.features[order].T, problem.labels[order]
    kept = with_both_labels(features, labels)
    features = np.ascontiguousarray(features[kept])

    began = time.perf_counter()
    fitted = fit(
        features,
        labels,
        batch_size=batch_size,
        num_steps=num_steps,
        learning_rate=learning_rate,
        seed=seed,
    )
    vi_seconds = time.perf_counter() - began
    began = time.perf_counter()
    normal = laplace(features, labels, fitted.found.mean)
    tree = by_nuts(
        features, labels, normal, num_warmup=num_warmup, num_draws=num_draws, seed=seed
    )
    nuts_seconds = time.perf_counter() - began
    draws = tree["posterior/coeffs"].to_numpy().astype(np.float64)
    nuts = normal_of(draws.reshape(-1, draws.shape[-1]))
    summary = inference.summarize(tree)

    off = (fitted.means - nuts.mean) / nuts.spread
    log_ratio = np.log(fitted.found.spread / nuts.spread)
    means = rms(off[:, :MEASURED])
    plot(run_dir / claims.PICTURE, fitted, nuts, means)
    return claims.finish(
        run_dir,
        [
            claims.at_most(
                "mean gradient of all 28 minibatches of 2 of 8 rows, less the full "
                "gradient: largest error, by plate",
                worst_of_all_minibatches(regression, 8, 2, seed),
                1e-12,
            ),
            claims.at_most(
                "the same by scale",
                worst_of_all_minibatches(scaled_regression, 8, 2, seed),
                1e-12,
            ),
            claims.at_most(
                f"mean gradient of {PARTS} disjoint minibatches of Covertype, less the "
                "full gradient, over its norm (float32)",
                error_of_parts(features, labels, fitted.found.mean, seed),
                1e-4,
            ),
            claims.at_most(
                "largest R-hat of NUTS on all rows",
                summary.table["r_hat"].max(),
                largest_r_hat,
            ),
            claims.at_most(
                f"means by minibatch VI less NUTS's, of {MEASURED} measurements' "
                "coefficients, in standard deviations, root mean square",
                means[-1],
                largest_mean_error,
            ),
            claims.at_most(
                "log of VI's standard deviations over NUTS's, of the same, root mean "
                "square",
                rms(log_ratio[:MEASURED]),
                largest_spread_error,
            ),
        ],
        {
            "rows": problem.rows,
            "columns": int(kept.sum()),
            "columns_left_out": int((~kept).sum()),
            "source": problem.source,
            "epochs": fitted.epochs[-1],
            "mean_error_of_all": rms(off[-1]),
            "log_spread_error_of_all": rms(log_ratio),
            "vi_seconds": vi_seconds,
            "nuts_seconds": nuts_seconds,
            "nuts_leapfrogs": int(tree["sample_stats/n_steps"].sum()),
            "least_ess_bulk": float(summary.table["ess_bulk"].min()),
        },
    )


def rms(values: np.ndarray) -> np.ndarray:
    """The root of the mean square over the last axis."""
    return np.sqrt(np.mean(values**2, axis=-1))


def error_of_parts(
    features: np.ndarray, labels: np.ndarray, around: np.ndarray, seed: int
) -> float:
    """How far the mean gradient of disjoint minibatches is from the full one."""
    random = np.random.default_rng(seed)
    coeffs = tf.constant(around + 0.1 * random.standard_normal(len(around)), tf.float32)
    total = len(labels)
    parts = [
        gradient(
            tf.constant(features[:, part::PARTS]),
            tf.constant(labels[part::PARTS]),
            coeffs,
            total=total,
        ).numpy()
        for part in range(PARTS)
    ]
    full = gradient(tf.constant(features), tf.constant(labels), coeffs, total=None)
    off = np.mean(np.asarray(parts, np.float64), axis=0) - full.numpy()
    return float(np.linalg.norm(off) / np.linalg.norm(full))


def plot(path: Path, fitted: Fit, nuts: Normal, means: np.ndarray) -> None:
    """How the means approach NUTS's, and the standard deviations of both."""
    with pictures.figure(path) as figure:
        left, right = figure.subplots(1, 2)
        left.semilogy(fitted.epochs, means, "o-")
        left.set(
            title="Means",
            xlabel="passes over the rows",
            ylabel="error of the measurements' means, standard deviations",
        )
        ends = [nuts.spread.min() / 1.3, nuts.spread.max() * 1.3]
        right.loglog(ends, ends, color="#999999", linewidth=1)
        for name, part in (
            ("soils, areas, intercept", slice(MEASURED, None)),
            ("measurements", slice(MEASURED)),
        ):
            right.loglog(
                nuts.spread[part],
                fitted.found.spread[part],
                "o",
                markersize=4,
                label=name,
            )
        right.legend()
        right.set(
            title=f"Standard deviations of {len(nuts.spread)} coefficients",
            xlabel="NUTS on all rows",
            ylabel="VI on minibatches",
        )
