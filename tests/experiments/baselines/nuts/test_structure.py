"""The structure that Stan is given makes the features again."""

import numpy as np

from experiments.baselines.nuts import structure
from experiments.datasets.covertype import load_covertype


def dense(found, numbers):
    rows = found.hot.shape[1]
    features = np.tile(found.base, (rows, 1))
    features[:, found.numbers] = numbers[:, found.numbers]
    for hot in found.hot:
        features[np.arange(rows), hot] += found.rise[hot]
    return features


def test_covertypes_groups_are_wilderness_and_soil():
    features = load_covertype(num_rows=2000).features
    found = structure.find(features)
    np.testing.assert_array_equal(found.numbers, np.arange(10))
    assert found.hot.shape == (2, 2000)
    assert set(np.unique(found.hot[0])) == {10, 11, 12, 13}
    np.testing.assert_allclose(dense(found, features), features, rtol=1e-6)


def test_columns_that_are_nearly_one_hot_are_numbers():
    random = np.random.default_rng(0)
    features = np.eye(3)[random.integers(0, 3, 50)]
    features[7, 1] = 0.5
    features[8] = [1.0, 0.0, 1.0]
    found = structure.find(features)
    np.testing.assert_array_equal(found.numbers, [0, 1, 2])
    np.testing.assert_array_equal(dense(found, features), features)
