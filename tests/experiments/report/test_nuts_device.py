"""The device's page: each device apart, times over the floor of its own copy."""

import csv
import io

import pytest

from experiments.records.record import Record
from experiments.report import nuts_device

GPU, CPU = ("gpu", "NVIDIA H100"), ("cpu", "Some CPU")


def case(system, chains=1, *, device=GPU, bench="b1", **changes):
    fields = dict(
        experiment="device",
        system=system,
        round=1,
        problem=dict(name="covertype", source="UCI", rows=10**6, dim=50),
        hardware=dict(cpu="Some CPU", cores=2, device=device[0], device_kind=device[1]),
        settings=dict(num_chains=chains),
        status="ok",
        seconds=dict(build=3.0, calls=[0.3, 0.1]),
        work=dict(steps=[300, 100], leapfrogs=[200 * chains, 50 * chains]),
        check=dict(passed=True),
        provenance=dict(bench_id=bench, started_at="2026-01-02T00:00:00"),
    )
    return Record(**(fields | changes))


def copy(**options):
    seconds, work = dict(calls=[0.001]), dict(bytes=[2 * 10**9])
    return case("copy", seconds=seconds, work=work, **options)


def test_a_row_has_its_times_and_their_ratio_to_the_floor():
    pages = nuts_device.read_pages([copy(), case("ours_dense", 64)])
    (row,) = pages[0].rows
    assert pages[0].gigabytes_per_second == pytest.approx(2000)
    # 400 MB of two reads take 0.2 ms at 2 TB/s, and a step took 1 ms.
    assert (row.ms, row.over_floor) == pytest.approx((1.0, 5.0))
    assert row.us == pytest.approx(1e6 * 0.4 / (250 * 64))
    text = nuts_device.markdown(pages)
    assert "## Measured on NVIDIA H100" in text
    assert "| **ours, exported** | 64 | 1.00 | 25.0 | 5.00x |" in text
    (line,) = csv.DictReader(io.StringIO(nuts_device.csv(pages)))
    assert (line["device"], float(line["ms_per_leapfrog"])) == ("NVIDIA H100", 1.0)


def test_devices_are_apart_and_only_the_newest_of_each_is_read():
    records = [
        copy(device=CPU),
        case("numpyro", 16, device=CPU),
        copy(bench="old"),
        case("blackjax", bench="old"),
        copy(bench="new"),
        case("ours_dense", bench="new"),
    ]
    gpu, cpu = nuts_device.read_pages(records)
    assert (gpu.device, gpu.is_accelerator) == ("NVIDIA H100", True)
    assert [row.record.system for row in gpu.rows] == ["ours_dense"]
    assert (cpu.device, cpu.is_accelerator) == ("Some CPU", False)
    assert [row.record.system for row in cpu.rows] == ["numpyro"]


def test_what_failed_has_a_reason_and_no_time():
    dropped = case("numpyro", 1024, status="skipped", reason="no time left", check={})
    wrong = case("blackjax", check=dict(passed=False, reason="its draws are wrong"))
    bare = case("jax_leapfrog")
    (found,) = nuts_device.read_pages([dropped, wrong, bare])
    assert [row.ms for row in found.rows] == [None, None, pytest.approx(1.0)]
    text = nuts_device.markdown([found])
    assert "| NumPyro | 1024 | skipped: no time left | - | - |" in text
    assert "its draws are wrong" in text
    assert "No copy was measured" in text and found.rows[2].over_floor is None


def test_an_unknown_system_is_refused():
    with pytest.raises(ValueError, match="given 'abacus', wanted one of"):
        nuts_device.read_pages([case("abacus")])
