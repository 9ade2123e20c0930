"""A run stopped on one mesh and resumed on another is the run of one device."""

from pathlib import Path

import pytest

from tests.programs import told_by

pytestmark = pytest.mark.slow  # a process that trains five times
PAIRS = ("batch:2 batch:1", "batch:1 batch:2,model:2")  # three steps on each


@pytest.fixture(scope="module")
def told():
    return told_by(Path(__file__).with_name("on_meshes.py"), *PAIRS)


@pytest.mark.parametrize(
    ("model", "pair"),
    [*(("transformer", pair) for pair in PAIRS), ("vector_quantized", PAIRS[-1])],
)
def test_losses_and_weights_are_those_of_one_device(told, model, pair):
    difference = told[model]["meshes"][pair]
    assert difference["loss"] < 1e-5
    assert max(difference["weights"], difference["ema"]) < 1e-4


@pytest.mark.parametrize("model", ["transformer", "vector_quantized"])
def test_the_steps_differ_enough_to_show_a_mistake(told, model):
    losses = told[model]["losses"]
    assert min(abs(a - b) / a for a, b in zip(losses, losses[1:], strict=False)) > 1e-4
