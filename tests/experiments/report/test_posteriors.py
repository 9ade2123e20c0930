"""The page of the posteriors: speeds, geometric means, profiles, and what failed."""

import csv
import math

import pytest

from experiments.records import record as records
from experiments.records.record import Record
from experiments.report import page, posteriors
from experiments.report import posteriors_rows as rows

ESS = 2000.0
SECONDS = {  # of sampling, by system and posterior
    "ppl_core": {"schools": 1.0, "mixture": 4.0},
    "stan": {"schools": 2.0, "mixture": 32.0},
    "pymc": {"schools": 5.0},
}


def made(system, posterior, chains=4, round=1, **changes):
    seconds = SECONDS[system][posterior]
    fields = dict(
        experiment="posteriors",
        system=system,
        round=round,
        problem=dict(name=posterior, about="invented"),
        hardware=dict(cpu="Some CPU", cores=2, threads=2),
        settings=dict(
            num_chains=chains,
            num_warmup=1000,
            num_draws=1000,
            target_accept=0.8,
            max_depth=10,
        ),
        status="ok",
        seconds=dict(
            build=10.0,
            warmup=seconds,
            sampling=seconds,
            cold=10 + 2 * seconds,
            calls=[seconds],
        ),
        work=dict(gradients=[28000], warmup_gradients=30000, divergences=0),
        check=dict(
            passed=True, min_ess_bulk=ESS, min_ess_of="tau", z_max=2.0, r_hat_max=1.0
        ),
        provenance=dict(bench_id="b1", started_at="2026-03-04T05:06:07"),
    )
    return Record(**(fields | changes))


@pytest.fixture
def bench():
    wrong = dict(passed=False, reason="|z| of tau is 7.0", min_ess_bulk=ESS)
    return [
        made("ppl_core", "schools"),
        made("stan", "schools"),
        made("pymc", "schools", check=wrong),
        made("ppl_core", "mixture"),
        made("stan", "mixture"),
    ]


def test_a_geometric_mean_is_over_what_both_got_right(bench):
    table = rows.by_chains(rows.cells(bench))[4]
    mean, num = rows.geometric_mean(table, "stan", rows.ess_per_second)
    assert num == 2 and mean == pytest.approx(math.sqrt(2.0 * 8.0))
    assert rows.geometric_mean(table, "pymc", rows.ess_per_second) == (None, 0)
    cold, _ = rows.geometric_mean(table, "stan", rows.ess_per_second_cold)
    assert cold == pytest.approx(math.sqrt(14 / 12 * 74 / 18))


def test_a_profile_counts_failed_and_missing_runs_as_infinitely_slow(bench):
    table = rows.by_chains(rows.cells(bench))[4]
    factors = rows.profile(table, rows.ess_per_second)
    assert factors["ppl_core"] == [1.0, 1.0]
    assert factors["stan"] == pytest.approx([2.0, 8.0])
    assert factors["pymc"] == [math.inf, math.inf]


def test_a_failed_run_shows_no_speed_and_why(bench):
    text = posteriors.markdown(rows.cells(bench))
    lines = [line for line in text.splitlines() if line.startswith("| schools")]
    assert lines[0] == "| schools | 2,000 | 1,000 | FAILED |"
    assert [line.count("FAILED") for line in lines] == [1, 1, 1]
    assert (
        "PyMC, schools, 4 chains: wrong posterior: |z| of tau is 7.0"
        in text.replace("\\|", "|")
    )
    assert "4x Stan (2)" in text.split("## 4 chains")[0]


def test_a_run_that_fails_in_one_round_fails(bench):
    wrong = made("stan", "schools", round=2, status="failed", reason="it crashed")
    (cell,) = [
        cell
        for cell in rows.cells([*bench, wrong])
        if (cell.system, cell.posterior) == ("stan", "schools")
    ]
    assert "it crashed (in round 2)" in cell.failure
    assert cell.median(rows.ess_per_second) is None


def test_chains_have_tables_of_their_own(bench):
    both = [*bench, made("ppl_core", "schools", 64), made("stan", "schools", 64)]
    text = posteriors.markdown(rows.cells(both))
    assert text.index("## 4 chains") < text.index("## 64 chains")
    assert "With 64 chains" in text.split("## 4 chains")[0]


def test_the_page_is_rendered_with_every_number(bench, tmp_path):
    path = tmp_path / "posteriors.jsonl"
    for one in bench:
        records.append(path, one)
    page.render_posteriors(records_path=path, out_dir=tmp_path)
    text = (tmp_path / "tables" / "posteriors.csv").read_text()
    lines = list(csv.DictReader(text.splitlines()))
    assert len(lines) == 5
    (stan,) = [
        line
        for line in lines
        if (line["system"], line["posterior"]) == ("stan", "mixture")
    ]
    assert float(stan["min_ess_per_second"]) == ESS / 32
    assert float(stan["gradients_per_ess"]) == 14
    assert stan["passed"] == "True" and stan["divergences"] == "0"
    (pymc,) = [line for line in lines if line["system"] == "pymc"]
    assert pymc["min_ess_per_second"] == "" and "tau" in pymc["reason"]
    assert (tmp_path / "plots" / "posteriors.png").stat().st_size > 10_000
