"""The audio VAE on cores of its virtual topology, against one device."""

from pathlib import Path

import numpy as np
import pytest

from experiments.audio_vae import network
from tests.experiments.audio_vae.small_audio import GRID, SMALL
from tests.programs import told_by

pytestmark = pytest.mark.slow  # a minute of compilation

PLACED = ("core:3", "batch:2,core:3")


@pytest.fixture(scope="module")
def three():
    return told_by(Path(__file__).with_name("on_cores.py"))


@pytest.mark.parametrize("mesh", PLACED)
def test_losses_and_gradients_are_those_of_one_device(three, mesh):
    one, found = three["batch:1"], three[mesh]
    assert (one["engine"], found["engine"]) == ("SingleDevice", "ManuallyPlaced")
    # Nats of latents are a difference of two sums of dozens, which may be near zero.
    for name, near_zero in (("loss", 0), ("gradient_norm", 0), ("latent_nats", 1e-5)):
        np.testing.assert_allclose(
            [step[name] for step in found["losses"]],
            [step[name] for step in one["losses"]],
            rtol=1e-5,
            atol=near_zero,
            err_msg=name,
        )
    if "evaluated" in found:
        assert found["evaluated"] == pytest.approx(one["evaluated"], rel=1e-5)
    assert found["same_variables"] and found["gradients"] < 1e-5


def test_the_steps_differ_enough_to_show_a_mistake(three):
    losses = [step["loss"] for step in three["batch:1"]["losses"]]
    assert min(abs(a - b) / a for a, b in zip(losses, losses[1:], strict=False)) > 1e-4


def bytes_of_cores(sizes):
    """Weights, two slots and the average, and the step count, of each core."""
    placement = network.placement(sizes)
    found = np.full(placement.num_cores, 8)
    for name, weight in network.weights(sizes).items():
        found[placement.core_of(name)] += 4 * 4 * int(np.prod(weight.shape))
    return found.tolist()


def test_each_core_keeps_its_nodes_variables_and_no_others(three):
    def held(found):
        return [found["bytes"][f"CPU:{i}"] for i in range(len(found["bytes"]))]

    assert held(three["core:3"]) == bytes_of_cores(SMALL)
    assert held(three["batch:2,core:3"]) == 2 * bytes_of_cores(SMALL)


@pytest.mark.parametrize("sizes", [GRID, network.Sizes()])
def test_no_core_of_the_grid_has_over_a_sixteenth_of_the_flows_and_a_fiftieth(sizes):
    placement = network.placement(sizes)
    held = np.zeros(placement.num_cores)
    for name, weight in network.weights(sizes).items():
        if "/flow" in name:
            held[placement.core_of(name)] += np.prod(weight.shape)
    assert len(held) == 17 and held[:16].min() == held[:16].max() > 0
    assert held.max() <= (1 / 16 + 0.02) * held.sum()


def test_forward_and_backward_of_every_node_are_on_its_core(three):
    ops = three["counted"]["ops"]
    assert sorted(ops) == ["CPU:0", "CPU:1", "CPU:2"]
    # The two columns are alike; with the third are the aggregator and all else.
    assert ops["CPU:0"] > 1000 and ops["CPU:0"] == pytest.approx(ops["CPU:1"], rel=0.1)
    assert three["counted"]["collectives"] == 0


def test_a_flows_forward_is_on_the_core_of_its_inverse(three):
    # Of two flows' two parts, and of the one that aggregates.
    assert three["drawn"]["loops"] == ["CPU:0"] * 2 + ["CPU:1"] * 2 + ["CPU:2"]
    assert three["drawn"]["apart"] <= 1e-5 * three["drawn"]["largest"]


def test_no_op_is_left_to_the_first_device(three):
    assert three["counted"]["nowhere"] == []


def test_the_bytes_counted_in_the_graph_are_those_that_the_devices_sent(three):
    found = three["counted"]
    assert found["passed"] == found["sent"] and len(found["sent"]) >= 6


@pytest.mark.parametrize("pair", ["batch:1 core:3", "batch:2,core:3 batch:1"])
def test_a_run_goes_on_on_other_devices_as_it_would_have(three, pair):
    moved = three["moved"][pair]
    assert moved["same"]
    np.testing.assert_allclose(
        [step["loss"] for step in moved["losses"]],
        [step["loss"] for step in three["batch:1"]["losses"][1:]],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "four cores",
            "mesh: given 'core:4', wanted 'core' of 17 (4 x 4 and one that aggregates)",
        ),
        ("another dimension", "wanted 'core' of 17"),
        ("both", "no other dimension"),
        ("too many", "wanted 34 logical CPU devices"),
        ("batch", "given 3 examples, wanted a multiple of 2: 2 devices"),
        ("write", "step is missing"),
        ("jit", "jit_compile: given True with mesh 'core:3'"),
        ("parts", "num_microbatches: given 2 with mesh 'core:3'"),
        ("dtype", "compute_dtype: given 'bfloat16' with mesh 'core:3'"),
    ],
)
def test_what_the_cores_cannot_do_is_refused_by_name(three, what, said):
    assert three["refusals"][what] and said in three["refusals"][what]
