"""One model trained on one device and on many: eight logical CPUs of one process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from experiments.engines import selection
from experiments.training import optimizers
from experiments.training.engine import StepSettings
from experiments.training.model import Model, Weight
from experiments.training.topology import parse
from tests.experiments.engines.on_eight_devices import (
    EVALUATED,
    LARGER,
    MESHES,
    MOVES,
    STEPS,
)

REPO = Path(__file__).resolve().parents[3]
SHARDED = ("model:2", "model:4", "model:8", "batch:2,model:4")
CUT = ("batch:2", "batch:4", "batch:8")
CURVES = ("loss", "gradient_norm", "log_total")

pytestmark = pytest.mark.slow  # a process with eight devices


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("engines") / "results.json"
    command = [sys.executable, "-m", "tests.experiments.engines.on_eight_devices"]
    ended = subprocess.run(
        [*command, str(path)], cwd=REPO, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def one(results):
    return results["adam"]["batch:1"]


def test_the_model_learns_and_each_step_moves_its_loss(one):
    losses = np.array(one["loss"])
    assert losses[-5:].mean() < 0.8 * losses[:5].mean()
    assert np.abs(np.diff(losses)).min() > 1e-3  # far above what must agree


@pytest.mark.parametrize("mesh", EVALUATED)
def test_evaluation_drops_nothing_out(results, mesh):
    again, other = results["adam"][mesh]["evaluated"]  # the same data, another number
    assert again == other


@pytest.mark.parametrize("mesh", CUT + SHARDED)
def test_twenty_steps_of_adam_are_those_of_one_device(results, one, mesh):
    found = results["adam"][mesh]
    for name in CURVES:
        assert len(found[name]) == STEPS == 20
        np.testing.assert_allclose(found[name], one[name], rtol=1e-5, err_msg=name)
    if mesh in EVALUATED:
        for a, b in zip(found["evaluated"], one["evaluated"], strict=True):
            assert a == pytest.approx(b, rel=1e-5)


def test_the_engine_is_the_one_that_the_topology_wants(results):
    selection = {mesh: found["engine"] for mesh, found in results["adam"].items()}
    assert selection.pop("batch:1") == "SingleDevice"
    assert {selection.pop(mesh) for mesh in CUT} == {"Replicated"}
    assert set(selection) == set(SHARDED) and set(selection.values()) == {"Sharded"}


@pytest.mark.parametrize("mesh", ["batch:1,model:1", "batch:2", "batch:2,model:2"])
def test_adafactor_in_two_parts_is_that_of_one_device_in_one(results, mesh):
    one, found = (results["adafactor"][name] for name in ("batch:1", mesh))
    for name in CURVES:
        np.testing.assert_allclose(found[name], one[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("mesh", ["batch:1", "batch:2", "model:2"])
def test_bfloat16_is_near_float32_and_keeps_float32_weights(results, one, mesh):
    found = results["bfloat16"][mesh]
    # Eight bits of mantissa: 2**-9 a rounding at most, of a few layers' roundings.
    np.testing.assert_allclose(found["loss"], one["loss"][:2], rtol=2**-6)
    assert found["loss"][0] != one["loss"][0]
    dtypes = {name: dtype for name, (dtype, _) in found["variables"].items()}
    assert dtypes.pop("step") == "int64" and set(dtypes.values()) == {"float32"}


@pytest.mark.parametrize("mesh", MESHES)
def test_a_batch_shape_is_traced_once(results, mesh):
    for optimizer in ("adam", "adafactor", "bfloat16"):
        found = results[optimizer].get(mesh)
        if found:
            assert found["traced_steps"] == found["traced_first"] > 0
    if mesh in LARGER:
        found = results["adam"][mesh]
        assert found["traced_larger"] == found["traced_first"] == 1


def test_variables_are_read_whole_and_by_one_name_on_every_mesh(results, one):
    for mesh, found in results["adam"].items():
        assert found["variables"] == one["variables"], mesh
        assert found["step"] == STEPS and found.get("changed", []) == []
    kinds = {name.partition("/")[0] for name in one["variables"]}
    assert kinds == {"weights", "slots", "ema", "step"}


@pytest.mark.parametrize("optimizer", ["adam", "adafactor"])
def test_devices_hold_the_bytes_that_the_rules_say(results, optimizer):
    for mesh, found in results[optimizer].items():
        held = found["local_bytes"]
        assert set(held.values()) == {found["counted_bytes"]}, mesh
        assert sorted(held) == [f"CPU:{i}" for i in range(len(held))]


def test_more_devices_of_the_model_dimension_hold_less_each(results):
    held = {m: f["local_bytes"]["CPU:0"] for m, f in results["adam"].items()}
    assert held["batch:8"] == held["batch:1"]
    assert held["batch:1"] > held["model:2"] > held["model:4"] > held["model:8"]
    assert held["batch:2,model:4"] == held["model:4"]


@pytest.mark.parametrize("move", [" ".join(move) for move in MOVES])
def test_a_run_read_on_one_mesh_goes_on_on_another(results, one, move):
    moved = results["moved"][move]
    assert moved["same"], "what was written is not what is read"
    wanted = one["loss"][STEPS // 2 :]
    np.testing.assert_allclose(moved["losses"], wanted, rtol=1e-5)
    assert moved["bit_identical"], "the same mesh resumed twice from the same arrays"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("mesh larger", "wanted 16 logical CPU devices"),
        ("sharded mesh larger", "wanted 16 logical CPU devices"),
        (
            "batch",
            "given 12 examples, wanted a multiple of 8: 8 devices, 1 microbatches",
        ),
        (
            "batch sharded",
            "given 7 examples, wanted a multiple of 2: 2 devices, 1 microbatches",
        ),
        (
            "batch parts",
            "given 15 examples, wanted a multiple of 2: 1 devices, 2 microbatches",
        ),
        ("uneven", "{'tokens': 16, 'more': 15}"),
        ("rule missing", "no rule matches weight 'positions'"),
        ("rule does not divide", "of size 8 does not divide by the 3"),
        ("dimension without rule", "mesh: given ['modle']"),
        ("jit", "jit_compile: given True with mesh 'model:2'"),
        ("dtype", "given 'int8'"),
        ("write missing", "step is missing"),
        ("write odd", "b is not a variable of it"),
        (
            "write misshapen",
            "weights/table is float32 [16, 15], wanted float32 [16, 16]",
        ),
    ],
)
def test_bad_input_is_refused_by_name(results, what, told):
    assert results["refusals"][what] and told in results["refusals"][what]


def on_tpus(topology):
    return selection.make_engine(
        Model("m", {"w": Weight((2,))}, loss=None),
        optimizers.adam(optimizers.constant_schedule(0.1)),
        parse(topology),
        StepSettings(),
        device_type="TPU",
    )


def test_tpus_that_are_nowhere_are_refused(monkeypatch):
    if tf.config.list_physical_devices("TPU"):
        pytest.skip("this machine has TPUs")
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ValueError, match="wanted 4 of kind TPU, this machine has 0"):
        on_tpus("batch:4")


def test_the_slice_that_tpu_name_names_is_taken_whole(monkeypatch):
    connected = []

    class Slice:  # of 8 cores
        num_replicas_in_sync = 8

        def __init__(self, resolver):
            connected.append(resolver)

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    monkeypatch.setenv("TPU_NAME", "a-slice")
    monkeypatch.setattr(resolver, "connect", lambda name: f"resolver of {name}")
    monkeypatch.setattr(tf.distribute, "TPUStrategy", Slice)
    with pytest.raises(ValueError, match="mesh: given 'batch:4', wanted all 8 cores"):
        on_tpus("batch:4")
    assert connected == ["resolver of a-slice"]
