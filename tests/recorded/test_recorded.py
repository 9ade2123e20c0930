"""The same seeds give the numbers recorded at commit 3419dac, before the code moved."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.records import provenance
from tests.recorded.runs import RUNS

RECORDED = json.loads((Path(__file__).parent / "numbers.json").read_text())


def on_the_machine_of_the_record():
    """Whether rounding is the same: XLA's code depends on the CPU and its cores."""
    hardware = provenance.hardware()
    found = (hardware["cpu"], hardware["cores"])
    return found == (RECORDED["cpu"], RECORDED["cores"])


def test_nuts_draws_what_it_drew(tmp_path):
    draws = np.asarray(RUNS["nuts"](tmp_path))
    recorded = np.asarray(RECORDED["runs"]["nuts"])
    if on_the_machine_of_the_record():
        np.testing.assert_array_equal(draws, recorded)
    np.testing.assert_allclose(draws, recorded, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNS if name != "nuts"])
def test_training_has_the_losses_that_it_had(name, tmp_path):
    curve, recorded = RUNS[name](tmp_path), RECORDED["runs"][name]
    rtol = 1e-6 if on_the_machine_of_the_record() else 1e-4
    assert curve.keys() == recorded.keys() and len(curve["loss"]) == 6
    for kind in curve:
        np.testing.assert_allclose(curve[kind], recorded[kind], rtol=rtol)
