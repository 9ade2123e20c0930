import collections
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from experiments.bench import counting
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Weight
from tests.experiments.bench import graph_counts
from tests.experiments.bench.on_four_devices import BATCH, INNER, WIDTH
from tests.experiments.engines.small_transformer import small_transformer

REPO = Path(__file__).resolve().parents[3]
ADAM = optimizers.adam(optimizers.constant_schedule(0.01))
ADAFACTOR = optimizers.adafactor(optimizers.constant_schedule(0.01))
EMA = StepSettings(ema_decay=0.99)
WEIGHT = 4 * WIDTH * INNER  # bytes of each of the perceptron's six
OUTSIDE = 4 * BATCH * WIDTH  # bytes of what its layers hand on


def counted(optimizer, mesh, settings):
    weights = {"wide": Weight((6, 8)), "vector": Weight((8,)), "whole": Weight((5, 3))}
    rules = (("wide", (None, "model")), ("vector", ("model",)), (".*", (None, None)))
    model = Model("three", weights, None, rules)
    return counting.device_bytes(model, optimizer, topology.parse(mesh), settings)


def test_bytes_of_a_device_are_those_that_the_rules_leave_it():
    whole = {"weights": 4 * 71, "slots": 8 * 71, "ema": 4 * 71, "step": 8}
    assert counted(ADAM, "batch:64", EMA) == whole
    part = 48 // 4 + 8 // 4 + 15
    cut = {"weights": 4 * part, "slots": 8 * part, "ema": 0, "step": 8}
    assert counted(ADAM, "batch:2,model:4", StepSettings()) == cut


def test_adafactors_slots_are_cut_where_their_axis_is():
    # Rows: 6 of wide, uncut, and 5. Columns: 8 of wide over 4, and 3. The vector's 8.
    found = counted(ADAFACTOR, "model:4", StepSettings())
    assert found["slots"] == 4 * (6 + 5 + 8 // 4 + 3 + 8 // 4)


@pytest.mark.slow
def test_a_billion_parameters_are_traced_and_counted_on_512_devices_and_never_made():
    model = small_transformer(
        hidden=2048,
        heads=16,
        depth=128,
        filter_size=8192,
        layers=20,
        vocabulary=512,
        length=256,
    )
    number = sum(int(np.prod(weight.shape)) for weight in model.weights.values())
    assert number > 1e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = graph_counts.traced_step(
        model, ADAM, EMA, {"tokens": tf.TensorSpec([64, 256], tf.int32)}
    )
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 1e6  # KiB: the weights alone are four times that
    variables, results = step.structured_outputs
    assert variables["weights/19/wide"].shape == (2048, 8192)
    assert set(results) == {"loss", "gradient_norm", "log_total"}
    for mesh, share in (("batch:64,model:8", 8), ("batch:32,model:16", 16)):
        found = counting.device_bytes(model, ADAM, topology.parse(mesh), EMA)
        kept = found["weights"] + found["slots"]
        assert 12 * number / share <= kept < 12 * number * (1 / share + 0.01), mesh


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("accounting") / "results.json"
    command = [sys.executable, "-m", "tests.experiments.bench.on_four_devices"]
    ended = subprocess.run(
        [*command, str(path)], cwd=REPO, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(path.read_text())


def sent(record):
    """By device: [op, devices that take part, bytes] of each collective."""
    found = collections.defaultdict(list)
    for device, *rest in record["collectives"]:
        found[device].append(rest)
    return found


def test_every_mesh_and_xla_take_the_steps_of_one_device(recorded):
    for mesh, record in recorded.items():
        wanted = recorded["batch:1"]["losses"]
        np.testing.assert_allclose(record["losses"], wanted, rtol=1e-5, err_msg=mesh)


def placed_evenly(recorded, mesh):
    """Whether each device has all that a device of this mesh has to compute."""
    alone, record = recorded["batch:1"], recorded[mesh]
    ops, products = record["ops"], record["products"]
    devices = topology.parse(mesh.partition(" ")[0]).num_devices
    # All that an unread result is made of is left out: the norm of the gradients is
    # taken from the first replica, where it is a square and a sum for each of the six
    # weights, an addition, a root, and a constant and a reshape.  DTensor's is summed
    # over devices, and a constant alone may be on one more than on another.
    once = 1 if "model" in mesh else 2 * 6 + 4
    return (
        sorted(ops) == sorted(products) == [f"CPU:{i}" for i in range(devices)]
        and len(set(products.values())) == 1
        and products["CPU:0"] >= alone["products"]["CPU:0"]
        and min(ops.values()) + once >= max(max(ops.values()), alone["ops"]["CPU:0"])
    )


def test_every_device_has_its_share_of_the_ops(recorded):
    assert recorded["batch:1"]["products"] == {"CPU:0": 3 * 2 * 3 - 1}  # none for data
    for mesh in recorded:
        if "compiled" in mesh or "misplaced" in mesh:
            continue  # XLA makes one op of many
        assert placed_evenly(recorded, mesh), (mesh, recorded[mesh]["ops"])


def test_a_layer_on_the_wrong_device_is_seen_though_its_loss_is_right(recorded):
    assert not placed_evenly(recorded, "batch:2 misplaced")
    products = recorded["batch:2 misplaced"]["products"]
    assert products["CPU:0"] > products["CPU:1"] > 0


def test_devices_hold_the_counted_bytes(recorded):
    for mesh, record in recorded.items():
        wanted = sum(record["device_bytes"].values())
        assert set(record["local_bytes"].values()) == {wanted}, mesh


def test_nothing_travels_on_one_device(recorded):
    assert recorded["batch:1"]["collectives"] == []


@pytest.mark.parametrize("devices", [2, 4])
def test_data_parallel_steps_send_the_counted_gradients_in_one_collective(
    recorded, devices
):
    record = recorded[f"batch:{devices}"]
    wanted = [["CollectiveReduceV2", devices, 6 * WEIGHT + 4]]
    assert sent(record) == {f"CPU:{i}": wanted for i in range(devices)}


def test_buckets_part_what_is_sent_and_add_nothing(recorded):
    found = sent(recorded["batch:2 in buckets"])
    for device in ("CPU:0", "CPU:1"):
        sizes = [size for _, _, size in found[device]]
        assert sorted(sizes) == [4, 3 * WEIGHT, 3 * WEIGHT]


@pytest.mark.parametrize("devices", [2, 4])
def test_model_parallel_steps_send_what_layers_hand_on_and_no_gradient(
    recorded, devices
):
    """Forward, each layer's outputs are summed over its inside's parts; backward, the
    gradients of its inputs, which the first layer's data have none of.
    """
    for theirs in sent(recorded[f"model:{devices}"]).values():
        assert {(op, group) for op, group, _ in theirs} == {
            ("CollectiveReduceV2", devices)
        }
        large = [size for _, _, size in theirs if size >= 1000]
        assert large == [OUTSIDE] * (3 + 2)
        small = sum(size for _, _, size in theirs) - sum(large)
        assert small <= 4 * 6  # the parts of each gradient's norm


def test_on_two_dimensions_each_sends_its_own(recorded):
    record = recorded["batch:2,model:2"]
    for theirs in sent(record).values():
        assert {(op, group) for op, group, _ in theirs} == {("CollectiveReduceV2", 2)}
        # Half the examples' outputs over `model`, half the gradients over `batch`, and
        # a number each of loss and norm.  DTensor joins the gradients and fills them up
        # to a multiple of 1,024 numbers: its pass that combines all-reduces does.
        numbers = 6 * WEIGHT // 2 // 4
        joined = 4 * 1024 * -(-numbers // 1024)
        sizes = sorted(size for _, _, size in theirs)
        assert sizes == [4, 4] + [OUTSIDE // 2] * 5 + [joined]
