"""Figure 1: flips of a coin of unknown bias; eager, compiled, and its posterior.

The posterior is Beta(1 + heads, 1 + tails), with which NUTS and variational inference
are compared.  A config names `run`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import optimize, special, stats

import ppl_core as ppl
from experiments import inference
from experiments.inference.diagnostics import COLUMNS, statistics
from experiments.programs import claims, pictures
from experiments.training.checks import check_count, check_counts

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def beta_bernoulli(num_flips: int) -> ppl.RandomVariable:
    """The paper's program: a bias and the flips with it, [num_flips]."""
    p = ppl.Beta(1.0, 1.0, name="p")
    return ppl.Bernoulli(probs=p, sample_shape=num_flips, name="x")


def drawn(num_flips: int, seed: int) -> tf.Tensor:
    """The flips of one run."""
    with ppl.seeded((0, seed)):
        return beta_bernoulli(num_flips).value


def exact_posterior(flips: np.ndarray) -> Any:
    """Of the bias, a distribution of SciPy."""
    return stats.beta(1 + flips.sum(), 1 + (1 - flips).sum())


def log_evidence(flips: np.ndarray) -> float:
    """log p(flips), with the bias integrated out."""
    return float(special.betaln(1 + flips.sum(), 1 + (1 - flips).sum()))


def best_elbo(flips: np.ndarray) -> float:
    """The largest ELBO of a normal distribution of the bias's log odds."""
    heads, tails = flips.sum(), (1 - flips).sum()

    def loss(params: np.ndarray) -> float:
        mean, log_scale = params
        odds = mean + np.exp(log_scale) * NODES
        # The density of the log odds: that of the bias times p (1 - p).
        log_joint = (1 + heads) * special.log_expit(odds)
        log_joint += (1 + tails) * special.log_expit(-odds)
        entropy = log_scale + 0.5 * np.log(2 * np.pi * np.e)
        return float(-(WEIGHTS @ log_joint) / WEIGHTS.sum() - entropy)

    return float(-optimize.minimize(loss, np.zeros(2)).fun)


def log_joint_error(flips: np.ndarray, bias: float) -> float:
    """How far the log joint, eager and compiled, is from SciPy's, in nats."""
    log_joint = ppl.make_log_joint_fn(beta_bernoulli)
    compiled = tf.function(log_joint, autograph=False, jit_compile=True)
    by_scipy = stats.beta.logpdf(bias, 1, 1) + stats.bernoulli.logpmf(flips, bias).sum()
    x = tf.constant(flips, tf.int32)
    found = [fn(len(flips), p=tf.constant(bias), x=x) for fn in (log_joint, compiled)]
    return float(np.abs(np.array(found) - by_scipy).max())


def effective_share(log_ratios: np.ndarray) -> float:
    """(sum w)^2 / sum w^2 of importance weights w, over their number: 0 to 1."""
    weights = np.exp(log_ratios - log_ratios.max())
    return float(weights.mean() ** 2 / (weights**2).mean())


def run(
    *,
    run_dir: Path,
    seed: int,
    num_flips: int = 50,
    num_draws: int = 2000,
    num_steps: int = 5000,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Runs the program eagerly and compiled, and infers the bias in three ways.

    num_draws: of each of the 4 chains of NUTS.
    num_steps: of variational inference.

    Writes claims and picture to `run_dir`.  Raises ValueError for a wrong argument;
    CheckFailed for a claim that does not hold.
    """
    check_counts(num_flips=num_flips, num_steps=num_steps)
    check_count("num_draws", num_draws, minimum=100)
    if dry_run:
        return {}
    flips = drawn(num_flips, seed).numpy()
    compiled = tf.function(lambda: drawn(num_flips, seed), autograph=False)
    exact = exact_posterior(flips)
    posterior = ppl.posterior(beta_bernoulli, num_flips, observed={"x": flips})
    tree = inference.sample_nuts(posterior, num_draws=num_draws, seed=seed)
    by_nuts = tree["posterior/p"].values
    guide = inference.mean_field(posterior)
    fit = inference.fit_vi(
        posterior, guide, num_steps=num_steps, num_samples=10, seed=seed
    )
    vi_tree = fit.draws(10_000, seed=seed)
    by_vi = vi_tree["posterior/p"].values
    # Both terms by draws: that of one guide this close hardly varies.
    log_ratios = (vi_tree["sample_stats/lp"] - vi_tree["sample_stats/log_q"]).values
    elbo, elbo_error = log_ratios.mean(), log_ratios.std() / log_ratios.size**0.5
    made = [
        claims.at_most(
            "flips that differ between the eager and the compiled run",
            (compiled().numpy() != flips).sum(),
            0,
        ),
        claims.at_most(
            "log joint, eager and compiled: largest difference from SciPy's in nats",
            log_joint_error(flips, float(exact.mean())),
            1e-4,
        ),
        *_nuts_claims(by_nuts, exact),
        claims.near(
            "VI, its ELBO in nats against the best of its family",
            elbo,
            best_elbo(flips),
            error=elbo_error,
        ),
        claims.at_most(
            "VI, log evidence less ELBO in nats",
            log_evidence(flips) - elbo,
            0.02,
            error=elbo_error,
        ),
        claims.at_most(
            "VI, distance of its mean from the exact one in posterior deviations",
            abs(by_vi.mean() - exact.mean()) / exact.std(),
            0.1,
            error=1 / by_vi.size**0.5,
        ),
        claims.at_least(
            "VI, effective share of its draws, weighted by importance",
            effective_share(log_ratios),
            0.9,
        ),
    ]
    facts = {
        "heads": int(flips.sum()),
        "exact mean": float(exact.mean()),
        "exact log evidence": log_evidence(flips),
        "Pareto's k of VI": fit.pareto_k,
    }
    draw(run_dir / claims.PICTURE, exact, by_nuts.ravel(), by_vi.ravel())
    return claims.finish(run_dir, made, facts)


def _nuts_claims(draws: np.ndarray, exact: Any) -> list[claims.Claim]:
    """Mean and variance of the draws, [chains, draws], with Monte Carlo errors."""
    deviations = draws - exact.mean()
    table = dict(
        zip(COLUMNS, statistics(np.stack([draws, deviations**2])).T, strict=True)
    )
    expected = (float(exact.mean()), float(exact.var()))
    return [
        claims.near(f"NUTS, posterior {what} of the bias", mean, value, error=error)
        for what, mean, value, error in zip(
            ("mean", "variance"),
            table["mean"],
            expected,
            table["mcse_mean"],
            strict=True,
        )
    ]


def draw(path: Path, exact: Any, by_nuts: np.ndarray, by_vi: np.ndarray) -> None:
    """Writes a picture of the posterior, found in three ways, to `path`."""
    with pictures.figure(path, height=4.6) as figure:
        axes = figure.subplots()
        low, high = exact.ppf([1e-4, 1 - 1e-4])
        grid = np.linspace(low, high, 300)
        bins = np.linspace(low, high, 50)
        axes.hist(by_nuts, bins, density=True, alpha=0.45, label="NUTS, draws")
        axes.hist(
            by_vi, bins, density=True, histtype="step", linewidth=1.6, label="VI, draws"
        )
        axes.plot(grid, exact.pdf(grid), "k", linewidth=1.2, label="exact, a Beta")
        axes.set_xlabel("bias of the coin, p")
        axes.set_ylabel("posterior density")
        axes.set_title("The posterior of the coin's bias")
        axes.legend()
