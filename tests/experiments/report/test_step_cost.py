"""The table of a step's cost from made-up records: ratios, verdicts and refusals."""

import pytest

from experiments.records.record import Record
from experiments.report import step_cost

SECONDS = {"ours": 0.51, "by_hand": 0.50, "by_hand_fused": 0.48}


def made(system, number, *, slower=1.0, passed=True, bench="b1"):
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
    return [made(s, n, slower=1.1**n, **changes) for n in range(3) for s in SECONDS]


def test_ratios_are_taken_within_a_round_and_so_survive_a_machine_that_slows():
    text = step_cost.markdown(rounds())
    assert "| 1.020 (1.020-1.020) |" in text and "| 1.062 (1.062-1.062) |" in text
    assert "| runtime and loop | 0.561 (0.510-0.617) | - | 45% |" in text
    assert "Some CPU, 2 cores" in text and "400 GFLOP/s" in text


def test_what_was_wanted_is_held_against_the_medians():
    text = step_cost.markdown(rounds())
    assert "as in the paper: reached, 1.020" in text
    assert "fused Adam: not reached, 1.062" in text
    assert "MFU of 50%: not reached, 45%" in text


def test_the_newest_benchmark_alone_is_told():
    old = [made(s, n, slower=9.0, bench="b0") for n in range(3) for s in SECONDS]
    assert step_cost.markdown([*old, *rounds()]) == step_cost.markdown(rounds())


def test_a_case_that_did_not_train_alike_has_no_ratio():
    found = [made(s, 0, passed=s != "by_hand") for s in SECONDS]
    text = step_cost.markdown(found)
    assert "wrong: loss not that of ours" in text and "paper: reached" not in text


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "given none"),
        ([made("theirs", 0)], "theirs"),
        ([made("ours", 0)], "by_hand_fused"),
    ],
)
def test_records_that_make_no_table_are_errors(records, said):
    with pytest.raises(ValueError, match=said):
        step_cost.markdown(records)
