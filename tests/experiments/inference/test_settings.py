"""The sampler's settings refuse values of the wrong type, range and size."""

import math

import numpy as np
import pytest

from experiments.inference import SamplerSettings, sample_nuts

STEPS = ("0.1", math.nan, math.inf, -0.1, 0, None, True)
COUNTS = (3.0, True, -1, 0, "2", None)


@pytest.mark.parametrize("step_size", STEPS)
def test_a_step_size_that_is_no_positive_number_is_an_error(step_size):
    with pytest.raises(ValueError, match="^step_size: given .*, wanted a finite"):
        SamplerSettings(step_size=step_size)


@pytest.mark.parametrize("name", ["max_depth", "num_results", "num_chains"])
@pytest.mark.parametrize("value", COUNTS)
def test_a_count_that_is_no_positive_whole_number_is_an_error(name, value):
    with pytest.raises(ValueError, match=f"^{name}: given {value!r}, wanted a whole"):
        SamplerSettings(step_size=0.1, **{name: value})


def test_numpys_numbers_are_numbers():
    settings = SamplerSettings(step_size=np.float32(0.5), num_chains=np.int64(3))
    assert settings.num_chains == 3


def test_a_depth_that_int32_cannot_count_is_an_error():
    with pytest.raises(
        ValueError, match="max_depth: given 31, wanted a whole .* 1 to 30"
    ):
        SamplerSettings(step_size=0.1, max_depth=31)


@pytest.mark.parametrize("name", ["num_results", "num_chains"])
def test_draws_beyond_the_memory_are_an_error_that_names_the_bytes(name):
    many = {"num_results": 1000, "num_chains": 1000} | {name: 10**9}
    state = many["num_chains"] * (16 + 2 * 10) * 4
    message = (
        f"{name}: given 1000000000, wanted fewer: .* {37 * 10**12 + state:,} bytes"
    )
    with pytest.raises(ValueError, match=message):
        SamplerSettings(step_size=0.1, **many)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("draws", "num_draws"), ("warmup", "num_warmup"), ("max_treedepth", "max_depth")],
)
def test_another_librarys_keyword_gets_the_nearest_one_of_ours(given, wanted):
    with pytest.raises(
        TypeError, match=f"^sample_nuts: given '{given}', .* did you mean '{wanted}'"
    ):
        sample_nuts(None, **{given: 100})


def test_the_memory_needed_grows_with_the_dimensions():
    settings = SamplerSettings(step_size=0.1, num_results=1000)
    settings.check_memory(dim=10)
    with pytest.raises(ValueError, match="num_results: given 1000, wanted fewer"):
        settings.check_memory(dim=10**12)
