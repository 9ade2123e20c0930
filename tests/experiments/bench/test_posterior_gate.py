"""The gate of a run's draws: a right run passes, each kind of wrong one is named."""

import re

import numpy as np
import pytest

from experiments.bench import posterior_gate

REFERENCE = {
    "x": {
        "mean": [1.0, -2.0],
        "mean_mcse": [0.01, 0.03],
        "sd": [1.0, 3.0],
        "sd_mcse": [0.01, 0.03],
        "mean_of_squares": [2.0, 13.0],
        "mean_of_squares_mcse": [0.02, 0.2],
    },
    "s": {
        "mean": 0.0,
        "mean_mcse": 0.0,
        "sd": 2.0,
        "sd_mcse": 0.0,
        "mean_of_squares": 4.0,
        "mean_of_squares_mcse": 0.0,
    },
}


def draws(seed=0, num=1000):
    random = np.random.default_rng(seed)
    return {
        "x": random.normal([1.0, -2.0], [1.0, 3.0], (4, num, 2)),
        "s": random.normal(0.0, 2.0, (4, num)),
    }


def test_draws_of_the_reference_pass_and_are_worth_their_number():
    for seed in range(5):
        check = posterior_gate.check(draws(seed), REFERENCE)
        assert check["passed"] and check["reason"] == ""
        assert 0 < check["z_max"] < posterior_gate.MAX_Z
        assert 2500 < check["min_ess_bulk"] < 5500
        assert check["r_hat_max"] < 1.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x + [0.0, 0.5], r"\|z\| of x\[1\] is"),  # the mean
        (lambda x: [1.0, -2.0] + 1.2 * (x - [1.0, -2.0]), r"\|z\| of x"),  # the width
        (lambda x: x + np.arange(4)[:, None, None], "R-hat is 1"),
        (lambda x: np.repeat(x[:, :20], 50, axis=1), r"ESS of x"),
        (lambda x: np.where(np.arange(1000)[:, None] == 7, np.nan, x), "R-hat is inf"),
        (lambda x: np.ones_like(x), "ESS of x.* is 0"),
    ],
)
def test_each_fault_is_named(change, message):
    given = draws()
    check = posterior_gate.check(given | {"x": change(given["x"])}, REFERENCE)
    assert not check["passed"]
    assert re.search(message, check["reason"]), check["reason"]


def test_without_a_reference_the_chains_must_agree():
    check = posterior_gate.check(draws(), None)
    assert check["passed"] and check["z_max"] is None
    given = draws()
    given["s"][0] += 5
    assert "R-hat" in posterior_gate.check(given, None)["reason"]


def test_a_value_that_the_reference_lacks_is_refused():
    with pytest.raises(ValueError, match="reference: given .*wanted 'y' too"):
        posterior_gate.check({"y": draws()["s"]}, REFERENCE)
