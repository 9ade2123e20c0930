"""The benchmark of the posteriors: arguments, a worker's result, and real systems."""

import json
import shutil
import sys
import time
import types

import numpy as np
import pytest

from experiments.bench import (
    posterior_references,
    posterior_sampling,
    posterior_systems,
    posterior_worker,
    ppl_core_posteriors,
    ppl_core_split,
    subprocesses,
)
from experiments.bench.posteriors import MODELS
from experiments.bench.problems import PosteriorProblem, PosteriorRun, Protocol
from experiments.records import record

FUNNEL = MODELS["funnel"]


def compare(folder, **changes):
    run_dir = folder / "run"
    run_dir.mkdir(exist_ok=True)
    (run_dir / "provenance.json").write_text(json.dumps({"commit": None}))
    options = {
        "num_chains": [4],
        "num_warmup": [500],
        "num_draws": [500],
        "num_rounds": 1,
        "posteriors": ["exam_scores"],
        "systems": ["pymc"],
    }
    posterior_sampling.compare_posteriors(
        run_dir=run_dir, seed=0, out=str(folder), **(options | changes)
    )
    return record.read(folder / "records" / "posteriors.jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": ["stam"]}, r"systems: given \['stam'\], wanted some of"),
        ({"posteriors": ["radon"]}, r"posteriors: given \['radon'\], wanted some of"),
        ({"num_chains": []}, r"num_chains: given \[\], wanted"),
        ({"num_draws": [0]}, "num_draws: given 0, wanted"),
        ({"num_draws": [1, 2]}, r"num_draws: given \[1, 2\], wanted a number for each"),
        ({"max_minutes": 0}, "max_minutes: given 0, wanted"),
        ({"target_accept": 1.0}, "target_accept: given 1.0, wanted"),
        ({"skip": {"stan": ["x"]}}, r"skip: stan: given \['x'\], wanted some of"),
        ({"skip": {"x": ["credit"]}}, r"skip: given \['x'\], wanted some of"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        compare(tmp_path, **changes)
    assert not (tmp_path / "records").exists()


def measured():
    """What a worker returns of a right run."""
    return {
        "status": "ok",
        "seconds": {"build": 1, "warmup": 1, "sampling": 1, "cold": 3, "calls": [1]},
        "work": {"gradients": [70], "warmup_gradients": 70, "divergences": 0},
        "check": {"passed": True, "reason": "", "min_ess_bulk": 500.0},
    }


@pytest.fixture
def workers(monkeypatch):
    """The labels of the runs, which no process makes; "kill" among the actions ends
    the benchmark at its run, as a signal does."""
    labels, actions = [], []

    def run_tasks(bench, label, tasks, **options):
        if actions and actions.pop(0) == "kill":
            raise KeyboardInterrupt
        labels.append(label)
        return [measured()]

    monkeypatch.setattr(posterior_sampling.harness, "run_tasks", run_tasks)
    return labels, actions


SYSTEMS = ["ppl_core", "stan", "nutpie"]


def test_a_resumed_benchmark_runs_what_is_left_as_one_benchmark(tmp_path, workers):
    labels, actions = workers
    actions += ["", "kill"]
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path, systems=SYSTEMS)
    assert labels == ["round1-exam_scores-4-ppl_core"]
    made = compare(tmp_path, systems=SYSTEMS, resume=True)
    assert labels[1:] == ["round1-exam_scores-4-stan", "round1-exam_scores-4-nutpie"]
    assert [one.system for one in made] == SYSTEMS
    assert len({one.provenance["bench_id"] for one in made}) == 1


def test_a_resumed_benchmark_repeats_runs_of_another_protocol(tmp_path, workers):
    labels, _ = workers
    compare(tmp_path, systems=SYSTEMS[:1])
    made = compare(tmp_path, systems=SYSTEMS[:1], num_draws=[600], resume=True)
    assert labels == ["round1-exam_scores-4-ppl_core"] * 2
    assert made[-1].settings["num_draws"] == 600


def test_no_run_begins_after_the_time_is_over_until_it_is_resumed(tmp_path, workers):
    labels, _ = workers
    late = compare(tmp_path, systems=SYSTEMS, max_minutes=1e-9)
    assert not labels
    assert {(one.status, one.reason[:12]) for one in late} == {
        ("skipped", posterior_sampling.NO_TIME)
    }
    made = compare(tmp_path, systems=SYSTEMS, max_minutes=10, resume=True)
    assert len(labels) == 3
    assert [one.status for one in made[-3:]] == ["ok"] * 3


def test_a_system_may_be_left_out_with_one_number_of_chains(tmp_path, workers):
    labels, _ = workers
    both = {"num_chains": [4, 8], "num_warmup": [9, 9], "num_draws": [9, 9]}
    compare(tmp_path, systems=SYSTEMS[:2], skip={"stan/8": ["all"]}, **both)
    assert [label.removeprefix("round1-exam_scores-") for label in labels] == [
        "4-ppl_core",
        "4-stan",
        "8-ppl_core",
    ]


def test_a_system_for_one_posterior_runs_on_no_other(tmp_path, workers):
    labels, _ = workers
    counts = {"num_chains": [64], "num_warmup": [9], "num_draws": [9]}
    systems = ["ppl_core", "ppl_core_2_processes"]
    names = ["exam_scores", "credit"]
    compare(tmp_path, systems=systems, **counts | {"posteriors": names})
    assert [label.removeprefix("round1-") for label in labels] == [
        "exam_scores-64-ppl_core",
        "credit-64-ppl_core",
        "credit-64-ppl_core_2_processes",
    ]


@pytest.mark.slow
def test_chains_in_two_processes_are_those_of_one():
    model = MODELS["eight_schools_noncentred"]
    problem = PosteriorProblem(
        model.name, model.make_data(), model.stan, model.compared_names
    )
    protocol = Protocol(4, 60, 30, 0.8, 6)
    split = ppl_core_split.over_processes(problem, protocol, 3)
    whole = ppl_core_posteriors.run(problem, protocol, 3, pooled=False)
    np.testing.assert_array_equal(split.leapfrogs, whole.leapfrogs)
    for name in problem.compared:
        np.testing.assert_array_equal(split.values[name], whole.values[name])
    assert split.warmup_leapfrogs == whole.warmup_leapfrogs


@pytest.mark.slow
def test_rows_on_two_devices_have_the_posterior_of_one(tmp_path):
    model = MODELS["credit"]
    np.savez(tmp_path / "data.npz", **model.make_data())
    made = {
        "mode": "sample",
        "system": "ppl_core_2_devices",
        "name": "credit",
        "stan": model.stan,
        "compared": model.compared_names,
        "data_path": str(tmp_path / "data.npz"),
        "reference_path": str(posterior_references.FOLDER / "credit.json"),
        "protocol": Protocol(8, 200, 200, 0.8, 8)._asdict(),
        "seed": 1,
        "started_at": time.time(),
    }
    (result,) = subprocesses.run(
        tmp_path / "run",
        [made],
        worker="experiments.bench.posterior_worker",
        threads=2,
        timeout=600,
    )
    assert result["check"]["passed"], result


def task(folder, values):
    """Of the worker, for a system that returns these draws of the funnel's neck."""
    np.savez(folder / "data.npz", **FUNNEL.make_data())

    def run(problem, protocol, seed):
        assert problem.name == "funnel" and problem.data["D"] == 9 and seed == 5
        return PosteriorRun(
            values={"v": values},
            leapfrogs=np.full(values.shape, 7),
            diverged=np.zeros(values.shape, bool),
            warmup_leapfrogs=100,
            seconds={"build": 2.0, "warmup": 3.0, "sampling": 4.0},
            cold_start_difference=50.0,
        )

    sys.modules["invented"] = types.SimpleNamespace(run=run)
    posterior_systems.SYSTEMS["invented"] = posterior_systems.PosteriorSystem(
        "invented"
    )
    return {
        "system": "invented",
        "name": "funnel",
        "stan": FUNNEL.stan,
        "compared": FUNNEL.compared_names,
        "data_path": str(folder / "data.npz"),
        "reference_path": str(posterior_sampling._reference_path(FUNNEL)),
        "protocol": {"num_chains": 4, "num_draws": 1000},
        "seed": 5,
        "started_at": time.time(),
    }


@pytest.fixture(autouse=True)
def _forget_the_invented_system():
    yield
    posterior_systems.SYSTEMS.pop("invented", None)
    sys.modules.pop("invented", None)


def test_a_worker_checks_the_draws_and_counts_an_earlier_compilation(tmp_path):
    right = np.random.default_rng(0).normal(0.0, 3.0, (4, 1000))
    result = posterior_worker.measure(task(tmp_path, right))
    assert result["check"]["passed"]
    assert result["work"]["gradients"] == [7 * 4000]
    assert result["work"]["warmup_gradients"] == 100
    assert 50 < result["seconds"]["cold"] < 60
    narrow = posterior_worker.measure(task(tmp_path, 0.8 * right))
    assert not narrow["check"]["passed"] and "|z| of v" in narrow["check"]["reason"]


def test_fewer_draws_than_asked_for_are_an_error(tmp_path):
    short = np.random.default_rng(0).normal(0.0, 3.0, (4, 999))
    with pytest.raises(ValueError, match=r"v: given .*\(4, 999\), wanted \(4, 1000\)"):
        posterior_worker.measure(task(tmp_path, short))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Stan compiles with g++")
def test_real_systems_sample_the_reference_posterior(tmp_path):
    systems = list(posterior_systems.SYSTEMS)
    made = compare(tmp_path, systems=systems)
    told = {r.system: (r.status, r.reason, r.check.get("reason")) for r in made}
    passed = {name: told[name] for name in told if told[name][0] != "skipped"}
    assert passed == dict.fromkeys(passed, ("ok", "", "")), told
    assert {"stan", "pymc", "ppl_core"} <= passed.keys()
