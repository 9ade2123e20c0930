"""The page of the VQ-VAE and the audio VAE from invented records."""

import csv
import io

import pytest

from experiments.records.record import Record
from experiments.report import vae as report

PEAK, FLOPS = 1e11, 6e10
SECONDS = {
    "crops64/ours": 1.0,
    "crops64/handwritten_tf": 1.25,
    "crops64/flax": 2.0,
    "audio/ours": 2.0,
    "audio/ours_cores": 2.5,
    "audio/handwritten_tf": 1.0,
}
MOVED = dict(devices=17, passed_bytes=1234567, most_held_bytes=1e6, all_held_bytes=9e6)


def make(system, number=1, *, bench="b1", **changes):
    kind = "audio" if system.startswith("audio") else "images"
    work = dict(examples=[4] * 3, flops=FLOPS, parameters=12)
    fields = dict(
        experiment="vae",
        system=system,
        round=number,
        problem=dict(name="crops64", batch=4, model="a model", source=f"made {kind}"),
        hardware=dict(cpu="Some CPU", cores=2, threads=2),
        settings=dict(mode=kind),
        status="ok",
        seconds={},
        work=work | (MOVED if system.endswith("cores") else {}),
        check=dict(passed=True, bits_per_dim=[8.0, 7.5, 7.0]),
        provenance=dict(
            bench_id=bench, started_at="2025-03-04T05:06:07Z", load_average=1.0
        ),
    )
    return Record(**(fields | changes))


def probe(number=1, peak=PEAK, **changes):
    work = dict(matmul_flops_per_second=peak)
    return make("probe", number, settings=dict(mode="probe"), work=work, **changes)


def a_round(number=1, slower=1.0, **changes):
    records = [probe(number, **changes)]
    for system, seconds in SECONDS.items():
        calls = [slower * seconds, 9.0, 0.0]
        clocks = dict(build=1.0, first=2.0, calls=calls)
        records.append(make(system, number, seconds=clocks, **changes))
    return records


def replaced(records, system, **changes):
    return [
        make(system, r.round, **changes) if r.system == system else r for r in records
    ]


def outcomes(page):
    return {outcome.claim: outcome for outcome in report.outcomes(page)}


def csv_lines(page):
    lines = csv.DictReader(io.StringIO(report.csv(page)))
    return {f"{line['problem']}/{line['system']}": line for line in lines}


BY_HAND = "step, crops64: ours / hand-written TensorFlow"
CORES = "step, audio: 17 logical devices / one"


def test_ratios_are_of_medians_within_a_round_and_ranges_over_them():
    page = report.read_page([*a_round(1), *a_round(2, slower=1.1)])
    results = outcomes(page)
    assert list(results) == [BY_HAND, "MFU, crops64, ours", CORES]
    assert results[BY_HAND].measured == pytest.approx([0.8] * 3)
    assert results[BY_HAND].reached and results[BY_HAND].target == "at most 1.02x"
    mfu = results["MFU, crops64, ours"]
    assert mfu.measured == pytest.approx([0.6 / 1.1, (0.6 + 0.6 / 1.1) / 2, 0.6])
    assert mfu.reached and mfu.target == "at least 45%"
    assert (
        results[CORES].measured == pytest.approx([1.25] * 3) and results[CORES].reached
    )


def test_a_missed_target_is_not_reached():
    slow = dict(build=1.0, first=2.0, calls=[2.7])
    records = replaced(a_round(), "audio/ours_cores", seconds=slow)
    outcome = outcomes(report.read_page(records))[CORES]
    assert outcome.measured == pytest.approx([1.35] * 3) and not outcome.reached
    assert "| **not reached** |" in report.markdown(report.read_page(records))


def test_the_page_has_times_ratios_and_the_bytes_passed():
    text = report.markdown(report.read_page([*a_round(1), *a_round(2, slower=1.1)]))
    assert "| **ours, one device** | 1,050 (1,000-1,100) | - | 57.3 % |" in text
    assert "57.3 % (54.5-60.0)" in text and "0.800x" in text
    assert "4 clips per step" in text and "4 images per step" in text
    assert "Between its 17 devices 1,234,567 bytes pass in a step" in text
    assert "at most 1.00 MB of the 9.00 MB" in text
    assert "Images: made images" in text and "Clips: made audio" in text
    assert "**not reached**" not in text


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_system_that_did_not_run_takes_up_its_row(status):
    why = dict(status=status, reason="no room", check=dict(passed=False), work={})
    records = replaced(a_round(), "crops64/handwritten_tf", **why)
    records = replaced(records, "audio/ours_cores", **why)
    page = report.read_page(records)
    results = outcomes(page)
    for claim in (BY_HAND, "step, audio: several logical devices / one"):
        assert results[claim].measured is None and not results[claim].reached
    assert results["MFU, crops64, ours"].reached
    text = report.markdown(page)
    assert f"{status}: no room" in text
    assert f"not measured ({status}: no room)" in text and "bytes pass in" not in text


def test_other_losses_than_ours_leave_no_ratio():
    check = dict(passed=False, reason="its bits/dim are off", bits_per_dim=[9.0])
    records = replaced(a_round(), "crops64/handwritten_tf", check=check)
    outcome = outcomes(report.read_page(records))[BY_HAND]
    assert outcome.measured is None and "off" in outcome.reason


def test_a_disturbed_round_is_named_and_its_mfu_is_of_the_highest_peak():
    second = [r for r in a_round(2) if r.system != "probe"]
    page = report.read_page([*a_round(1), probe(2, PEAK / 3), *second])
    assert outcomes(page)["MFU, crops64, ours"].measured == pytest.approx([0.6] * 3)
    assert "Disturbed: round 2. Its peak" in report.markdown(page)


def test_without_a_peak_there_is_no_mfu():
    records = [r for r in a_round() if r.system != "probe"]
    page = report.read_page(records)
    assert outcomes(page)["MFU, crops64, ours"].reason == "no peak was measured"


def test_only_the_newest_benchmark_is_rendered():
    page = report.read_page([*a_round(bench="old"), *a_round(slower=2.0)])
    assert {r.provenance["bench_id"] for r in page.records} == {"b1"}
    assert page.trained[0].seconds == {1: 2.0}
    with pytest.raises(ValueError, match="wanted training runs"):
        report.read_page([probe()])


def test_the_csv_file_has_a_line_a_system():
    lines = csv_lines(report.read_page(a_round()))
    assert list(lines) == list(SECONDS)
    cores, ours = lines["audio/ours_cores"], lines["crops64/ours"]
    assert cores["passed_bytes"] == "1234567" and float(cores["seconds"]) == 2.5
    assert ours["passed_bytes"] == "" and float(ours["mfu"]) == 0.6
    assert float(lines["crops64/handwritten_tf"]["ours_over_it"]) == 0.8
