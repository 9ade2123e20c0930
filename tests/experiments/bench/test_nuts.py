"""The NUTS benchmark on a few rows: real processes, Stan, PyMC and files."""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from experiments.bench import nuts
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.records import record
from experiments.records.run_dir import CheckFailed


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(200, 4)).astype(np.float32)
    labels = (rng.random(200) < 0.5).astype(np.int32)
    start = np.zeros(4, np.float32)
    return RegressionProblem(
        name="made", source="made", features=features, labels=labels, start=start
    )


def run(problem, folder, systems, **changes):
    run_dir = folder / "run"
    run_dir.mkdir()
    (run_dir / "provenance.json").write_text(json.dumps({"commit": None}))
    options = {"num_rounds": 1, "min_seconds": 0.01, "timeout_seconds": 300.0} | changes
    nuts.compare_samplers(
        run_dir=run_dir,
        seed=0,
        problem=problem,
        settings=SamplerSettings(step_size=0.05, max_depth=6, num_results=100),
        out=str(folder),
        **({"systems": systems} | options),
    )
    return record.read(folder / "records" / "nuts.jsonl")


@pytest.fixture(scope="module")
def records(problem, tmp_path_factory):
    systems = ["stan_plain", "stan_glm", "pymc_float64", "tfp_nuts", "handwritten_tf"]
    systems += ["pymc_float32", "handwritten_tf_grad", "ppl_core_whole", "ppl_core"]
    systems += ["one_pass", "stan_glm_all_cores", "ppl_core_64_chains"]
    systems += ["ppl_core_2_devices", "ppl_core_structured", "stan_structured"]
    return run(problem, tmp_path_factory.mktemp("bench"), systems)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Stan compiles with g++")
def test_real_systems_all_run_and_pass_their_checks(records):
    told = {r.system: (r.status, r.check.get("passed"), r.reason) for r in records}
    assert told == dict.fromkeys(told, ("ok", True, "")), told
    assert len(told) == 15


@pytest.mark.slow
def test_every_system_counts_work_above_nothing(records):
    for made in records:
        if made.status == "ok":
            assert len(made.seconds["calls"]) == len(made.work["leapfrogs"]) > 0
            assert min(made.work["leapfrogs"]) > 0
            # Stan's own clock counts milliseconds: one draw from 200 rows may be none.
            one_draw_by_stan = made.system == "stan_glm_all_cores"
            assert min(made.seconds["calls"]) > (-1e-9 if one_draw_by_stan else 0)


@pytest.mark.slow
def test_gradients_of_waiting_chains_are_counted(records):
    (many,) = [r for r in records if r.system == "ppl_core_64_chains"]
    assert many.work["gradients"][0] % 64 == 0
    assert many.work["gradients"][0] >= many.work["leapfrogs"][0]


@pytest.mark.slow
def test_a_logical_device_has_a_thread_and_other_systems_all_cores(records):
    threads = {r.system: r.hardware["threads"] for r in records}
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    assert [threads["ppl_core_2_devices"][name] for name in names] == ["1", "1", "2"]
    cores = str(len(os.sched_getaffinity(0)))
    assert {threads["ppl_core"][name] for name in names} == {cores}


@pytest.mark.slow
def test_ours_on_fewer_rows_is_in_the_table_of_sizes(problem, tmp_path):
    records = run(problem, tmp_path, ["ppl_core"], row_subsets=[80, 200])
    told = [(made.system, made.problem["rows"]) for made in records]
    assert told == [("ppl_core_whole", 80), ("ppl_core", 80), ("ppl_core", 200)]
    assert all(made.check["passed"] for made in records)
    assert len({made.provenance["bench_id"] for made in records}) == 2
    text = (tmp_path / "tables" / "nuts_speedup.md").read_text()
    assert text.startswith("# NUTS on made, N = 200 x 4")
    assert "\n| 80 |" in text


def test_a_system_that_takes_too_long_is_a_failed_record(problem, tmp_path):
    (made,) = run(problem, tmp_path, ["handwritten_tf"], timeout_seconds=0.5)
    assert made.status == "failed" and "0 s" in made.reason


def test_wrong_densities_get_no_ratio_and_one_of_our_own_fails_the_run(
    problem, monkeypatch, tmp_path
):
    """Both systems are right, and judged as if their rounding were far smaller."""
    monkeypatch.setitem(nuts.reference.UNIT_ROUNDOFF, "float32", 1e-20)
    with pytest.raises(CheckFailed) as error:
        run(problem, tmp_path, ["handwritten_tf", "ppl_core"])
    assert "ppl_core" in str(error.value) and "handwritten" not in str(error.value)
    records = record.read(tmp_path / "records" / "nuts.jsonl")
    assert [made.system for made in records] == ["handwritten_tf", "ppl_core"]
    for made in records:
        assert made.status == "ok" and not made.check["passed"]
        assert "reference" in made.check["reason"]
    # Table and plot are rendered beside the records, of a failed run too.
    with open(tmp_path / "tables" / "nuts_speedup.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows and not any(row["speedup"] for row in rows)
    assert (tmp_path / "plots" / "nuts_speedup.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": ["ppl_cor"]}, r"systems: given \['ppl_cor'\], wanted some of"),
        ({"num_rounds": 0}, "num_rounds: given 0, wanted a whole number of at least 1"),
        (
            {"min_seconds": "1"},
            "min_seconds: given '1', wanted a finite number at least 0",
        ),
    ],
)
def test_bad_arguments_are_errors_before_anything_runs(
    problem, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        run(problem, tmp_path, **({"systems": ["ppl_core"]} | changes))
    assert not (tmp_path / "records").exists()
