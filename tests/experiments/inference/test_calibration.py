"""Whole runs, warm-up included: true parameters rank uniformly among the draws.

Simulation-based calibration: Talts et al. (2018), Validating Bayesian inference.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.inference import drawing
from experiments.inference import kernel as kernels
from experiments.inference.samples import concatenate
from experiments.inference.warmup_state import WarmupSettings
from tests.datasets_as_chains import Datasets
from tests.helpers import ALARM, effective_sample_size

F64 = tf.float64
SETS = 480  # simulated data sets
BINS = 24


def rank_p_value(truths, draws, rng):
    """Of uniform ranks: truths [sets] among draws [sets, num], nearly independent.

    A rank becomes a uniform number, the middle of no bin, so that any `num` will do.
    """
    below = np.sum(draws < truths[:, np.newaxis], axis=1)
    uniform = (below + rng.uniform(size=len(truths))) / (draws.shape[1] + 1)
    counts, _ = np.histogram(uniform, BINS, (0, 1))
    return stats.chisquare(counts).pvalue


def conjugate(rng, *, spread, num=60):
    """Truths and draws of a normal mean; the posterior is `spread` times too wide."""
    truths = rng.standard_normal(SETS)
    data = truths + rng.standard_normal(SETS)
    noise = rng.standard_normal((SETS, num))
    return truths, data[:, np.newaxis] / 2 + spread * np.sqrt(0.5) * noise


def test_ranks_among_exact_draws_have_uniform_p_values():
    rng = np.random.default_rng(1)
    p_values = [rank_p_value(*conjugate(rng, spread=1.0), rng) for _ in range(200)]
    assert stats.kstest(p_values, stats.uniform.cdf).pvalue > 1e-4
    assert np.mean(np.array(p_values) < 0.05) < 0.1


@pytest.mark.parametrize("spread", [0.7, 1.4])
def test_ranks_find_a_posterior_too_narrow_or_too_wide(spread):
    rng = np.random.default_rng(2)
    p_values = [rank_p_value(*conjugate(rng, spread=spread), rng) for _ in range(50)]
    assert np.mean(np.array(p_values) < ALARM) > 0.8


def line():
    slope = ppl.Normal(tf.constant(0.0, F64), 1.0, name="slope")
    noise = ppl.HalfNormal(tf.constant(1.0, F64), name="noise")
    at = tf.constant([-1.0, 0.5, 2.0, 3.0], F64)
    ppl.Normal(slope * at, noise, name="y")


def counts():
    share = ppl.Beta(tf.constant(2.0, F64), 3.0, name="share")
    rate = ppl.Gamma(tf.constant(3.0, F64), 1.0, name="rate")
    ppl.Poisson(rate * share * tf.constant([1.0, 4.0], F64), name="y")


def groups():
    mean = ppl.Normal(tf.constant(0.0, F64), 1.0, name="mean")
    spread = ppl.Exponential(tf.constant(1.0, F64), name="spread")
    away = ppl.Normal(tf.constant(0.0, F64), 1.0, sample_shape=3, name="away")
    ppl.Normal(mean + spread * away, [0.5, 1.0, 1.5], name="y")


def labels():
    features = np.random.default_rng(3).normal(size=(12, 2))
    coeffs = ppl.Normal(tf.constant(0.0, F64), 1.5, sample_shape=2, name="coeffs")
    ppl.Bernoulli(logits=tf.linalg.matvec(features, coeffs), name="y")


def warmed_up_draws(chains, num_draws):
    """Draws [sets, num, dim] and log probs, each chain with a warm-up of its own."""
    settings = WarmupSettings(num_warmup=200, max_depth=6, pooled=False)
    kernel = kernels.compile_kernel(
        chains.log_prob_and_grad,
        num_chains=SETS,
        dim=chains.posterior.dim,
        max_depth=settings.max_depth,
        dtype=F64,
    )
    assert len(kernel.tiles) == 1  # the density is of all chains
    parts = drawing.chunks(
        kernel, settings, num_draws=num_draws, seed=tf.constant([4, 9])
    )
    return concatenate([p.samples for p in parts if p.warmup is not None], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("program", [line, counts, groups, labels])
def test_true_parameters_rank_uniformly_among_posterior_draws(monkeypatch, program):
    """A check fails by chance with probability 1e-6; there are 16."""
    monkeypatch.setattr(kernels, "SHARED_DATA_BYTES", -1)
    drawn = ppl.prior_predictive(program, num_draws=SETS, seed=(6, 1))
    chains = Datasets(program, drawn["y"])
    names = chains.posterior.names
    truths = chains.posterior.unconstrain({name: drawn[name] for name in names})
    samples = warmed_up_draws(chains, 300)
    log_prob, _ = chains.log_prob_and_grad(truths)
    truths = np.concatenate([truths, log_prob[:, np.newaxis]], axis=1)
    draws = np.concatenate([samples.draws, samples.log_prob[..., np.newaxis]], axis=2)
    rng = np.random.default_rng(7)
    for i in range(truths.shape[1]):
        one = draws[..., i]
        ess = effective_sample_size(one) / SETS
        thin = int(np.ceil(one.shape[1] / min(ess, one.shape[1])))
        assert thin <= 10, ess
        thinned = one[:, ::thin]
        assert rank_p_value(truths[:, i], thinned, rng) > ALARM, (i, thin)
