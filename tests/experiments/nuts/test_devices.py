"""The rows over several devices: the same draws, each device's work on it alone."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.nuts.on_devices import COUNTS, ROWS, WARMED_UP
from tests.programs import told_by

REPO = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow  # a process with eight devices
SEVERAL = [num for num in COUNTS if num > 1]
# What hands tensors on, or turns a loop whose condition is decided elsewhere.
PLUMBING = set(
    "_Arg _Retval _Send _Recv _HostSend _HostRecv Identity Const _EagerConst NoOp "
    "Enter Merge Switch NextIteration Exit".split()
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Arrays and what else was told, of one process with eight logical devices."""
    folder = tmp_path_factory.mktemp("devices")
    paths = [str(folder / name) for name in ("arrays.npz", "told.json")]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.experiments.nuts.on_devices", *paths],
        cwd=REPO,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    with np.load(paths[0]) as arrays:
        return dict(arrays), json.loads(Path(paths[1]).read_text())


@pytest.mark.parametrize("call", ["first", "second"])
@pytest.mark.parametrize("num", SEVERAL)
def test_draws_are_those_of_one_device(done, num, call):
    arrays, _ = done
    leapfrogs = arrays[f"{call}_leapfrogs1"]
    np.testing.assert_array_equal(arrays[f"{call}_leapfrogs{num}"], leapfrogs)
    one = arrays[f"{call}1"]
    assert leapfrogs.max() > 3 and np.abs(np.diff(one, axis=1)).max() > 0.01
    np.testing.assert_allclose(arrays[f"{call}{num}"], one, atol=1e-5)


@pytest.mark.parametrize("num", [num for num in WARMED_UP if num > 1])
def test_a_warm_up_finds_what_that_of_one_device_does(done, num):
    """Step size and metric of 30 draws, and the draws after them."""
    arrays, _ = done
    one, several = (
        {
            name.removeprefix(start): array
            for name, array in arrays.items()
            if name.startswith(start)
        }
        for start in ("warmed up 1: ", f"warmed up {num}: ")
    )
    assert one.keys() == several.keys() and len(one) == 6
    for name in ("leapfrogs", "warm-up's leapfrogs"):
        np.testing.assert_array_equal(several[name], one[name])
    for name in ("step size", "metric", "metrics of windows", "draws"):
        np.testing.assert_allclose(several[name], one[name], rtol=1e-6, atol=1e-9)
    assert not np.allclose(one["metric"], 1.0)  # it has adapted
    assert np.abs(np.diff(one["draws"], axis=1)).max() > 0.01


@pytest.mark.parametrize("num", COUNTS)
def test_every_row_is_on_one_device_and_their_shares_are_even(done, num):
    blocks = done[1][f"blocks{num}"]
    ends = [0, *(stop for _, stop, _ in blocks)]
    assert [first for first, _, _ in blocks] == ends[:-1] and ends[-1] == ROWS
    shares = Counter()
    for first, stop, device in blocks:
        shares[device] += stop - first
    wanted = [None] if num == 1 else [f"CPU:{i}" for i in range(num)]
    assert list(shares) == wanted
    assert max(shares.values()) - min(shares.values()) <= 1


def ops_on(told, num):
    """The ops of the sampler's loop: device -> op -> count."""
    found = {}
    for device, op, _ in told[f"ops{num}"]:
        found.setdefault(device, Counter())[op] += 1
    return found


def calls_on(told, num):
    """Calls of compiled blocks by device, each of at most 16: as many a stream."""
    blocks = Counter(device for _, _, device in told[f"blocks{num}"])
    assert max(blocks.values()) > 1
    streams = max(1, len(os.sched_getaffinity(0)) // num)
    return {
        device: min(count, math.ceil(count / (16 * streams)) * streams)
        for device, count in blocks.items()
    }


def test_a_device_of_two_makes_several_calls(done):
    assert min(calls_on(done[1], 2).values()) > 1


@pytest.mark.parametrize("num", SEVERAL)
def test_a_device_computes_its_own_blocks_and_adds_them_up(done, num):
    """A call's compiled shares have their gradients in it."""
    _, told = done
    calls = calls_on(told, num)
    ops = ops_on(told, num)
    assert ops.keys() == calls.keys()
    for device, count in calls.items():
        if device == "CPU:0":  # and the sampler's two calls
            assert ops[device]["PartitionedCall"] == count + 2
        else:
            assert ops[device]["PartitionedCall"] == count
            assert ops[device]["AddN"] == (2 if count > 1 else 0)


@pytest.mark.parametrize("num", SEVERAL)
def test_the_samplers_own_work_stays_on_one_device(done, num):
    ops = ops_on(done[1], num)
    assert ops["CPU:0"].keys() - PLUMBING - {"PartitionedCall", "AddN"}
    for device in ops.keys() - {"CPU:0"}:
        assert not ops[device].keys() - PLUMBING - {"PartitionedCall", "AddN"}


@pytest.mark.parametrize("num", SEVERAL)
def test_only_coefficients_log_prob_and_gradient_travel(done, num):
    """And what says that the loop goes on; the data would be sent by other ops."""
    _, told = done
    sent = Counter(
        (device, maker.removeprefix("_Mkl"))  # oneDNN's, on CPUs that have it
        for device, op, maker in told[f"ops{num}"]
        if op in ("_Send", "_HostSend")
    )
    calls = calls_on(told, num)
    others = num - 1
    wanted = Counter({("CPU:0", "Transpose"): others})  # the coefficients
    for device in calls.keys() - {"CPU:0"}:
        maker = "AddN" if calls[device] > 1 else "PartitionedCall"
        wanted[device, maker] += 2
    wanted["CPU:0", "LoopCond"] = wanted["CPU:0", "Const"] = others  # one loop
    assert sent == wanted


def test_one_device_sends_nothing(done):
    assert not any(op in ("_Send", "_HostSend") for _, op, _ in done[1]["ops1"])


def test_more_devices_than_there_are_is_an_error(done):
    said = done[1]["more than there are"]
    assert "wanted 9 logical CPU devices" in said and "begun with 8" in said


def test_more_devices_than_rows_is_an_error(done):
    assert (
        f"num_devices: given {ROWS + 1}, wanted a whole number from 1 to {ROWS}"
        in (done[1]["more than rows"])
    )


def test_no_device_is_an_error(done):
    assert "num_devices: given 0" in done[1]["none"]


def test_a_cpu_is_split_before_tensorflow_is_asked_for_accelerators():
    """As with data beyond the caches, which need many blocks of each device."""
    told = told_by(REPO / "tests/experiments/nuts/split_in_blocks.py")
    assert told["devices"] == 2 and told["blocks"] > 2
