"""Numbers that a program draws by other means than random variables are refused."""

import random
import time

import numpy as np
import pytest

import ppl_core as ppl

_GENERATOR = np.random.default_rng(0)
DRAWN = {
    "np.random": (np.random.normal, "drawn by np.random inside"),
    "random": (random.random, "drawn by Python's random inside"),
    "a Generator": (_GENERATOR.normal, "that differ between two runs"),
    "default_rng": (lambda: np.random.default_rng().normal(), "that differ between"),
    "a clock": (lambda: time.perf_counter_ns() / 1e9, "that differ between two runs"),
}


@pytest.mark.parametrize("how", DRAWN)
def test_numbers_that_each_trace_would_draw_are_refused(how):
    draw, message = DRAWN[how]

    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        ppl.Normal(mu + draw(), 1.0, name="y")

    wanted = f"^model: given numbers {message}.*wanted a random variable"
    with pytest.raises(ValueError, match=wanted):
        ppl.posterior(model, observed={"y": 1.0})


def test_numbers_of_a_seed_and_those_drawn_outside_are_the_same_for_all_chains():
    outside = np.random.normal()

    def model():
        mu = ppl.Normal(0.0, 1.0, name="mu")
        inside = np.random.default_rng(1).normal()
        ppl.Normal(mu + outside + inside, 1.0, name="y")

    log_prob = ppl.posterior(model, observed={"y": 1.0}).log_prob
    noise = outside + np.random.default_rng(1).normal()
    wanted = -0.125 - 0.5 * (0.5 - noise) ** 2 - np.log(2 * np.pi)
    np.testing.assert_allclose(log_prob([[0.5]]), [wanted])
    np.testing.assert_allclose(log_prob([[0.5], [0.5]]), [wanted, wanted])
