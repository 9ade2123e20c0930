"""The regression over scipy.stats: closed forms, its claims, and bad input."""

import numpy as np
import pytest
from scipy import stats

from experiments.programs import scipy_regression
from tests.programs import claims_of

FEATURES = np.array([[1.0, 0.5], [-2.0, 0.3], [0.1, 4.0]])
LABELS = np.array([0.3, -1.0, 0.7])


def test_the_closed_forms_agree_with_a_grid():
    exact = scipy_regression.conjugate(FEATURES, LABELS)
    side = np.linspace(-0.8, 0.8, 401)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    log_joint = stats.norm.logpdf(grid, 0.0, 0.1).sum(-1)
    log_joint += stats.norm.logpdf(LABELS, grid @ FEATURES.T, 1.0).sum(-1)
    density = np.exp(log_joint)
    evidence = density.sum() * (side[1] - side[0]) ** 2
    np.testing.assert_allclose(exact.log_evidence, np.log(evidence), atol=1e-9)
    weights = density / density.sum()
    np.testing.assert_allclose(exact.mean, weights @ grid, atol=1e-9)
    centred = grid - exact.mean
    covariance = (weights[:, None] * centred).T @ centred
    np.testing.assert_allclose(exact.covariance, covariance, atol=1e-9)


def test_metropolis_draws_from_a_normal_distribution():
    random = np.random.default_rng(0)
    log_density = stats.norm(3.0, 0.5).logpdf
    chains = np.stack(
        [
            scipy_regression.metropolis(
                lambda x: log_density(x[0]), np.array([3.0]), np.eye(1), 1000, random
            )
            for _ in range(2)
        ]
    )
    right = scipy_regression.Conjugate(np.array([3.0]), np.array([[0.25]]), 0.0)
    errors, _ = scipy_regression.standardised_errors(chains, right)
    assert np.abs(errors).max() < 4
    wrong = right._replace(mean=np.array([3.4]))
    errors, _ = scipy_regression.standardised_errors(chains, wrong)
    assert np.abs(errors).max() > 4


def test_one_run_and_the_same_under_an_intervention():
    values = scipy_regression.drawn(FEATURES, 5)
    assert list(values) == ["coeffs", "labels"]
    under_do = scipy_regression.drawn(FEATURES, 5, coeffs=np.array([1.0, 2.0]))
    assert list(under_do) == ["labels"]
    noise = values["labels"] - FEATURES @ values["coeffs"]
    np.testing.assert_allclose(under_do["labels"] - FEATURES @ [1.0, 2.0], noise)


@pytest.mark.slow
def test_the_tiny_config_runs_and_its_claims_hold(tmp_path):
    assert len(claims_of("scipy_regression_tiny", tmp_path / "run")) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_rows": 0}, "num_rows: given 0, wanted a whole number of at least 1"),
        ({"num_features": 1.5}, "num_features: given 1.5, wanted"),
        ({"num_points": 0}, "num_points: given 0, wanted"),
        ({"num_draws": 99}, "num_draws: given 99, wanted a whole number of at least"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        scipy_regression.run(run_dir=tmp_path, seed=0, dry_run=True, **changes)
