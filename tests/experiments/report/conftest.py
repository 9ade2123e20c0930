"""Invented records for the tests of the report, as a benchmark would write them."""

from pathlib import Path

import matplotlib.figure
import pytest

from experiments.records.record import Record
from experiments.report import nuts_rows

PAPER = Path(__file__).parents[3] / "results" / "paper.json"

MS = {  # per leapfrog, or gradient, in round 0
    "stan_plain": 140.0,
    "stan_glm": 80.0,
    "pymc_float64": 48.0,
    "pymc_float32": 33.0,
    "tfp_nuts": 9.0,
    "handwritten_tf": 8.0,
    "handwritten_tf_grad": 7.5,
    "ppl_core": 8.0,
    "stan_structured": 60.0,
    "ppl_core_structured": 3.0,
    "numpyro": 21.0,
    "nutpie": 40.0,
    "blackjax": 22.0,
    "jax_dim_rows": 7.2,
    "jax_rows_dim": 21.0,
    "one_pass": 4.0,
    "stan_glm_all_cores": 45.0,
    "pymc_float64_all_cores": 30.0,
    "ppl_core_64_chains": 2.0,
    "stan_structured_all_cores": 40.0,
    "ppl_core_structured_64_chains": 1.0,
    "ppl_core_1_device": 12.0,
    "ppl_core_2_devices": 7.5,
}


def _record(system, round=0, *, ms=None, leapfrogs=(100, 300), **changes):
    """A record whose calls took `ms` a leapfrog; `changes` replace whole fields."""
    ms = MS[system] if ms is None else ms
    fields = dict(
        experiment="nuts",
        system=system,
        round=round,
        problem=dict(name="covertype", source="UCI", rows=581012, dim=55),
        hardware=dict(cpu="Some CPU at 2 GHz", cores=2, threads=2),
        settings=dict(step_size=0.00167132, max_depth=10, num_results=5, num_chains=1),
        status="ok",
        seconds=dict(build=3.0, first=2.0, calls=[n * ms / 1000 for n in leapfrogs]),
        work=dict(leapfrogs=list(leapfrogs)),
        check=dict(passed=True, log_prob_error=1e-8, grad_error=2e-6),
        provenance=dict(bench_id="b1", started_at="2025-03-04T05:06:07"),
    )
    return Record(**(fields | changes))


@pytest.fixture
def record():
    return _record


@pytest.fixture
def bench():
    """Three rounds of every system; the machine is 10% slower in each later round."""
    return [
        _record(system, i, ms=ms * 1.1**i)
        for i in range(3)
        for system, ms in MS.items()
    ]


@pytest.fixture
def paper_path():
    return PAPER


@pytest.fixture
def paper():
    return nuts_rows.read_paper(PAPER)


@pytest.fixture
def figures(monkeypatch):
    """The figures that would be written."""
    saved = []
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *_, **__: saved.append(self)
    )
    return saved
