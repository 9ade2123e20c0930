"""The codebook's averages are of the whole batch, whatever devices it is cut over."""

from pathlib import Path

import pytest

from tests.experiments.vq_vae.on_meshes import AGAIN, PARTS, STEPS
from tests.programs import told_by

# The meshes themselves are tested fast on toy models.
pytestmark = pytest.mark.slow

CUT = ("batch:2", "batch:4", "batch:8", *PARTS)


@pytest.fixture(scope="module")
def told():
    return told_by(Path(__file__).with_name("on_meshes.py"))


def test_the_steps_differ_enough_to_show_a_mistake(told):
    losses = [step["loss"] for step in told["batch:1"]["steps"]]
    assert len(losses) == STEPS
    assert min(abs(a - b) for a, b in zip(losses, losses[1:], strict=False)) > 0.1
    names = ("age", "codes", "counts", "steps", "sums", "usage")
    assert told["batch:1"]["state"] == [f"state/{name}" for name in names]
    assert told["batch:1"]["steps"][-1]["perplexity"] > 2


@pytest.mark.parametrize("mesh", CUT)
def test_losses_weights_and_state_are_those_of_one_device(told, mesh):
    one, found = told["batch:1"], told[mesh]
    for a, b in zip(one["steps"], found["steps"], strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    off = found["apart"]
    for kind, difference in off.items():
        assert difference < (1e-5 if "state" in kind else 2e-4), kind
    assert off["state/age"] == off["state/steps"] == 0


@pytest.mark.parametrize("mesh", AGAIN)
def test_a_run_read_halfway_goes_on_bit_for_bit(told, mesh):
    assert told[mesh]["resumed"] == [True, True]


@pytest.mark.parametrize("mesh", ["model:2", "batch:2,model:2"])
def test_a_mesh_that_would_cut_the_codebook_is_refused(told, mesh):
    said = told["refused"][mesh]
    given = f"mesh: given {mesh!r}, wanted 'batch' alone: vector_quantized(8x8"
    assert said.startswith(given)
    assert said.endswith("is whole on every device")
