"""Long runs of the compiled sampler: exact moments, and other samplers' draws."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import ppl_core as ppl
from experiments.inference import chain
from experiments.inference.leapfrog import value_and_gradient
from tests import recursive_nuts
from tests.helpers import (
    COVARIANCE,
    TARGETS,
    assert_mean_within,
    assert_means_agree,
)


def long_run(target, *, step_size, num, num_chains=16, max_depth=6, seed=0, start=None):
    density = value_and_gradient(target.log_prob)
    kernel = chain.compile_kernel(
        density,
        num_chains=num_chains,
        dim=target.dim,
        max_depth=max_depth,
        dtype=tf.float64,
    )
    if start is None:
        start = target.start(np.random.default_rng(seed), num_chains)
    (chunk,) = chain.sample_chunks(
        kernel,
        seed=tf.constant([seed, 1]),
        start=start,
        step_size=step_size,
        num_results=num,
        chunk_size=num,
    )
    return chunk


LONG = {  # name: (step size, exact moments)
    "correlated normal": (
        0.4,
        [(lambda x, i=i: x[..., i], 0.0) for i in range(3)]
        + [
            (lambda x, i=i, j=j: x[..., i] * x[..., j], COVARIANCE[i, j])
            for i, j in itertools.combinations_with_replacement(range(3), 2)
        ],
    ),
    "banana": (
        0.4,
        [
            (lambda x: x[..., 0], 0.0),
            (lambda x: x[..., 0] ** 2, 1.0),
            (lambda x: x[..., 1], 0.5),
            (lambda x: x[..., 1] ** 2, 1.0),
            (lambda x: x[..., 0] ** 2 * x[..., 1], 1.5),
        ],
    ),
}


@pytest.fixture(scope="module")
def long_runs():
    return {
        name: long_run(TARGETS[name], step_size=step_size, num=3000).draws
        for name, (step_size, _) in LONG.items()
    }


@pytest.mark.parametrize("name", LONG)
def test_a_long_run_has_the_exact_moments(name, long_runs):
    for moment, exact in LONG[name][1]:
        assert_mean_within(moment(long_runs[name]), exact, min_ess=3000)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_long_run_agrees_with_the_slice_sampler(name, long_runs):
    """Hoffman & Gelman's own: another weighting, another turn test, one law."""
    target, (step_size, moments) = TARGETS[name], LONG[name]
    rng = np.random.default_rng(8)
    draws = [target.start(rng, 1)[0]]
    for _ in range(2000):
        draws.append(
            recursive_nuts.slice_transition(
                rng, target.log_prob_and_grad, draws[-1], step_size=step_size
            )
        )
    draws = np.array(draws[1:])
    for moment, exact in moments:
        assert_mean_within(moment(draws), exact)
        assert_means_agree(moment(long_runs[name]), moment(draws))


@pytest.mark.slow
def test_a_long_run_agrees_with_tfps_sampler(long_runs):
    target, (step_size, moments) = TARGETS["banana"], LONG["banana"]

    @tf.function(jit_compile=True, autograph=False)
    def run(start, seed):
        return tfp.mcmc.sample_chain(
            1000,
            start,
            kernel=tfp.mcmc.NoUTurnSampler(
                target.log_prob, tf.constant(step_size, tf.float64), max_tree_depth=6
            ),
            trace_fn=None,
            seed=seed,
        )

    start = tf.constant(target.start(np.random.default_rng(9), 8))
    draws = np.moveaxis(run(start, tf.constant([9, 9])).numpy(), 0, 1)
    for moment, _ in moments:
        assert_means_agree(moment(long_runs["banana"]), moment(draws), min_ess=500)


def test_a_program_with_known_posteriors_is_sampled_right():
    """Beta-Bernoulli, gamma-Poisson and normal-normal, each in closed form."""
    coins = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 1])
    counts = np.array([3.0, 5.0, 2.0, 4.0])
    heights = np.array([1.2, 0.4, 2.1])

    def program():
        p = ppl.Beta(tf.constant(2.0, tf.float64), 3.0, name="p")
        rate = ppl.Gamma(tf.constant(2.0, tf.float64), 0.5, name="rate")
        mean = ppl.Normal(tf.constant(0.0, tf.float64), 2.0, name="mean")
        ppl.Bernoulli(probs=p, sample_shape=10, name="coins")
        ppl.Poisson(rate, sample_shape=4, name="counts")
        ppl.Normal(mean, 1.0, sample_shape=3, name="heights")

    posterior = ppl.unconstrain(
        program, observed={"coins": coins, "counts": counts, "heights": heights}
    )
    precision = 1 / 4 + 3
    exact = {
        "p": stats.beta(2 + 8, 3 + 2),
        "rate": stats.gamma(2 + 14, scale=1 / (0.5 + 4)),
        "mean": stats.norm(heights.sum() / precision, precision**-0.5),
    }
    target = TARGETS["normal"]._replace(dim=posterior.dim, log_prob=posterior.log_prob)
    chunk = long_run(target, step_size=0.3, num=1500, start=np.zeros((16, 3)))
    vectors = chunk.draws[:, 100:].reshape(-1, 3)
    values = tf.function(posterior.constrain, autograph=False)(tf.constant(vectors))
    assert not chunk.diverged.any()
    for name, law in exact.items():
        draws = values[name].numpy().reshape(16, -1)
        assert_mean_within(draws, law.mean(), min_ess=2000)
        assert_mean_within((draws - law.mean()) ** 2, law.var(), min_ess=2000)
        for probability in (0.1, 0.5, 0.9):
            below = draws < law.ppf(probability)
            assert_mean_within(below.astype(float), probability, min_ess=2000)
