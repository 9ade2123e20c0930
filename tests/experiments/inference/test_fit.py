"""Pareto's k of ratios whose tail is known."""

import numpy as np
import pytest

from experiments.inference.fit import pareto_k


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_k_is_the_shape_of_a_pareto_distribution(k):
    uniform = np.random.default_rng(0).uniform(size=100_000)
    # The generalized Pareto distribution of shape k, by its inverse.
    ratios = (uniform**-k - 1.0) / k
    assert pareto_k(np.log(ratios)) == pytest.approx(k, abs=0.12)
    # Of their inverses, which are bounded where the ratios are near 0.
    assert pareto_k(-np.log(1.0 + ratios)) < 0.1


def test_ratios_that_are_the_same_or_not_finite():
    assert pareto_k(np.full(1000, -3.0)) == 0.0
    assert pareto_k(np.repeat([-3.0, -1.0], 500)) == 0.0
    assert np.isnan(pareto_k(np.array([0.0, -np.inf, 1.0])))
