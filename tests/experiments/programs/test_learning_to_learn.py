"""Learning to learn: its gradient, its closed forms, and its tiny run."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from experiments.programs import learning_to_learn
from experiments.programs.loop_memory import loop_bytes
from tests.programs import ran

tfd = tfp.distributions
FEATURES = learning_to_learn.NUM_FEATURES


def problems(num_problems=2, num_rows=5):
    return learning_to_learn.draw_problems(
        np.random.default_rng(0), num_problems, num_rows
    )


def posteriors(given):
    """The exact posterior of each problem: loc and covariance, by conditioning."""
    for features, y in zip(given.features.numpy(), given.y.numpy(), strict=True):
        prior = learning_to_learn.PRIOR_SCALE**2 * np.eye(FEATURES)
        marginal = features @ prior @ features.T
        marginal += learning_to_learn.NOISE**2 * np.eye(len(y))
        gain = prior @ features.T @ np.linalg.inv(marginal)
        yield gain @ y, prior - gain @ features @ prior


def test_the_excess_loss_is_the_divergence_above_the_least_one():
    given = problems()
    parameters = np.random.default_rng(1).standard_normal([2, 2 * FEATURES])
    excess = learning_to_learn.excess_loss(given, parameters)
    for found, row, (loc, covariance) in zip(
        excess, parameters, posteriors(given), strict=True
    ):
        exact = tfd.MultivariateNormalTriL(loc, np.linalg.cholesky(covariance))

        def divergence(loc, scale, exact=exact):
            return float(tfd.MultivariateNormalDiag(loc, scale).kl_divergence(exact))

        given_one = divergence(row[:FEATURES], np.logaddexp(0, row[FEATURES:]))
        least = divergence(loc, np.diag(np.linalg.inv(covariance)) ** -0.5)
        assert found == pytest.approx(given_one - least, rel=1e-6)


def test_the_mean_of_the_loss_differs_by_the_excess_loss():
    given = problems(1)
    rng = np.random.default_rng(1)
    few = tf.constant(0.3 * rng.standard_normal([2, 1, 2 * FEATURES]))
    seeds = tf.random.split([0, 1], 1000)

    @tf.function(autograph=False)
    def losses(parameters):
        return tf.map_fn(
            lambda seed: learning_to_learn.loss(given, parameters, seed),
            seeds,
            fn_output_signature=tf.float64,
        )

    differences = (losses(few[0]) - losses(few[1])).numpy()
    expected = [learning_to_learn.excess_loss(given, part)[0] for part in few.numpy()]
    error = differences.std() / len(differences) ** 0.5
    assert abs(differences.mean() - (expected[0] - expected[1])) < 5 * error


@pytest.mark.slow
def test_the_gradient_of_the_whole_descent_is_that_of_differences():
    error = learning_to_learn.gradient_error(
        np.random.default_rng(2), problems(), (0, 1), 12
    )
    assert error < 1e-6


@pytest.mark.slow
def test_the_last_loss_is_that_of_training():
    given = problems()
    fit = learning_to_learn.fitter(given, (0, 1), 6)
    trained = fit(learning_to_learn.identity(), 0.1)
    last = learning_to_learn.compiled(
        lambda matrix: learning_to_learn.last_loss(
            matrix, given, tf.constant([0, 1]), 6
        )
    )(learning_to_learn.identity())
    np.testing.assert_allclose(last, trained.losses[-1] / 2, rtol=1e-10)


def test_growth_is_the_power_of_the_steps():
    peaks = {n: 7 * n**0.5 for n in (100, 400, 1600)}
    assert learning_to_learn.growth(peaks) == pytest.approx(0.5)


def test_a_gain_is_judged_by_its_standard_error():
    learned = np.zeros(100)
    other = np.where(np.arange(100) % 2, 1.5, 0.5)
    claim = learning_to_learn.better(learned, other, "identity", 4.0)
    error = 0.5 / 99**0.5
    assert claim.value == pytest.approx(1.0) and claim.error == pytest.approx(error)
    assert claim.holds
    assert not learning_to_learn.better(other, learned, "identity", 4.0).holds


def test_the_bytes_of_a_loop_are_those_of_what_its_gradient_keeps():
    @learning_to_learn.compiled
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            (last,) = tf.while_loop(
                lambda _: True, lambda x: (tf.sin(x),), (x,), maximum_iterations=50
            )
        return tape.gradient(last, x)

    # The values of 1000 float64 at each of 50 steps, and a few more arrays.
    found = loop_bytes(gradient, tf.ones([1000], tf.float64))
    assert 50 * 8000 <= found < 55 * 8000


def test_a_function_without_a_loop_is_refused():
    with pytest.raises(ValueError, match="compiled: given a function without a loop"):
        loop_bytes(learning_to_learn.compiled(lambda x: tf.sin(x)), tf.ones([2]))


@pytest.mark.slow
def test_the_tiny_run_shows_its_claims(tmp_path):
    config = "--gin_config=configs/programs/learning_to_learn_tiny.gin"
    done = ran(["bin/train", config, f"--workdir={tmp_path / 'run'}"])
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "run/claims.json").read_text())
    assert len(written["claims"]) == 4
    assert all(claim["holds"] for claim in written["claims"])
    assert (tmp_path / "run/picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("num_inner_steps", 0, "a whole number of at least 1"),
        ("num_held_out", 1, "a whole number of at least 2"),
        ("memory_steps", (4, 2), "two or more in ascending order"),
        ("memory_steps", (4,), "two or more in ascending order"),
        ("num_errors", -1, "a finite number at least 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, value, wanted):
    with pytest.raises(ValueError, match=wanted) as raised:
        learning_to_learn.run(run_dir=Path(), seed=0, **{name: value}, dry_run=True)
    assert str(raised.value).startswith(f"{name}: given {value!r}, wanted")
