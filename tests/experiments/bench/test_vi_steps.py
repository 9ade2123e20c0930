"""The comparison of variational inference runs each system, and judges its guide."""

import numpy as np
import pytest

from experiments.bench import vi_steps, vi_worker
from experiments.bench.posteriors import MODELS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight_schools_noncentred", "credit"])
def test_every_system_fits_the_same_guide(name, tmp_path):
    data = MODELS[name].make_data()
    batch = 200 if name == "credit" else None
    case = vi_steps.Case(name, {}, 3000, batch)
    np.savez(tmp_path / "data.npz", **data)
    elbos = {}
    for system in vi_worker.SYSTEMS:
        task = {
            "system": system,
            "data_path": str(tmp_path / "data.npz"),
            "problem": {"name": name, "num_steps": 3000, "batch_size": batch},
        }
        result = vi_worker.fit(task)
        assert result["seconds"]["steps"] > 0.0
        elbos[system], error = vi_steps.elbo(case, data, result)
    # Parameters still move by Adam's noise; ours is a mean.
    assert elbos["numpyro"] == pytest.approx(elbos["ppl_core"], abs=1.0 + 4 * error)
    assert elbos["pymc"] == pytest.approx(elbos["ppl_core"], abs=1.0 + 4 * error)


def test_a_row_has_ratios_within_a_round_and_says_what_failed(monkeypatch):
    monkeypatch.setattr(vi_steps, "elbo", lambda *_: (-30.0, 0.1))
    case = vi_steps.CASES[0]

    def result(rate):
        return {
            "status": "ok",
            "steps_per_second": rate,
            "seconds": {"build": 1.0, "steps": 2.0},
        }

    failed = {"status": "failed", "reason": "out of memory"}
    results = {
        "ppl_core": [result(300.0), result(400.0), result(1.0)],
        "numpyro": [result(100.0), result(200.0), result(1.0)],
        "pymc": [failed, failed, failed],
    }
    assert "| 2.50 (2.00-3.00) | 1.0 | -30.00 +- 0.10 |" in vi_steps.row(
        case, "numpyro", results
    )
    assert "failed: out of memory" in vi_steps.row(case, "pymc", results)
