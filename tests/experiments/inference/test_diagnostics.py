"""R-hat, effective sample sizes and E-BFMI are those of ArviZ and of closed forms."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from experiments.inference import diagnostics

SHAPES = [(4, 1000), (3, 101), (1, 500), (64, 40)]


def autoregressive(phi, shape, scalars=12, seed=0):
    """Stationary chains with autocorrelation phi^lag and variance 1."""
    noise = np.random.default_rng(seed).normal(size=(scalars, *shape))
    values = noise.copy()
    for i in range(1, shape[1]):
        values[..., i] = phi * values[..., i - 1] + (1 - phi**2) ** 0.5 * noise[..., i]
    return values


@pytest.mark.parametrize("phi", [-0.9, 0.0, 0.95])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_are_those_of_arviz(phi, shape):
    values = autoregressive(phi, shape)
    values[1] = np.round(values[1])  # ties
    values[2, 0] += 1.0  # a chain elsewhere
    halves = diagnostics.split_chains(values)
    for found, wanted in (
        (diagnostics.ess_bulk(values), array_stats.ess(values, method="bulk")),
        (
            diagnostics.effective_sample_size(halves),
            array_stats.ess(values, method="mean"),
        ),
        (
            diagnostics.ess_tail(values),
            array_stats.ess(values, method="tail", prob=(0.05, 0.95)),
        ),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    if shape[0] > 1:  # with one chain, ArviZ has none
        wanted = array_stats.rhat(values)
        np.testing.assert_allclose(diagnostics.r_hat(values), wanted, rtol=1e-9)


def test_the_effective_size_of_an_autoregression_is_the_closed_form():
    for phi in (-0.5, 0.5, 0.9):
        values = autoregressive(phi, (4, 5000), scalars=30)
        size = diagnostics.effective_sample_size(values).mean()
        assert size == pytest.approx(20000 * (1 - phi) / (1 + phi), rel=0.1)


def test_one_chain_has_an_r_hat_which_a_trend_raises():
    values = autoregressive(0.0, (1, 1000), scalars=2)
    values[1] += np.linspace(-2, 2, 1000)
    still, trend = diagnostics.r_hat(values)
    assert still < 1.01 and trend > 1.1


def test_scales_of_any_size_have_the_same_table():
    values = autoregressive(0.5, (4, 200), scalars=1)
    small, large = (
        diagnostics.statistics(values * scale)[0] for scale in (1e-200, 1e150)
    )
    names = diagnostics.COLUMNS
    same = [names.index(name) for name in ("ess_bulk", "ess_tail", "r_hat")]
    np.testing.assert_allclose(small[same], large[same])
    error = names.index("mcse_mean")
    assert small[error] / 1e-200 == pytest.approx(large[error] / 1e150)


def test_the_monte_carlo_error_is_that_of_the_mean():
    values = autoregressive(0.6, (4, 500), scalars=400)
    table = diagnostics.statistics(values)
    mean, error = (
        table[:, diagnostics.COLUMNS.index(c)] for c in ("mean", "mcse_mean")
    )
    # Means are N(0, error^2): their squares in these units have mean 1.
    assert np.mean((mean / error) ** 2) == pytest.approx(1, abs=5 * (2 / 400) ** 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_scalar_that_is_not_finite_has_no_statistic_and_others_have_theirs(value):
    values = autoregressive(0.0, (4, 100), scalars=3)
    whole = diagnostics.statistics(values)
    values[1, 2, 3] = value
    table = diagnostics.statistics(values)
    assert np.isnan(table[1]).all()
    np.testing.assert_array_equal(table[[0, 2]], whole[[0, 2]])


def test_a_constant_has_a_mean_and_no_effective_size():
    values = np.full((1, 4, 100), 0.1)
    row = dict(zip(diagnostics.COLUMNS, diagnostics.statistics(values)[0], strict=True))
    assert row["mean"] == pytest.approx(0.1) and row["q5"] == 0.1
    assert np.isnan(
        [row[n] for n in ("mcse_mean", "ess_bulk", "ess_tail", "r_hat")]
    ).all()
    assert diagnostics.never_moved(values).all()


def test_many_draws_at_the_largest_value_keep_their_tail():
    values = np.minimum(autoregressive(0.95, (4, 1000), scalars=1), 1.0)
    assert diagnostics.ess_tail(values)[0] < 1000  # ArviZ: all 4000 draws


def test_two_values_equally_far_from_the_median_have_an_r_hat():
    values = np.random.default_rng(0).integers(0, 2, size=(1, 4, 500)) * 2.0 - 1
    assert 0.99 < diagnostics.r_hat(values)[0] < 1.02


def test_the_e_bfmi_is_1_or_so_of_fresh_energies_and_low_of_slow_ones():
    fresh = autoregressive(0.0, (4, 5000), scalars=1)[0]
    slow = autoregressive(0.95, (4, 5000), scalars=1)[0]
    np.testing.assert_allclose(diagnostics.e_bfmi(fresh), 2.0, rtol=0.1)  # 2 (1 - phi)
    np.testing.assert_allclose(diagnostics.e_bfmi(slow), 0.1, rtol=0.3)
    np.testing.assert_allclose(diagnostics.e_bfmi(slow), array_stats.bfmi(slow))
    assert np.isnan(diagnostics.e_bfmi(np.zeros((2, 50)))).all()
