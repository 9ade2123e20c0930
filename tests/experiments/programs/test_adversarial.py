"""The ratio's posterior: its exact counterpart, its test, and its tiny run."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.programs import adversarial
from tests.helpers import distance_allowed, distance_from
from tests.programs import ran

X = np.array([0.4, 1.2])


def joint(theta, x):
    """log p(theta, x) by the program: [runs]."""
    parts = ppl.make_log_prob_parts_fn(
        adversarial.model, batch_ndims=1, observed={"x": np.float32(x)[np.newaxis]}
    )
    terms = parts(1, theta=tf.constant(theta[:, np.newaxis], tf.float32))
    return sum(term.numpy().astype(float) for term in terms.values())


def plane():
    """Points on a grid, and the area of one."""
    axis = np.linspace(-5, 5, 401)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1), 0.025**2


def test_the_exact_ratio_is_that_of_quadrature_over_the_plane():
    points, area = plane()
    marginal = np.log(np.sum(np.exp(joint(points.reshape(-1, 2), X))) * area)
    theta = np.array([[0.3, 0.9], [-1.0, 0.0]])
    prior = stats.norm.logpdf(theta).sum(1)
    expected = joint(theta, X) - prior - marginal
    found = adversarial.exact_log_ratio(theta, np.broadcast_to(X, theta.shape))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_exact_draws_have_the_marginals_of_quadrature_over_the_plane():
    points, _ = plane()
    density = np.exp(joint(points.reshape(-1, 2), X)).reshape(401, 401)
    draws = adversarial.exact_draws(np.random.default_rng(0), X, 20_000)
    for index in (0, 1):
        below = np.cumsum(density.sum(1 - index)) / density.sum()
        axis = points[:, 0, 0] + 0.0125  # a cell's mass lies below its upper end
        away = distance_from(
            lambda t, axis=axis, below=below: np.interp(t, axis, below), draws[:, index]
        )
        assert away < distance_allowed(20_000)
    # The two parameters are dependent, as the curve has it.
    expected = np.sum(density * points[..., 0] ** 2 * points[..., 1]) / density.sum()
    product = draws[:, 0] ** 2 * draws[:, 1]
    assert abs(product.mean() - expected) < 5 * product.std() / 20_000**0.5


def test_the_discriminators_loss_is_the_cross_entropy_of_aligned_runs():
    weights = adversarial.first_weights(np.random.default_rng(0))
    seed = (0, 1)
    theta, x = adversarial.draw_runs(seed, 50)
    odds = [
        adversarial.log_ratio(weights, theta, part).numpy()
        for part in (x, np.roll(x, 1, axis=0))
    ]
    expected = 0.5 * np.mean(np.logaddexp(0, -odds[0]) + np.logaddexp(0, odds[1]))
    found = adversarial.discriminator_loss(weights, tf.constant(seed), 50)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_resampling_by_a_ratio_gives_the_posterior_of_that_ratio(monkeypatch):
    # A ratio whose posterior is known: N(0, 1) times N(1; theta, 1) in both parameters.
    monkeypatch.setattr(
        adversarial,
        "log_ratio",
        lambda weights, theta, x: tf.constant(-0.5 * np.sum((theta - x) ** 2, -1)),
    )
    rng = np.random.default_rng(0)
    prior = rng.standard_normal([100_000, 2])
    draws = adversarial.resample(rng, {}, prior, np.array([1.0, 1.0]), 2000)
    for index in (0, 1):
        cdf = stats.norm(0.5, 0.5**0.5).cdf
        assert distance_from(cdf, draws[:, index]) < distance_allowed(2000)


def test_the_two_sample_test_has_uniform_p_values_and_power():
    rng = np.random.default_rng(0)

    def p_value(shift):
        first, second = rng.standard_normal([2, 40, 2])
        return adversarial.two_sample_p_value(rng, first, second + shift, 99)

    same = np.array([p_value(0.0) for _ in range(60)])
    assert distance_from(stats.uniform.cdf, same) < distance_allowed(60)
    assert max(p_value(1.5) for _ in range(5)) == 1 / 100


@pytest.mark.slow
def test_the_tiny_run_shows_its_claims(tmp_path):
    config = "--gin_config=configs/programs/adversarial_tiny.gin"
    done = ran(["bin/train", config, f"--workdir={tmp_path / 'run'}"])
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "run/claims.json").read_text())
    assert len(written["claims"]) == 3
    assert all(claim["holds"] for claim in written["claims"])
    assert (tmp_path / "run/picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("num_runs", 1, "a whole number of at least 2"),
        ("num_permutations", 98, "a whole number of at least 99"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("least_p_value", 1, "a finite number above 0 and below 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, value, wanted):
    with pytest.raises(ValueError, match=wanted) as raised:
        adversarial.run(run_dir=Path(), seed=0, **{name: value}, dry_run=True)
    assert str(raised.value).startswith(f"{name}: given {value!r}, wanted")
