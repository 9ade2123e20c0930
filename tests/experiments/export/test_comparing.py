"""Comparisons with the reference: equal draws pass, another sampler's do not."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.export.comparing import Reference, compare, z_scores
from experiments.inference.samples import Samples

CPU = SimpleNamespace(platform="cpu")
DRAWS = np.random.default_rng(0).normal(size=(4, 200, 3))
COUNTS = np.random.default_rng(1).integers(1, 8, (4, 200))


def samples(draws=DRAWS, leapfrogs=COUNTS):
    zeros = np.zeros(draws.shape[:2])
    return Samples(draws, zeros, leapfrogs, zeros, zeros, zeros, zeros)


def on_cpu(**changed):
    reference = Reference(samples(), np.ones(4), np.ones((1, 3)), DRAWS[:, 0])
    run = SimpleNamespace(samples=samples(**changed))
    return compare(None, {}, reference, run, np.zeros(2), CPU)


def test_on_a_cpu_equal_draws_pass_and_others_do_not():
    assert on_cpu().passed
    assert dict(on_cpu().rows)["draws equal to the last bit"] == "800 of 800"
    assert on_cpu(draws=DRAWS + 1e-13).passed
    assert not on_cpu(draws=DRAWS + 1e-5).passed
    assert not on_cpu(leapfrogs=np.where(COUNTS == 7, 6, COUNTS)).passed
    assert not on_cpu(draws=np.where(DRAWS > 3, np.nan, DRAWS)).passed


def test_a_shorter_run_is_compared_as_far_as_it_goes():
    assert on_cpu(draws=DRAWS[:, :7], leapfrogs=COUNTS[:, :7]).passed


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_means_of_one_law_differ_by_about_a_standard_error(phi):
    generator = np.random.default_rng(2)

    def chain(shift=0.0):
        noise = generator.normal(size=(4, 4000, 50))
        for i in range(1, 4000):
            noise[:, i] += phi * noise[:, i - 1]
        return noise + shift

    z = z_scores(chain(), chain())
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.5
    assert z_scores(chain(), chain(shift=1.0)).min() > 5
