"""A rise of the ELBO is told from its noise."""

import numpy as np

from experiments.inference.convergence import (
    has_converged,
    standard_error,
)


def test_noise_around_a_constant_has_converged_about_as_often_as_the_rule_says():
    random = np.random.default_rng(0)
    runs = random.normal(size=(400, 1000))
    share = np.mean([has_converged(run, 100) for run in runs])
    assert 0.93 < share < 1.0  # 97.3 %: of t with 18 degrees of freedom, below 2


def test_a_rise_of_half_a_standard_deviation_over_the_run_has_not():
    steps = np.arange(10_000)
    noise = np.random.default_rng(0).normal(size=10_000)
    assert not has_converged(noise + steps / 20_000, 1000)
    assert has_converged(noise - steps / 20_000, 1000)


def test_too_few_steps_never_have():
    assert not has_converged(np.zeros(40), 4)
    assert not has_converged(np.zeros(0), 100)


def test_the_standard_error_is_that_of_a_mean_of_independent_numbers():
    series = np.random.default_rng(0).normal(size=(1000, 100))
    squares = np.mean([standard_error(values) ** 2 for values in series])
    # A tenth of a standard deviation: the mean square's own error is 1.5 %.
    np.testing.assert_allclose(squares, 1 / 100, rtol=0.06)
    assert np.isnan(standard_error(series[0, :9]))
