"""Metrics estimated from draws, against NumPy's estimates and numbers by hand."""

import numpy as np
import pytest

from experiments.inference.metric import (
    KINDS,
    Moments,
    add_draws,
    estimate,
    no_moments,
    to_inverse_mass,
    to_scale,
)

GENERATOR = np.random.default_rng(0)
COVARIANCE = np.array([[4.0, 1.5, 0.0], [1.5, 1.0, -0.2], [0.0, -0.2, 0.25]])
DRAWS = np.array([3.0, -1.0, 100.0]) + GENERATOR.multivariate_normal(
    np.zeros(3), COVARIANCE, size=(4, 60)
)  # [chains, num, dim]
GRADS = -(DRAWS - [3.0, -1.0, 100.0]) @ np.linalg.inv(COVARIANCE)


def moments_of(draws, kind, *, pooled=False, grads=None):
    chains, _, dim = draws.shape
    moments = no_moments(kind, chains, dim, pooled=pooled)
    return add_draws(moments, draws, np.zeros_like(draws) if grads is None else grads)


def inverse_mass_of(draws, kind, *, pooled=False, grads=None):
    moments = moments_of(draws, kind, pooled=pooled, grads=grads)
    old = to_scale(None, kind, *draws.shape[::2])
    return to_inverse_mass(estimate(moments, kind, old, pooled=pooled))


def test_ten_draws_of_variances_4_and_0_are_shrunk_as_stan_does():
    # 10/15 of the variance and 5/15 of 0.001.
    x = np.array([1.0, -1.0] * 5) * np.sqrt(4 * 9 / 10)
    draws = np.stack([x, np.full(10, 7.0)], axis=-1)[np.newaxis]
    assert np.var(draws[0], axis=0, ddof=1) == pytest.approx([4, 0])
    found = inverse_mass_of(draws, "diagonal")
    np.testing.assert_allclose(found, [[2.667, 3.3333e-4]], rtol=1e-4)
    dense = inverse_mass_of(draws, "dense")[0]
    np.testing.assert_allclose(dense, np.diag(found[0]), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num", [0, 1])
def test_fewer_than_two_draws_change_nothing(kind, num):
    old = to_scale(None, kind, 4, 3) * 3
    moments = moments_of(DRAWS[:, :num], kind, grads=GRADS[:, :num])
    assert estimate(moments, kind, old, pooled=False) is old


def test_diagonal_metric_is_numpys_variance_shrunk():
    n = DRAWS.shape[1]
    wanted = n / (n + 5) * np.var(DRAWS, axis=1, ddof=1) + 5e-3 / (n + 5)
    np.testing.assert_allclose(inverse_mass_of(DRAWS, "diagonal"), wanted, rtol=1e-9)


def test_dense_metric_is_numpys_covariance_shrunk():
    n = DRAWS.shape[1]
    found = inverse_mass_of(DRAWS, "dense")
    for chain in range(4):
        wanted = n / (n + 5) * np.cov(DRAWS[chain].T) + 5e-3 / (n + 5) * np.eye(3)
        np.testing.assert_allclose(found[chain], wanted, rtol=1e-9)


def test_pooled_metrics_are_numpys_of_all_draws_around_their_common_mean():
    apart = DRAWS + np.arange(4)[:, np.newaxis, np.newaxis] * 10
    together = apart.reshape(-1, 3)
    n = len(together)
    wanted = n / (n + 5) * np.cov(together.T) + 5e-3 / (n + 5) * np.eye(3)
    dense = inverse_mass_of(apart, "dense", pooled=True)
    np.testing.assert_allclose(dense, [wanted], rtol=1e-9)
    diagonal = inverse_mass_of(apart, "diagonal", pooled=True)
    np.testing.assert_allclose(diagonal, [np.diag(wanted)], rtol=1e-9)
    # The chains lie 10 apart, and the pooled metric shows it.
    assert np.all(diagonal > 100)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_gradient_metric_of_a_normal_density_is_its_variance_from_a_few_draws(scale):
    # The gradient of a normal density is linear: the ratio is exact, whatever is drawn.
    draws = scale * GENERATOR.standard_normal((2, 10, 3))
    moments = moments_of(draws, "gradient", grads=-draws / scale**2)
    right = np.full((2, 3), scale)
    found = estimate(moments, "gradient", right, pooled=False)
    np.testing.assert_allclose(found, right, rtol=1e-9)
    # From another metric, 10/15 of the way on the scale of logarithms.
    found = estimate(moments, "gradient", np.ones((1, 3)), pooled=False)
    np.testing.assert_allclose(found, right ** (10 / 15), rtol=1e-9)


def test_gradient_metric_is_the_square_root_of_the_ratio_of_variances():
    n = DRAWS.shape[1]
    ratio = np.var(DRAWS, axis=1, ddof=1) / np.var(GRADS, axis=1, ddof=1)
    wanted = np.sqrt(ratio) ** (n / (n + 5))  # the old one is 1
    found = inverse_mass_of(DRAWS, "gradient", grads=GRADS)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooled", [False, True])
def test_moments_do_not_depend_on_how_draws_come(kind, pooled):
    whole = moments_of(DRAWS, kind, pooled=pooled, grads=GRADS)
    parts = no_moments(kind, 4, 3, pooled=pooled)
    for part in (slice(0, 1), slice(1, 40), slice(40, 40), slice(40, 60)):
        parts = add_draws(parts, DRAWS[:, part], GRADS[:, part])
    for name, one, other in zip(Moments._fields, whole, parts, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_has_alone_the_metric_that_it_has_among_others(kind):
    whole = inverse_mass_of(DRAWS, kind, grads=GRADS)
    alone = inverse_mass_of(DRAWS[2:3], kind, grads=GRADS[2:3])
    np.testing.assert_array_equal(alone[0], whole[2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("kind", ["diagonal", "gradient"])
def test_an_estimate_that_is_not_finite_leaves_its_coordinate_as_it_was(kind, value):
    draws = DRAWS.copy()
    draws[1, 5, 2] = value
    old = np.full((4, 3), 0.7)
    moments = moments_of(draws, kind, grads=GRADS)
    found = estimate(moments, kind, old, pooled=False)
    assert found[1, 2] == 0.7
    clean = moments_of(DRAWS, kind, grads=GRADS)
    wanted = estimate(clean, kind, old, pooled=False)
    wanted[1, 2] = 0.7
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_covariance_that_is_not_finite_leaves_its_chain_as_it_was(value):
    draws = DRAWS.copy()
    draws[1, 5, 2] = value
    old = to_scale(None, "dense", 4, 3) * np.ones((4, 1, 1))
    found = estimate(moments_of(draws, "dense"), "dense", old, pooled=False)
    np.testing.assert_array_equal(found[1], old[1])
    assert np.all(found[[0, 2, 3], 1, 0] != 0)


def test_a_coordinate_that_stood_still_keeps_its_gradient_informed_scale():
    draws, grads = DRAWS.copy(), GRADS.copy()
    draws[:, :, 0], grads[:, :, 1] = 3.0, 0.0
    old = np.full((4, 3), 0.7)
    moments = moments_of(draws, "gradient", grads=grads)
    found = estimate(moments, "gradient", old, pooled=False)
    np.testing.assert_array_equal(found[:, :2], old[:, :2])
    assert np.all(found[:, 2] != 0.7)


def test_scales_stay_within_what_float32_can_square():
    draws = DRAWS * np.array([1e-30, 1e18, 1.0])
    scale = np.sqrt(inverse_mass_of(draws, "diagonal")).astype(np.float32)
    assert np.all(np.isfinite(scale**2) & (scale**2 > 0))


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_a_given_diagonal_inverse_mass_comes_back(shape):
    given = GENERATOR.uniform(0.1, 9, shape)
    scale = to_scale(given, "diagonal", 4, 3)
    np.testing.assert_allclose(to_inverse_mass(scale), np.atleast_2d(given), rtol=1e-12)


@pytest.mark.parametrize("chains", [None, 4])
def test_a_given_dense_inverse_mass_comes_back(chains):
    given = COVARIANCE if chains is None else np.stack([COVARIANCE] * chains)
    scale = to_scale(given, "dense", 4, 3)
    np.testing.assert_array_equal(scale, np.tril(scale))
    np.testing.assert_allclose(
        to_inverse_mass(scale), given.reshape(-1, 3, 3), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize(
    "given, kind",
    [
        ([1.0, 2.0], "diagonal"),
        (np.ones((2, 3)), "diagonal"),
        ([1.0, 0.0, 1.0], "diagonal"),
        ([1.0, -2.0, 1.0], "gradient"),
        ([1.0, np.nan, 1.0], "diagonal"),
        ([1.0, np.inf, 1.0], "diagonal"),
        (np.ones(3), "dense"),
        (np.ones((3, 3)), "dense"),
        (np.eye(3) * np.nan, "dense"),
        (np.eye(3) + np.eye(3, k=1) / 2, "dense"),
    ],
)
def test_an_inverse_mass_that_is_none_is_refused(given, kind):
    with pytest.raises(ValueError, match="inverse_mass: given .*, wanted"):
        to_scale(given, kind, 4, 3)
