"""What runtime and loop add to a step, on a tiny model: real steps and records."""

from unittest import mock

import numpy as np
import pytest

from experiments.bench import step_cost
from experiments.records import record
from experiments.report import page
from experiments.training import timing

SIZES = dict(
    vocabulary=16,
    length=8,
    hidden=16,
    heads=2,
    filter_size=32,
    layers=1,
    dropout=0.0,
)


@pytest.fixture(autouse=True, scope="module")
def _a_quick_peak():
    """Products large enough for the true peak take seconds."""
    with mock.patch.object(timing, "PEAK_SIZES", (512,)):
        yield


@pytest.fixture(scope="module")
def records():
    return step_cost.run(SIZES, batch_size=4, steps=2, rounds=3)


def test_every_case_has_every_round_and_trains_as_the_others_do(records):
    told = {(r.system, r.round) for r in records}
    cases = (step_cost.OURS, step_cost.BY_HAND, step_cost.FUSED)
    assert told == {(case, number) for case in cases for number in range(3)}
    assert len(records) == len(told)
    assert all(r.check["passed"] and r.seconds["step"] > 0 for r in records)
    losses = [r.check["loss"] for r in records]
    # Far more digits than a step too many or too few would leave the same.
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_a_case_that_trains_otherwise_does_not_pass(monkeypatch):
    def by_hand(model, batches, *, fused, steps):
        return lambda: 100.0

    monkeypatch.setattr(step_cost, "by_hand", by_hand)
    found = step_cost.run(SIZES, batch_size=4, steps=1, rounds=1)
    passed = {r.system: r.check["passed"] for r in found}
    assert passed == {"ours": True, "by_hand": False, "by_hand_fused": False}


def test_records_make_the_table(records, tmp_path):
    path = tmp_path / "records" / "step_cost.jsonl"
    for made in records:
        record.append(path, made)
    page.render_step_cost(records_path=path, out_dir=tmp_path)
    text = (tmp_path / "tables" / "step_cost.md").read_text()
    assert "engine and training loop" in text and "3 rounds of 2 steps" in text
