import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from experiments.training import topology
from experiments.training.model import Model, Weight
from experiments.training.state import sharding

REPO = Path(__file__).resolve().parents[3]


def test_a_setting_is_read_in_order_and_written_back():
    parsed = topology.parse("batch:4, model:2")
    assert parsed.dims == (("batch", 4), ("model", 2))
    assert (parsed.num_devices, parsed.size("model"), parsed.size("other")) == (8, 2, 1)
    assert topology.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "batch", "batch:0", "batch:-1", "batch:2,batch:2", "Batch:2", "a:2;b:2"],
)
def test_any_other_setting_is_refused_with_what_was_given(text):
    with pytest.raises(ValueError, match="wanted names and sizes") as error:
        topology.parse(text)
    assert repr(text) in str(error.value)


def test_one_device_is_the_first_of_its_kind():
    assert topology.local_devices(1, "CPU") == ["CPU:0"]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="given 'NPU'"):
        topology.local_devices(1, "NPU")


def test_devices_that_the_machine_lacks_are_refused():
    if tf.config.list_physical_devices("TPU"):
        pytest.skip("this machine has TPUs")
    with pytest.raises(ValueError, match="wanted 2 of kind TPU, this machine has 0"):
        topology.local_devices(2, "TPU")


def test_the_cpu_is_split_before_tensorflow_begins_and_not_after():
    code = (
        "import tensorflow as tf\n"
        "from experiments.training import topology\n"
        "assert len(topology.local_devices(3, 'CPU')) == 3\n"
        "with tf.device('CPU:2'):\n"
        "    assert tf.constant(1.0).device.endswith('CPU:2')\n"
        "try:\n"
        "    topology.local_devices(4, 'CPU')\n"
        "except ValueError as error:\n"
        "    assert 'wanted 4 logical CPU devices' in str(error), error\n"
        "    assert 'begun with 3' in str(error), error\n"
        "else:\n"
        "    raise AssertionError('four of three devices')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)


def model_of(rules, **shapes):
    weights = {name: Weight(shape) for name, shape in shapes.items()}
    return Model("given", weights, loss=None, sharding_rules=rules)


MESH = topology.parse("batch:2,model:4")


def test_the_first_rule_that_matches_the_whole_name_says_where_an_axis_goes():
    model = model_of(
        ((r"wide", (None, "model")), (r".*", (None, None))), wide=(3, 8), wider=(3, 8)
    )
    assert sharding(model, MESH) == {"wide": (None, "model"), "wider": (None, None)}


def test_on_a_mesh_of_examples_every_weight_is_whole():
    model = model_of(((r"wide", (None, "model")),), wide=(3, 7), other=(2,))
    found = sharding(model, topology.parse("batch:8,model:1"))
    assert found == {"wide": (None, None), "other": (None,)}


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ((("narrow", ("model",)),), "no rule matches weight 'wide'"),
        (((".*", ("model",)),), "wanted an entry for each of its 2 axes"),
        (((".*", ("model", None)),), "axis 0 of size 6 does not divide by the 4"),
        (((".*", ("model", "model")),), "wanted each mesh dimension once"),
        (((".*", (None, "batch")),), "'batch' shards examples"),
        (
            ((".*", (None, "other")),),
            r"mesh: given \['model'\] in .* given shards weights",
        ),
    ],
)
def test_a_rule_that_does_not_fit_its_weight_is_refused(rules, told):
    with pytest.raises(ValueError, match=told):
        sharding(model_of(rules, wide=(6, 8)), MESH)
