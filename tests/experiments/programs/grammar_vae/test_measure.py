"""What is measured of a model, on numbers by hand."""

import numpy as np

from experiments.programs.grammar_vae import measure


def test_a_ratio_of_means_has_the_spread_that_it_has_over_data_sets():
    random = np.random.default_rng(1)
    lengths = random.integers(5, 40, size=(2000, 50))
    sums = 1.5 * lengths + random.normal(size=lengths.shape) * lengths**0.5
    found = np.array([measure.ratio(*pair) for pair in zip(sums, lengths, strict=True)])
    np.testing.assert_allclose(found[:, 0].mean(), 1.5, atol=0.01)
    np.testing.assert_allclose(found[:, 1].mean(), found[:, 0].std(), rtol=0.08)


def test_productions_count_as_right_at_their_own_places():
    right = measure.num_right([(1, 2, 3), (1,), (2, 1)], [(1, 3, 3), (1, 2), (1, 2)])
    np.testing.assert_array_equal(right, [2, 1, 0])


def test_likeness_is_the_share_that_matches_in_order():
    assert measure.likeness((1, 2, 3), (1, 2, 3)) == 1.0
    assert measure.likeness((1, 2), (3, 4)) == 0.0
    assert measure.likeness((1, 2, 3, 4), (2, 3)) == 2 * 2 / 6


def test_a_path_of_small_steps_is_smooth_and_one_of_jumps_is_not():
    assert measure.smoothness([(1, 1), (1, 2), (2, 2)]) == 0.5
    assert measure.smoothness([(1, 1), (2, 2), (1, 1)]) == -1.0
