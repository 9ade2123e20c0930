"""The float64 reference that every system is compared with."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize

from experiments.bench import reference
from experiments.datasets.regression import RegressionProblem


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 4)).astype(np.float32)
    labels = (rng.random(300) < 0.3).astype(np.int32)
    start = np.array([0.1, -0.2, 0.0, 0.3], np.float32)
    return RegressionProblem(
        name="made", source="made", features=features, labels=labels, start=start
    )


@pytest.fixture(scope="module")
def exact(problem):
    return reference.make(problem, seed=0)


def test_gradient_is_that_of_finite_differences(problem):
    point = np.array([0.3, 0.1, -0.5, 0.2])
    _, grad = reference.log_prob_and_grad(problem, point)
    numeric = scipy.optimize.approx_fprime(
        point, lambda c: reference.log_prob_and_grad(problem, c)[0], 1e-6
    )
    np.testing.assert_allclose(grad, numeric, rtol=1e-4)


def test_maximum_is_that_of_a_general_optimiser(problem, exact):
    found = scipy.optimize.minimize(
        lambda c: -reference.log_prob_and_grad(problem, c)[0],
        np.zeros(4),
        jac=lambda c: -reference.log_prob_and_grad(problem, c)[1],
        method="BFGS",
        options={"gtol": 1e-8},
    )
    assert exact.max_log_prob == pytest.approx(-found.fun, abs=1e-6)


def test_a_density_off_by_a_constant_passes(exact):
    check = reference.check_density(
        exact,
        exact.log_prob + 17.0,
        exact.grad,
        precision="float64",
    )
    assert check["passed"]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_density_of_another_scale_or_gradient_fails(exact, precision):
    scaled = reference.check_density(
        exact,
        exact.log_prob * 1.01,
        exact.grad,
        precision=precision,
    )
    bent = reference.check_density(
        exact,
        exact.log_prob,
        exact.grad * 1.01,
        precision=precision,
    )
    assert not scaled["passed"] and not bent["passed"]


def draws_near(problem, distance, shape=(1, 5)):
    noise = np.random.default_rng(2).normal(size=(*shape, problem.dim))
    return problem.start + distance * noise


def test_draws_of_a_chain_that_moved_within_its_energy_pass(problem, exact):
    assert reference.check_draws(problem, exact, draws_near(problem, 0.02))["passed"]


@pytest.mark.parametrize(
    "values",
    [
        lambda p: draws_near(p, 30.0),
        lambda p: np.broadcast_to(p.start, (1, 5, p.dim)),
        lambda p: np.full((1, 5, p.dim), np.nan),
    ],
    ids=["far off", "never moved", "not finite"],
)
def test_draws_that_cannot_be_the_posteriors_fail(problem, exact, values):
    assert not reference.check_draws(problem, exact, values(problem))["passed"]


def test_a_separable_problem_still_has_its_maximum_by_the_prior(problem):
    labels = (problem.features[:, 0] > 0).astype(np.int32)
    separable = dataclasses.replace(problem, labels=labels)
    assert np.isfinite(reference.max_log_prob(separable))


def test_the_first_rows_show_a_prior_that_all_of_them_could_hide():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(200_000, 2)).astype(np.float32)
    labels = (rng.random(200_000) < 0.5).astype(np.int32)
    start = np.array([1.5, -1.5], np.float32)
    many = RegressionProblem(
        name="made", source="made", features=features, labels=labels, start=start
    )
    exact = reference.make(reference.first_rows(many), seed=0)
    flat = exact.log_prob + 0.5 * np.sum(exact.points.astype(np.float64) ** 2, axis=1)
    check = reference.check_density(
        exact,
        flat,
        exact.grad + exact.points,
        precision="float32",
    )
    assert not check["passed"]


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(200_000, 3)).astype(np.float32)
    labels = (rng.random(200_000) < 0.4).astype(np.int32)
    start = np.array([0.5, -0.5, 0.1], np.float32)
    return RegressionProblem(
        name="made", source="made", features=features, labels=labels, start=start
    )


def float32_gradient(problem, point):
    """Summed term by term in float32: the coarsest order there is."""
    logits = problem.features @ point
    residuals = problem.labels - 1 / (1 + np.exp(-logits, dtype=np.float32))
    terms = residuals[:, np.newaxis].astype(np.float32) * problem.features
    return np.cumsum(terms, axis=0, dtype=np.float32)[-1] - point


def test_a_float32_sum_in_the_coarsest_order_is_within_what_rounding_allows(many):
    exact = reference.make(many, seed=0)
    grads = np.stack([float32_gradient(many, point) for point in exact.points])
    check = reference.check_density(exact, exact.log_prob, grads, precision="float32")
    assert check["passed"] and check["grad_error_over_rounding"] > 1e-3
    as_float64 = reference.check_density(
        exact, exact.log_prob, grads, precision="float64"
    )
    assert not as_float64["passed"]


def test_a_gradient_that_misses_one_row_in_a_hundred_is_not_rounding(many):
    exact = reference.make(many, seed=0)
    fewer = dataclasses.replace(
        many, features=many.features[:198_000], labels=many.labels[:198_000]
    )
    grads = np.stack(
        [
            reference.log_prob_and_grad(fewer, point.astype(np.float64))[1]
            for point in exact.points
        ]
    )
    check = reference.check_density(exact, exact.log_prob, grads, precision="float32")
    assert not check["passed"]
