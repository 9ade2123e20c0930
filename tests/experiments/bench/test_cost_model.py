"""Costs against collectives played out piece by piece, closed forms and limits."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.bench import cost_model
from experiments.bench.cost_model import Hardware, Ring, Torus, Work

REPO = Path(__file__).resolve().parents[3]
RING = Ring(bytes_per_second=1e9, hop_seconds=1e-6)
TORUS = Torus(bytes_per_second=1e9, hop_seconds=1e-6, closes_at=16)
CHIP = Hardware(
    label="chip",
    flops_per_second=1e12,
    memory_bytes_per_second=1e11,
    devices_per_chip=2,
    network=TORUS,
    source="made up",
)


def played_out(values, bytes_per_second, hop_seconds):
    """A ring all-reduce of numbers, step by step: what all have in the end, when."""
    size = len(values)
    held = [list(row) for row in values]  # [member][part]
    seconds = 0.0
    for step in range(2 * (size - 1)):
        sent = []
        for member in range(size):
            part = (member - step) % size
            sent.append(((member + 1) % size, part, held[member][part]))
        for member, part, value in sent:
            if step < size - 1:
                held[member][part] += value
            else:
                held[member][part] = value
        seconds += 4 / bytes_per_second + hop_seconds  # a part is one number of 4 bytes
    return held, seconds


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_a_ring_takes_as_long_as_one_played_out(size):
    values = [[10 * m + part for part in range(size)] for m in range(size)]
    held, seconds = played_out(values, RING.bytes_per_second, RING.hop_seconds)
    sums = [sum(column) for column in zip(*values, strict=True)]
    assert held == [sums] * size
    assert cost_model.ring_all_reduce_seconds(4 * size, size, RING) == pytest.approx(
        seconds
    )


def test_a_ring_sends_twice_the_bytes_however_many_there_are():
    ring = Ring(bytes_per_second=1e9, hop_seconds=0.0)
    many = cost_model.ring_all_reduce_seconds(1e9, 100_000, ring)
    assert many == pytest.approx(2.0, rel=1e-4)


def test_nodes_are_limited_by_the_links_between_them():
    nodes = Ring(1e11, 0.0, devices_per_node=8, node_bytes_per_second=1e9)
    inside = cost_model.ring_all_reduce_seconds(1e9, 8, nodes)
    between = cost_model.ring_all_reduce_seconds(1e9, 16, nodes)
    assert inside == pytest.approx(2 * 7 / 8 * 0.01)
    assert between == pytest.approx(inside + 2 * 1 / 2 * 1.0)


@pytest.mark.parametrize(
    ("chips", "shape"), [(1, (1, 1)), (2, (1, 2)), (16, (4, 4)), (128, (8, 16))]
)
def test_a_torus_is_as_square_as_it_can_be(chips, shape):
    assert cost_model.torus_shape(chips) == shape


def test_a_square_torus_is_two_rings_of_half_the_bytes_at_once():
    # Over rows a half, over columns a quarter of that: both halves alike, in turn.
    half = cost_model.ring_reduce_scatter_seconds(5e8, 4, 1e9, 1e-6)
    rest = cost_model.ring_reduce_scatter_seconds(1.25e8, 4, 1e9, 1e-6)
    took = cost_model.torus_all_reduce_seconds(1e9, 16, TORUS)
    assert took == pytest.approx(2 * (half + rest))


def test_a_torus_of_small_messages_waits_for_few_hops_where_a_ring_waits_for_all():
    torus = cost_model.torus_all_reduce_seconds(1.0, 64, TORUS)
    ring = cost_model.ring_all_reduce_seconds(1.0, 64, RING)
    assert torus == pytest.approx(2 * (7 + 7) * 1e-6, rel=1e-2)
    assert ring == pytest.approx(2 * 63 * 1e-6, rel=1e-2)


def test_links_carry_both_ways_only_where_the_torus_closes():
    torus = Torus(bytes_per_second=1e9, hop_seconds=0.0, closes_at=16)
    open_ended = torus._replace(closes_at=17)
    closed = cost_model.torus_all_reduce_seconds(1e9, 256, torus)
    line = cost_model.torus_all_reduce_seconds(1e9, 256, open_ended)
    assert line == pytest.approx(2 * closed)


@pytest.mark.parametrize("hardware", [CHIP, cost_model.TPU_V2, cost_model.V100])
def test_one_device_reduces_with_nobody_and_more_bytes_take_longer(hardware):
    assert cost_model.all_reduce_seconds(1e9, 1, hardware) == 0.0
    for devices in (2, 8, 64, 512):
        little = cost_model.all_reduce_seconds(1e6, devices, hardware)
        much = cost_model.all_reduce_seconds(1e9, devices, hardware)
        assert 0 < little < much


def test_devices_of_one_chip_meet_in_its_memory():
    # Two read and one write: three times the bytes over the chip's memory.
    assert cost_model.all_reduce_seconds(1e9, 2, CHIP) == pytest.approx(0.03)


def test_devices_that_do_not_fill_a_chip_are_refused():
    with pytest.raises(ValueError, match="given 3 devices, wanted 1 or a multiple"):
        cost_model.all_reduce_seconds(1.0, 3, CHIP)


@pytest.mark.parametrize(
    ("flops", "memory_bytes", "seconds"), [(1e12, 1e6, 2.0), (1e6, 1e11, 2.0)]
)
def test_the_roofline_is_the_slower_of_arithmetic_and_memory(
    flops, memory_bytes, seconds
):
    # A device is half of a chip.
    assert cost_model.roofline_seconds(Work(flops, memory_bytes, 0.0), CHIP) == seconds


def test_a_step_faster_than_the_hardware_is_an_error():
    work = Work(flops=1e12, memory_bytes=0.0, gradient_bytes=0.0)
    assert cost_model.roofline_fraction(4.0, work, CHIP) == 0.5
    with pytest.raises(ValueError, match="of its roofline"):
        cost_model.roofline_fraction(1.0, work, CHIP)


def test_a_projection_from_a_chip_gives_that_chip_back():
    for chips, hosts in ((1, None), (1, RING), (4, None)):
        step = cost_model.project_from_chip(
            chip_seconds=0.2,
            gradient_bytes=1e6,
            chips=chips,
            hardware=CHIP,
            between_hosts=hosts,
        )
        assert step.devices == 2 * chips
        if chips == 1:
            assert step.seconds == pytest.approx(0.2)
        else:
            assert step.seconds > 0.2


def test_a_network_between_hosts_adds_what_it_would_have_to_carry():
    given = dict(chip_seconds=0.2, gradient_bytes=1e8, chips=64, hardware=CHIP)
    ring = Ring(bytes_per_second=1e9, hop_seconds=0.0)
    slow = cost_model.project_from_chip(**given, between_hosts=ring)
    fast = cost_model.project_from_chip(**given)
    assert cost_model.host_bytes_per_second(
        gradient_bytes=1e8, hosts=16, seconds=slow.seconds - fast.seconds
    ) == pytest.approx(1e9)


def test_a_chip_that_has_no_time_to_compute_is_an_error():
    with pytest.raises(ValueError, match="leaves no time"):
        cost_model.project_from_chip(
            chip_seconds=1e-3, gradient_bytes=1e9, chips=2, hardware=CHIP
        )


def test_the_published_figures_have_their_sources_beside_them():
    tpu, gpu = cost_model.TPU_V2, cost_model.V100
    for hardware, words in ((tpu, ("46", "700", "496")), (gpu, ("15.7", "900", "25"))):
        assert all(word in hardware.source for word in words)
    # The paper gives about 22 TFLOPS a core and 512 cores of 10^16 FLOPS in all.
    assert tpu.flops_per_second / 2 == pytest.approx(22e12, rel=0.1)
    assert 256 * tpu.flops_per_second == pytest.approx(1e16, rel=0.2)


def test_it_needs_no_tensorflow():
    name = "experiments.bench.cost_model"
    code = f"import sys, {name}; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
