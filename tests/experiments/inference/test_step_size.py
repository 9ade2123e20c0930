"""Step sizes that begin and end an adaptation; the search on known densities."""

import numpy as np
import pytest

from experiments.inference import step_size
from experiments.inference.step_size import HIGHEST, LOWEST, begin, final, search


def test_without_an_update_the_step_size_is_the_given_one_to_the_last_bit():
    first = np.array([0.1, 1 / 3, 0.00167132])
    np.testing.assert_array_equal(begin(first).value, first)
    np.testing.assert_array_equal(final(begin(first)), first)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e-40, 1e8])
def test_a_step_size_out_of_bounds_is_refused_with_its_chain(bad):
    with pytest.raises(ValueError, match="step_size: given .* for chain 1, wanted"):
        begin(np.array([1.0, bad]))


def one_leapfrog_of(scales):
    """Trials on normal densities of these standard deviations, each at its mode."""
    generator = np.random.default_rng(4)

    def trial(value, number):
        # In units of the scale: half kick (none at the mode), drift, half kick.
        e = value / scales
        momentum = generator.standard_normal(len(scales))
        position = e * momentum
        after = momentum - e / 2 * position
        return np.exp(np.minimum((momentum**2 - after**2 - position**2) / 2, 0))

    return trial


def test_a_search_ends_near_the_scale_of_the_density():
    scales = np.array([1e-20, 1e-3, 1.0, 1e3, 1e5])
    found = search(one_leapfrog_of(scales), np.ones(5))
    assert found.crossed.all()
    # One leapfrog from the mode turns e**2 p**2 / 8 into energy at small steps.
    assert np.all((found.step_size / scales > 0.2) & (found.step_size / scales < 100))
    assert found.trials <= 80


def test_a_search_stops_where_the_acceptance_crosses():
    # Accepted for sure below a threshold, and never above: by doubling from 1, and by
    # halving from 16.
    def trial(value, number):
        return np.where(value < 5.0, 1.0, 0.0)

    found = search(trial, np.array([1.0, 16.0]))
    np.testing.assert_array_equal(found.step_size, [8.0, 4.0])
    assert found.crossed.all() and found.trials == 4


@pytest.mark.parametrize(
    "accept, bound", [(1.0, HIGHEST), (0.0, LOWEST), (np.nan, LOWEST)]
)
def test_a_search_that_never_crosses_ends_within_a_factor_2_of_a_bound(accept, bound):
    found = search(lambda value, number: np.full(2, accept), np.array([1.0, 1e-9]))
    assert not found.crossed.any()
    assert np.all((found.step_size >= bound / 2) & (found.step_size <= bound * 2))
    assert found.trials <= step_size.MAX_TRIALS


def test_chains_search_each_for_itself():
    thresholds = np.array([3.0, 1e-4, 1e4, 0.5])

    def trials(thresholds):
        return lambda value, number: np.where(value < thresholds, 0.9, np.nan)

    found = search(trials(thresholds), np.ones(4))
    for chain in range(4):
        alone = search(trials(thresholds[chain : chain + 1]), np.ones(1))
        assert alone.step_size[0] == found.step_size[chain]
