"""The comparison of variational inference runs each system, and judges its guide."""

import numpy as np
import pytest

from experiments.bench import vi_steps, vi_worker
from experiments.bench.posteriors import MODELS

CASES = {
    name: vi_steps.Case(name, {}, 3000, batch_size)
    for name, batch_size in (("eight_schools_noncentred", None), ("credit", 200))
}


def elbo(system, case, folder):
    """The ELBO that a system's guide ends with, and its standard error."""
    data = MODELS[case.name].make_data()
    np.savez(folder / "data.npz", **data)
    problem = {
        "name": case.name,
        "num_steps": case.judged_steps,
        "batch_size": case.batch_size,
    }
    task = {
        "system": system,
        "data_path": str(folder / "data.npz"),
        "problem": problem,
    }
    result = vi_worker.fit(task)
    assert result["seconds"]["steps"] > 0.0
    return vi_steps.elbo(case, data, result)


@pytest.fixture(scope="module", params=list(CASES))
def ours(request, tmp_path_factory):
    case = CASES[request.param]
    return case, elbo(vi_steps.OURS, case, tmp_path_factory.mktemp("ours"))


@pytest.mark.slow
@pytest.mark.parametrize("system", [s for s in vi_worker.SYSTEMS if s != vi_steps.OURS])
def test_every_system_fits_the_same_guide_as_ours(system, ours, tmp_path):
    if system != "pymc":  # which is always installed
        pytest.importorskip(system)
    case, (value, error) = ours
    found, _ = elbo(system, case, tmp_path)
    # Parameters still move by Adam's noise; ours is a mean.
    assert found == pytest.approx(value, abs=1.0 + 4 * error)


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
