import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from experiments.inference import nuts_transitions, streams, transitions
from experiments.inference.kernel import compile_kernel
from experiments.inference.step_size import constant
from tests.helpers import COVARIANCE, TARGETS, distance_allowed, distance_from

NUM, STEP = 4, 0.4
TARGET = TARGETS["correlated normal"]


def log_prob_and_grad(position):
    with tf.GradientTape() as tape:
        tape.watch(position)
        log_prob = TARGET.log_prob(position)
    return log_prob, tape.gradient(log_prob, position)


@pytest.fixture(scope="module")
def moved():
    """20,000 chains from exact draws, with the scales of a guide that is not exact."""
    start = TARGET.start(np.random.default_rng(0), 20_000)
    run = tf.function(nuts_transitions, jit_compile=True, autograph=False)
    position, statistics = run(
        log_prob_and_grad,
        tf.constant(start),
        num_transitions=2,
        step_size=0.4,
        seed=tf.constant([0, 1]),
        scale=tf.constant(np.tile([0.8, 2.2, 0.4], [len(start), 1])),
    )
    return start, position.numpy(), statistics


def test_transitions_are_the_kernels():
    """With the kernel's random numbers, chains end where its fourth draws are."""
    chains, depth = 6, 5
    start = TARGET.start(np.random.default_rng(1), chains)
    kernel = compile_kernel(
        log_prob_and_grad,
        num_chains=chains,
        dim=3,
        max_depth=depth,
        dtype=tf.float64,
    )
    scale = np.tile([0.8, 2.2, 0.4], [chains, 1])
    log_prob, grad = log_prob_and_grad(tf.constant(start))
    seed = tf.constant([3, 4])
    _, _, draws = kernel.run(
        (start, log_prob.numpy(), grad.numpy()),
        first_draw=0,
        num_draws=NUM,
        step=constant(STEP, chains),
        scale=scale,
        max_depth=depth,
        adapting=False,
        target_accept=0.8,
        seed=seed,
    )
    numbers = streams.draw(
        seed,
        np.arange(chains, dtype=np.int32),
        np.zeros(chains, np.int32),
        NUM + 1,
        rows=NUM + 1,
        dim=3,
        max_depth=depth,
        dtype=np.float64,
        energy_dtype=np.float64,
    )
    position, statistics = transitions.run(
        log_prob_and_grad,
        tf.constant(start),
        log_prob,
        grad,
        numbers,
        num_transitions=NUM,
        step_size=STEP,
        scale=tf.constant(scale),
        max_depth=depth,
    )
    np.testing.assert_allclose(position, draws.draws[:, -1], atol=1e-8)
    np.testing.assert_array_equal(statistics.leapfrogs, draws.leapfrogs[:, -1])
    np.testing.assert_allclose(statistics.accept, draws.accept[:, -1], atol=1e-8)


@pytest.mark.slow
def test_transitions_leave_the_target_as_it_is(moved):
    start, position, statistics = moved
    assert np.mean(np.all(position == start, 1)) < 0.1  # most have moved
    for i, variance in enumerate(np.diag(COVARIANCE)):
        cdf = stats.norm(scale=np.sqrt(variance)).cdf
        assert distance_from(cdf, position[:, i]) < distance_allowed(len(position))
    error = 5 * np.sqrt(2 / len(position))
    np.testing.assert_allclose(
        np.cov(position.T), COVARIANCE, atol=error * np.diag(COVARIANCE).max()
    )
    assert not np.any(statistics.diverged)


@pytest.mark.slow
def test_transitions_forget_where_they_began():
    run = tf.function(nuts_transitions, jit_compile=True, autograph=False)
    position, _ = run(
        log_prob_and_grad,
        tf.zeros([4000, 3], tf.float64) + 1.0,
        num_transitions=10,
        step_size=0.4,
        seed=tf.constant([0, 2]),
    )
    mean, spread = np.mean(position, 0), np.sqrt(np.diag(COVARIANCE))
    assert np.all(np.abs(mean) < 5 * spread / np.sqrt(len(position)))


def test_no_gradient_flows_through_transitions():
    start = tf.ones([2, 3], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(start)
        position, _ = nuts_transitions(
            log_prob_and_grad, start, num_transitions=1, step_size=0.4, seed=(0, 1)
        )
        value = tf.reduce_sum(position)
    assert tape.gradient(value, start) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_transitions": 0}, "num_transitions: given 0, wanted"),
        ({"max_depth": 31}, "max_depth: given 31, wanted"),
    ],
)
def test_wrong_numbers_are_refused(given, message):
    arguments = {"num_transitions": 1, "step_size": 0.4, "seed": (0, 1), **given}
    with pytest.raises(ValueError, match=message):
        nuts_transitions(log_prob_and_grad, tf.zeros([2, 3]), **arguments)
