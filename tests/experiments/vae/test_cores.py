"""The audio VAE on the paper's 4 x 4 cores and the aggregator, against one device."""

from pathlib import Path

import numpy as np
import pytest

from experiments.vae import audio
from tests.experiments.vae.small_audio import GRID
from tests.programs import told_by

PLACED = ("core:17", "batch:2,core:17")
HOME = "CPU:16"


@pytest.fixture(scope="module")
def told():
    return told_by(Path(__file__).with_name("on_cores.py"))


@pytest.mark.parametrize("mesh", PLACED)
def test_losses_and_gradients_are_those_of_one_device(told, mesh):
    one, found = told["batch:1"], told[mesh]
    assert (one["engine"], found["engine"]) == ("SingleDevice", "Placed")
    for name in ("loss", "gradient_norm", "latent_nats"):
        np.testing.assert_allclose(
            [step[name] for step in found["losses"]],
            [step[name] for step in one["losses"]],
            rtol=1e-5,
            err_msg=name,
        )
    assert found["evaluated"] == pytest.approx(one["evaluated"], rel=1e-5)
    assert found["same_variables"] and found["gradients"] < 1e-5


def test_the_steps_differ_enough_to_show_a_mistake(told):
    losses = [step["loss"] for step in told["batch:1"]["losses"]]
    assert min(abs(a - b) / a for a, b in zip(losses, losses[1:], strict=False)) > 1e-4


def bytes_of_cores():
    """Weights, two slots and the average, and the step count, of each core."""
    found = np.zeros(17, int)
    core_of = audio.placement(GRID).core_of
    for name, weight in audio.weights_of(GRID).items():
        found[core_of(name)] += 4 * 4 * int(np.prod(weight.shape))
    return found + 8


def test_each_core_keeps_its_nodes_variables_and_no_others(told):
    wanted = {f"CPU:{i}": int(size) for i, size in enumerate(bytes_of_cores())}
    assert told["core:17"]["bytes"] == wanted
    twice = wanted | {f"CPU:{17 + i}": wanted[f"CPU:{i}"] for i in range(17)}
    assert told["batch:2,core:17"]["bytes"] == twice


def test_no_core_of_the_grid_has_more_than_a_sixteenth_of_the_flows_and_a_fiftieth():
    sizes = {n: int(np.prod(w.shape)) for n, w in audio.weights_of(GRID).items()}
    flows = {n: s for n, s in sizes.items() if "/flow" in n}
    core_of = audio.placement(GRID).core_of
    held = np.zeros(17)
    for name, size in flows.items():
        held[core_of(name)] += size
    assert held[:16].min() == held[:16].max() > 0
    assert held[:16].max() <= (1 / 16 + 0.02) * sum(flows.values())


def test_forward_and_backward_of_every_node_are_on_its_core(told):
    ops = told["ops"]
    assert sorted(ops) == sorted(f"CPU:{i}" for i in range(17))
    grid = [ops[f"CPU:{i}"] for i in range(16)]
    # Alike but for the nodes at the sides, which have a neighbour less, and for those
    # in the first row, after which no row comes.
    assert max(grid) < 1.1 * min(grid) and min(grid) > 400
    assert told["collectives"] == 0


def test_the_bytes_counted_in_the_graph_are_those_that_the_devices_sent(told):
    assert told["passed"] == told["sent"]
    assert len(told["passed"]) > 60


def test_nodes_pass_to_the_columns_beside_them_alone(told):
    for source, target, size in told["passed"]:
        if HOME in (source, target):
            continue
        one, other = (int(name.partition(":")[2]) for name in (source, target))
        assert abs(one // 4 - other // 4) <= 1 and abs(one % 4 - other % 4) <= 1
        assert size < 100_000


@pytest.mark.parametrize("pair", ["batch:1 core:17", "batch:2,core:17 batch:1"])
def test_a_run_goes_on_on_other_devices_as_it_would_have(told, pair):
    moved = told["moved"][pair]
    assert moved["same"]
    wanted = told["batch:1"]["losses"][1:]
    np.testing.assert_allclose(
        [step["loss"] for step in moved["losses"]],
        [step["loss"] for step in wanted],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("four cores", "core:4: wanted 'core' of 17 (4 x 4 and one that aggregates)"),
        ("another dimension", "wanted 'core' of 17"),
        ("both", "no other dimension"),
        ("too many", "wanted 51 logical CPU devices"),
        ("batch", "3 examples do not divide over 2 devices"),
        ("write", "step is missing"),
        ("jit", "jit_compile: topology core:17 cannot True"),
        ("parts", "accumulate: topology core:17 cannot 2"),
        ("dtype", "compute_dtype: topology core:17 cannot 'bfloat16'"),
    ],
)
def test_what_the_cores_cannot_do_is_refused_by_name(told, what, said):
    assert told["refusals"][what] and said in told["refusals"][what]

