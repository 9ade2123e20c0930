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
    "ppl_core": {"schools": 1.0, "mixture": 4.0, "funnel": 1.0},
    "stan": {"schools": 2.0, "mixture": 32.0, "funnel": 1.0},
    "pymc": {"schools": 5.0},
    "ppl_core_2_processes": {"schools": 2.0},
    "ppl_core_2_devices": {"schools": 3.0},
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
    found = rows.ratios(table, "stan", rows.ess_per_second)
    assert found == pytest.approx({"schools": 2.0, "mixture": 8.0})
    assert rows.geometric_mean(found.values()) == pytest.approx((2.0, 4.0, 8.0))
    assert rows.ratios(table, "pymc", rows.ess_per_second) == {}
    assert rows.geometric_mean([]) is None
    cold = rows.ratios(table, "stan", rows.phase("cold"))
    assert cold == pytest.approx({"schools": 12 / 14, "mixture": 18 / 74})


def test_a_profile_counts_failed_and_missing_runs_as_infinitely_slow(bench):
    table = rows.by_chains(rows.cells(bench))[4]
    factors = rows.profile(table, rows.ess_per_second)
    assert factors["ppl_core"] == [1.0, 1.0]
    assert factors["stan"] == pytest.approx([2.0, 8.0])
    assert factors["pymc"] == [math.inf, math.inf]


def table_of(text, head):
    """The lines of the first table whose head begins so, as cells by its columns."""
    lines = iter(text.splitlines())
    columns = next(line for line in lines if line.startswith(f"| {head} |"))
    names = [name.strip() for name in columns.strip("|").split("|")]
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            return found
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        found.append(dict(zip(names, cells, strict=True)))
    return found


def test_each_system_has_ours_over_it_with_the_range_over_posteriors(bench):
    ours, stan, pymc = table_of(posteriors.markdown(rows.cells(bench)), "system")
    assert ours["right"] == stan["right"] == "2 of 2" and pymc["right"] == "0 of 1"
    assert stan["min-ESS/s"] == "4.00x (2.00-8.00)"
    assert stan["gradients per ESS"] == "1.00x"
    assert stan["cold start"] == "0.457x (0.243-0.857)"
    assert pymc["min-ESS/s"] == "-"


def test_targets_are_judged_by_means_or_by_the_worst_posterior(bench):
    found = {
        line["what"]: line["result"].strip("*")
        for line in table_of(posteriors.markdown(rows.cells(bench)), "what")
    }
    assert found["min-ESS/s with 4 chains over Stan's"] == "reached"
    assert found["cold start with 4 chains over Stan's"] == "reached"
    assert "not measured" in found["min-ESS/s with 4 chains over nutpie's"]
    worse = {"build": 10.0, "warmup": 9.0, "sampling": 9.0, "cold": 28.0, "calls": [9]}
    slow = [
        *bench,
        made("stan", "funnel"),
        made("ppl_core", "funnel", seconds=worse),
    ]
    found = {
        line["what"]: line["result"].strip("*")
        for line in table_of(posteriors.markdown(rows.cells(slow)), "what")
    }
    assert found["cold start with 4 chains over Stan's"] == "not reached"
    assert found["min-ESS/s with 4 chains over Stan's"] == "reached"


def test_a_failed_run_shows_no_speed_and_why(bench):
    wrong = dict(passed=False, reason="R-hat is 1.30")
    bench[3] = made("ppl_core", "mixture", check=wrong)
    text = posteriors.markdown(rows.cells(bench))
    schools, mixture = table_of(text, "posterior")
    assert schools["min-ESS/s"] == "2,000" and schools["over Stan"] == "2.00x"
    assert schools["over nutpie"] == "not run"
    assert mixture["min-ESS/s"] == "FAILED" and mixture["over Stan"] == "-"
    assert "PyMC (wrong posterior: |z| of tau is 7.0)" in text.replace("\\|", "|")
    assert "Not run, 4 chains: PyMC on mixture." in text


def test_ours_split_has_a_table_of_its_own_and_is_in_no_mean(bench):
    wrong = dict(passed=False, reason="|z| of tau is 7.0", min_ess_bulk=ESS)
    split = [
        made("ppl_core_2_processes", "schools"),
        made("ppl_core_2_devices", "schools", check=wrong),
    ]
    text = posteriors.markdown(rows.cells(bench + split))
    whole, processes, devices = table_of(text, "posterior | what")
    assert whole["what"] == "ours, whole" and "processes" in processes["what"]
    assert whole["seconds of sampling"] == "1.00"
    assert processes["seconds of sampling"] == "2.00"
    assert devices["min-ESS/s"] == "FAILED" and devices["seconds of sampling"] == "-"
    assert len(table_of(text, "system")) == 3
    table = rows.by_chains(rows.cells(bench + split))[4]
    assert rows.systems_of(table) == ["ppl_core", "stan", "pymc"]


def test_a_posterior_at_which_the_time_was_over_is_named_and_not_shown(bench):
    late = made("stan", "funnel", status="skipped", reason=f"{rows.NO_TIME}: resume")
    text = posteriors.markdown(rows.cells([*bench, made("ppl_core", "funnel"), late]))
    assert len(table_of(text, "posterior")) == 2
    assert "- funnel, 4 chains: not shown, since" in text


def test_a_system_that_could_not_run_is_not_among_the_failures(bench):
    bench[2] = made("pymc", "schools", status="skipped", reason="not installed")
    text = posteriors.markdown(rows.cells(bench))
    assert "- Not run, 4 chains: PyMC on any." in text
    assert table_of(text, "system")[2]["right"] == "0 of 0"
    assert "PyMC (" not in text


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
    four, many = text.index("## 4 chains"), text.index("## 64 chains")
    assert four < many and "with 64 chains" in text[:four]
    assert "cold start" in text[four:many]
    assert "cold start" not in text[many : text.index("## How")]  # ran second


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
    for name in ("posteriors", "posteriors_profiles"):
        assert (tmp_path / "plots" / f"{name}.png").stat().st_size > 10_000
