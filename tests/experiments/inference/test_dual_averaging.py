"""Dual averaging against its published recursion."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from experiments.inference import dual_averaging as ours
from experiments.inference.step_size import HIGHEST, LOWEST, begin, final

update = tf.function(ours.update, autograph=False)


def run(step, accepts, target=0.8):
    """The step after each of `accepts` [num, chains], and the values in between."""
    values = []
    for accept in accepts:
        step = update(step, tf.constant(accept, tf.float64), tf.constant(target))
        values.append(np.asarray(step.value))
    return step, np.array(values)


def dual_averaging(first, accepts, target):
    """Hoffman & Gelman (2014), algorithm 5, written out for one chain in floats."""
    gamma, t0, kappa, mu = 0.05, 10, 0.75, math.log(10 * first)
    h, log_mean, values = 0.0, 0.0, []
    for m, accept in enumerate(accepts, start=1):
        h = (1 - 1 / (m + t0)) * h + (target - accept) / (m + t0)
        log_value = mu - math.sqrt(m) / gamma * h
        log_mean = m**-kappa * log_value + (1 - m**-kappa) * log_mean
        values.append(math.exp(log_value))
    return values, math.exp(log_mean)


def test_step_sizes_are_those_of_algorithm_5():
    accepts = np.random.default_rng(0).uniform(0.3, 1.0, (200, 3))
    first = np.array([0.1, 1.0, 7.0])
    step, values = run(begin(first), accepts, target=0.65)
    for chain in range(3):
        wanted, mean = dual_averaging(first[chain], accepts[:, chain], 0.65)
        np.testing.assert_allclose(values[:, chain], wanted, rtol=1e-5)
        np.testing.assert_allclose(final(step)[chain], mean, rtol=1e-5)


def test_the_first_update_by_hand():
    # error 0.8 / 11, so the logarithm falls by 0.8 / 11 / 0.05 from that of 10 times 2.
    _, values = run(begin(np.array([2.0])), [[0.0]])
    np.testing.assert_allclose(values[0], 20 * math.exp(-16 / 11), rtol=1e-6)


def test_acceptance_of_the_final_step_size_is_the_target():
    # A chain whose acceptance at step size e is exp(-e): the root of exp(-e) = 0.8.
    step, generator = begin(np.array([5.0, 0.01])), np.random.default_rng(1)
    for _ in range(2000):
        mean = np.exp(-np.asarray(step.value))
        step, _ = run(step, [generator.beta(4 * mean, 4 * (1 - mean) + 1e-9)])
    wanted = optimize.brentq(lambda e: math.exp(-e) - 0.8, 0.01, 5)
    np.testing.assert_allclose(final(step), wanted, rtol=0.15)


@pytest.mark.parametrize(("num", "low", "high"), [(50, 0.8, 0.9), (800, 0.95, 1.0)])
def test_noise_makes_the_final_step_size_too_small_until_there_are_many(num, low, high):
    # Acceptance as of a normal density in 10 dimensions: 0.8 at a step size of 1, with
    # a standard deviation of 0.18.  The mean over the updates is the target all along.
    generator = np.random.default_rng(6)
    step, accepts = begin(np.full(200, 0.85)), []
    for _ in range(num):
        mean = np.clip(0.8 ** (np.asarray(step.value) ** 2.2), 1e-6, 1 - 1e-6)
        accepts.append(generator.beta(4 * mean, 4 * (1 - mean)))
        step, _ = run(step, accepts[-1:])
    assert low < np.exp(np.mean(np.log(final(step)))) < high
    assert abs(np.mean(accepts) - 0.8) < 0.03


def test_step_sizes_stay_finite_and_positive_whatever_is_accepted():
    accepts = [0.0, 1.0, -1.0, 3.0, np.nan, np.inf, -np.inf]
    firsts = [1.0, LOWEST, HIGHEST]
    first, accept = (part.ravel() for part in np.meshgrid(firsts, accepts))
    step, values = run(begin(first), [accept] * 1500)
    assert np.all((values >= 0.99 * LOWEST) & (values <= HIGHEST))
    assert np.all(np.isfinite(final(step)) & (final(step) > 0))
    assert np.all(np.isfinite(tf.nest.flatten(step)))
    assert np.all(values.astype(np.float32) > 0)


def test_an_acceptance_that_is_nan_counts_as_none():
    accepts = np.random.default_rng(2).uniform(size=(30, 1))
    accepts[::7] = np.nan
    _, values = run(begin(np.array([1.0])), accepts)
    _, wanted = run(begin(np.array([1.0])), np.nan_to_num(accepts, nan=0.0))
    np.testing.assert_array_equal(values, wanted)


def test_a_chain_adapts_alone_as_it_does_among_others():
    # TensorFlow's exp of a number is not the same alone and among others.
    accepts = np.random.default_rng(3).uniform(0.4, 1, (300, 7))
    first = np.linspace(0.1, 3.0, 7)
    step, values = run(begin(first), accepts)
    for chain in (2, 6):
        alone, alone_values = run(
            begin(first[chain : chain + 1]), accepts[:, chain : chain + 1]
        )
        np.testing.assert_array_equal(alone_values[:, 0], values[:, chain])
        assert final(alone)[0] == final(step)[chain]
