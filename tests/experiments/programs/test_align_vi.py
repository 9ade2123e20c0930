"""The closed forms of align_vi against general formulas, and its tiny run."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ppl_core as ppl
from experiments.programs import align_vi
from experiments.programs.align_vi import conjugate, experiment, step_time, vamp_prior
from tests.programs import ran


def conditioned(covariance, num_latents, data):
    """The mean and covariance of a normal's first entries given others: textbook."""
    latent, across = covariance[:num_latents, :num_latents], covariance[:num_latents]
    weights = across[:, num_latents:] @ np.linalg.inv(
        covariance[num_latents:, num_latents:]
    )
    return weights @ data, latent - weights @ across[:, num_latents:].T


def test_the_regressions_guides_should_find_what_conditioning_gives():
    field, rank = conjugate.regressions(np.random.default_rng(0))
    # y is linear in the coefficients: its mean at unit coefficients is a column.
    columns = []
    for unit in np.eye(2, dtype=np.float32):
        with ppl.tape() as variables, ppl.condition(coeffs=unit, y=np.zeros(20)):
            field.model()
        columns.append(variables["y"].mean().numpy())
    features = np.stack(columns, -1).astype(float)
    noise = conjugate.REGRESSION_NOISE**2 * np.eye(20)
    covariance = np.block(
        [[np.eye(2), features.T], [features, features @ features.T + noise]]
    )
    mean, posterior = conditioned(covariance, 2, field.observed["y"])
    np.testing.assert_allclose(rank.exact[:2], mean, rtol=1e-4)
    np.testing.assert_allclose(rank.exact[2:], posterior[np.tril_indices(2)], rtol=1e-4)
    np.testing.assert_allclose(field.exact[:2], mean, rtol=1e-4)
    np.testing.assert_allclose(
        field.exact[2:] ** -2, np.diag(np.linalg.inv(posterior)), rtol=1e-4
    )
    evidence = stats.multivariate_normal.logpdf(
        field.observed["y"], np.zeros(20), covariance[2:, 2:]
    )
    np.testing.assert_allclose(rank.best_bound, evidence, rtol=1e-4)
    gap = stats.multivariate_normal.entropy(mean, posterior) - np.sum(
        stats.norm.entropy(0, field.exact[2:])
    )
    np.testing.assert_allclose(field.best_bound, evidence - gap, rtol=1e-4)


def test_the_factors_guide_should_find_what_conditioning_gives():
    problem = conjugate.factors(np.random.default_rng(0), 3)
    loadings = conjugate.LOADINGS.astype(float)
    marginal = loadings.T @ loadings + conjugate.FACTOR_NOISE**2 * np.eye(4)
    covariance = np.block([[np.eye(2), loadings], [loadings.T, marginal]])
    weights, bias, scale = np.split(problem.exact, [8, 10])
    x = problem.observed["x"]
    for row in x:
        mean, posterior = conditioned(covariance, 2, row)
        np.testing.assert_allclose(row @ weights.reshape(4, 2) + bias, mean, rtol=1e-5)
        np.testing.assert_allclose(posterior, np.diag(scale**2), atol=1e-7)
    expected = stats.multivariate_normal.logpdf(x, np.zeros(4), marginal).sum()
    np.testing.assert_allclose(problem.best_bound, expected, rtol=1e-5)


def test_the_reversed_ladder_should_find_what_conditioning_gives():
    problem = conjugate.reversed_ladder(np.random.default_rng(0), 3)
    slope, scale, noise = 1.5, 0.8, 0.6
    middle = slope**2 + scale**2
    # Of z2, z1 and x.
    covariance = np.array(
        [[1, slope, slope], [slope, middle, middle], [slope, middle, middle + noise**2]]
    )
    slope1, bias1, scale1, slope2, bias2, scale2 = problem.exact
    x = 0.7
    mean, posterior = conditioned(covariance, 2, np.array([x]))
    found_mean = slope1 * x + bias1
    np.testing.assert_allclose([slope2 * found_mean + bias2, found_mean], mean)
    between = slope2 * scale1**2
    np.testing.assert_allclose(
        posterior,
        [[scale2**2 + slope2 * between, between], [between, scale1**2]],
    )


def test_a_deviation_is_in_standard_errors_of_the_mean():
    found = np.array([[1.0, 10.0], [2.0, 12.0], [3.0, 14.0]])
    away, limit = experiment.deviation(found, np.array([2.0, 13.0]))
    assert away == pytest.approx(1.0 / (2.0 / 3**0.5))
    # A right mean of 2 numbers exceeds it at the rate 1e-4: t with 2 degrees.
    assert 2 * 2 * stats.t.sf(limit, 2) == pytest.approx(1e-4)


def test_the_true_density_of_the_vamp_priors_data_is_a_mixture():
    x = np.random.default_rng(0).standard_normal([4, 2])
    variance = vamp_prior.SPREAD**2 + vamp_prior.NOISE**2
    parts = [
        stats.multivariate_normal.pdf(x, centre, variance * np.eye(2))
        for centre in vamp_prior.CENTRES
    ]
    np.testing.assert_allclose(vamp_prior.log_density(x), np.log(np.mean(parts, 0)))


def test_the_vamp_prior_is_the_guides_mixture_at_the_pseudo_inputs():
    rng = np.random.default_rng(0)
    x = vamp_prior.draw_rows(rng, 20)
    weights = vamp_prior.first_weights(rng, x)
    with ppl.tape() as variables, ppl.seeded((0, 1)):
        vamp_prior.vamp_prior(weights, 5)
    with ppl.tape() as guided, ppl.seeded((0, 1)):
        vamp_prior.guide(weights, weights["pseudo_inputs"])
    z = variables["z"].value.numpy()
    parts = np.exp(guided["q_z"].log_prob(z[:, np.newaxis]).numpy())
    np.testing.assert_allclose(
        variables["z"].log_prob(), np.log(parts.mean(1)), rtol=1e-4
    )


def test_the_loss_by_hand_has_the_value_and_gradient_of_ours():
    losses = step_time.losses(np.random.default_rng(0))
    parameters = tf.constant(
        np.random.default_rng(1).standard_normal(2 * step_time.NUM_FEATURES), tf.float32
    )
    found = []
    for loss in losses:
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            value = loss(parameters, tf.constant([3, 4]))
        found.append((value, tape.gradient(value, parameters)))
    (value, gradient), (other, other_gradient) = found
    np.testing.assert_allclose(value, other, rtol=1e-5)
    np.testing.assert_allclose(gradient, other_gradient, rtol=1e-3, atol=0.1)


@pytest.mark.slow
def test_the_tiny_run_shows_its_claims(tmp_path):
    config = "--gin_config=configs/programs/align_vi_tiny.gin"
    done = ran(["bin/train", config, f"--workdir={tmp_path / 'run'}"])
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "run/claims.json").read_text())
    assert len(written["claims"]) == 12
    assert all(claim["holds"] for claim in written["claims"])
    assert (tmp_path / "run/picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("num_replicates", 2, "a whole number of at least 3"),
        ("num_draws", 0, "a whole number of at least 1"),
        ("num_rows", 1.5, "a whole number of at least 10"),
        ("num_steps", True, "a whole number of at least 1"),
        ("most_nats_short", 0, "a finite number above 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, value, wanted):
    with pytest.raises(ValueError, match=f"{name}: given {value!r}, wanted {wanted}"):
        align_vi.run(run_dir=Path(), seed=0, **{name: value}, dry_run=True)
