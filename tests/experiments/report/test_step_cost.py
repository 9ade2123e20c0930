"""The page of a step's cost from invented records: ratios, targets and errors."""

import pytest

from experiments.records.record import Record
from experiments.report import step_cost

SECONDS = {"ours": 0.51, "by_hand": 0.50, "by_hand_fused": 0.48}


def make(system, number, *, slower=1.0, passed=True, bench="b1"):
    return Record(
        experiment="step_cost",
        system=system,
        round=number,
        problem=dict(name="transformer(x)", source="made", parameters=1000),
        hardware=dict(cpu="Some CPU", cores=2),
        settings=dict(batch=8, steps=4),
        status="ok",
        seconds=dict(step=slower * SECONDS.get(system, 1.0)),
        work=dict(flops=102e9, matmul_flops_per_second=400e9),
        check=dict(passed=passed, loss=12.5),
        provenance=dict(bench_id=bench, started_at="2025-03-04T05:06:07Z"),
    )


def rounds(**changes):
    """Three, the machine a tenth slower in each."""
    return [make(s, n, slower=1.1**n, **changes) for n in range(3) for s in SECONDS]


def test_a_machine_that_slows_down_does_not_change_a_ratio():
    text = step_cost.markdown(rounds())
    assert "| 1.020x |" in text and "| 1.062x |" in text
    assert "| engine and training loop | 0.561 (0.510-0.617) | - | 45% |" in text
    assert "Some CPU, 2 cores" in text and "400 GFLOP/s" in text


def test_the_medians_decide_the_targets():
    text = step_cost.markdown(rounds())
    assert "as in its paper | at most 1.03x | 1.020x | reached |" in text
    assert "fused Adam | at most 1.03x | 1.062x | **not reached** |" in text
    assert "| MFU, ours | at least 50% | 45.5 % (41.3-50.0) | **not reached** |" in text


def test_only_the_newest_benchmark_is_rendered():
    old = [make(s, n, slower=9.0, bench="b0") for n in range(3) for s in SECONDS]
    assert step_cost.markdown([*old, *rounds()]) == step_cost.markdown(rounds())


def test_a_case_with_other_losses_has_no_ratio():
    text = step_cost.markdown([make(s, 0, passed=s != "by_hand") for s in SECONDS])
    assert "as in its paper | wrong losses | - | - | - |" in text
    assert "as in its paper | at most 1.03x | - | not measured (wrong losses) |" in text


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "given none"),
        ([make("theirs", 0)], "theirs"),
        ([make("ours", 0)], "by_hand_fused"),
    ],
)
def test_records_that_make_no_table_are_errors(records, message):
    with pytest.raises(ValueError, match=message):
        step_cost.markdown(records)
