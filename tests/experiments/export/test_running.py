"""What the runner checks before it runs, and how it leads the programs."""

from types import SimpleNamespace

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from experiments.export import running  # noqa: E402
from experiments.export.programs import check_version  # noqa: E402
from experiments.export.sampler import flatten, pack_as, tile_size  # noqa: E402
from experiments.inference.loop_state import empty  # noqa: E402


def test_a_program_larger_than_its_device_is_refused_with_both_sizes():
    device = SimpleNamespace(
        memory_stats=lambda: {"bytes_limit": 1000}, device_kind="toy"
    )
    running._check_device_memory(device, 1000, 4)
    with pytest.raises(
        ValueError,
        match="of 4 chains takes 1,001 bytes, wanted at most the 1,000 of toy",
    ):
        running._check_device_memory(device, 1001, 4)


def test_data_larger_than_the_memory_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(running, "memory_bytes", lambda: 5000)
    programs = SimpleNamespace(data_bytes=lambda: 4000)
    manifest = {"settings": {"dim": 2}, "values": [{"shape": [2]}]}
    running._check_memory(programs, manifest, 1, 2)
    with pytest.raises(ValueError, match=r"take 5,\d+ bytes, wanted at most .* 5,000"):
        running._check_memory(programs, manifest, 1, 10)


@pytest.mark.parametrize(("wanted", "is_read"), [("1.0.0", True), ("99.0.0", False)])
def test_artifacts_of_a_later_stablehlo_are_refused(wanted, is_read):
    if is_read:
        check_version(wanted)
        return
    with pytest.raises(ValueError, match=f"jaxlib: .* wanted one that reads {wanted}"):
        check_version(wanted)


def test_arrays_come_back_in_the_structure_that_they_were_taken_from():
    loop = empty(
        2, 3, max_depth=4, rows=5, keep_grads=False, dtype="f4", energy_dtype="f8"
    )
    leaves = flatten(loop)
    again = pack_as(loop, list(leaves))
    assert type(again) is type(loop) and again.macro == ()
    assert all(a is b for a, b in zip(flatten(again), leaves, strict=True))
    assert again.tree.draw.log_prob is loop.tree.draw.log_prob


def test_a_cpu_moves_the_references_tiles_and_an_accelerator_all_chains():
    programs = {
        f"transitions-{n}": {"role": "transitions", "chains": n} for n in (2, 4, 64)
    }
    manifest = {"programs": programs, "tiles": {"4": 2}}
    assert tile_size(manifest, 4, "cpu") == 2
    assert [tile_size(manifest, n, "gpu") for n in (1, 4, 5, 64, 900)] == [
        2,
        4,
        64,
        64,
        64,
    ]


def test_chains_beyond_those_that_were_told_where_to_start_take_the_same_in_turn(
    tmp_path,
):
    np.savez(tmp_path / "start.npz", start=np.array([[1.0, 2.0], [3.0, 4.0]]))
    start = running._start(tmp_path, {"start": "start.npz"}, 3)
    np.testing.assert_array_equal(start, [[1, 2], [3, 4], [1, 2]])
    assert running._start(tmp_path, {"start": None}, 3) is None
