"""The benchmark of the paper's programs: what runs, is resumed and is written."""

import json
import subprocess

import pytest

from experiments.bench import program_worker, programs
from experiments.records import record
from experiments.records.run_dir import CheckFailed
from tests.programs import ran


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """Three programs' configs; the third has no tiny one."""
    monkeypatch.setattr(programs, "REPO", tmp_path)
    monkeypatch.setattr(programs.harness, "REPO", tmp_path)
    folder = tmp_path / "configs" / "programs"
    folder.mkdir(parents=True)
    for name in ("vimco", "align_vi", "minibatch", "vimco_tiny", "align_vi_tiny"):
        (folder / f"{name}.gin").write_text("")
    monkeypatch.setattr(programs, "CONFIGS", folder)


def claim(**changes):
    one = {"text": "gap", "value": 0.5, "wanted": "at most 1", "holds": True}
    return one | {"error": None} | changes


@pytest.fixture
def workers(configs, monkeypatch):
    """The tasks that would run, and what the next one does: "kill", "fail" or a claim
    that does not hold."""
    tasks, actions = [], []

    def run_tasks(bench, label, given, **options):
        action = actions.pop(0) if actions else ""
        if action == "kill":
            raise KeyboardInterrupt
        (task,) = given
        tasks.append(task | {"timeout": bench.timeout_seconds})
        if action == "fail":
            return [{"status": "failed", "reason": "exit code 1: OSError: full"}]
        folder = bench.run_dir / task["folder"]
        folder.mkdir(exist_ok=True)
        (folder / "picture.png").write_bytes(b"picture of " + label.encode())
        holds = action != "false"
        check = {"passed": holds, "reason": "" if holds else "gap"}
        check["claims"] = [claim(holds=holds)]
        return [
            {
                "status": "ok",
                "seconds": {"total": 12.0},
                "work": {"facts": {"draws": 3}},
                "check": check,
            }
        ]

    monkeypatch.setattr(programs.harness, "run_tasks", run_tasks)
    return tasks, actions


def run_all(folder, **changes):
    run_dir = folder / "run"
    run_dir.mkdir(exist_ok=True)
    (run_dir / "provenance.json").write_text(json.dumps({"commit": None}))
    programs.run_programs(run_dir=run_dir, seed=4, out="results", **changes)


def written(folder):
    return record.read(folder / "results" / "records" / "programs.jsonl")


NAMES = ["align_vi", "minibatch", "vimco"]


def test_every_program_with_a_config_runs_and_leaves_a_record_and_a_picture(
    tmp_path, workers
):
    tasks, _ = workers
    run_all(tmp_path)
    made = written(tmp_path)
    assert [one.system for one in made] == NAMES
    assert [task["config"] for task in tasks] == [
        f"configs/programs/{name}.gin" for name in NAMES
    ]
    for one in made:
        assert one.seconds == {"total": 12.0} and one.work["facts"] == {"draws": 3}
        assert one.check["claims"] == [claim()] and one.settings["seed"] == 4
    plots = tmp_path / "results" / "plots" / "programs"
    assert (plots / "vimco.png").read_bytes() == b"picture of run-vimco"
    table = (tmp_path / "results" / "tables" / "programs.md").read_text()
    assert "Claims that hold: 3 of 3." in table


def test_a_claim_that_does_not_hold_fails_when_all_is_written(tmp_path, workers):
    _, actions = workers
    actions += ["", "false"]
    with pytest.raises(CheckFailed, match="minibatch.*gap"):
        run_all(tmp_path)
    assert [one.check["passed"] for one in written(tmp_path)] == [True, False, True]
    table = (tmp_path / "results" / "tables" / "programs.md").read_text()
    assert "Claims that hold: 2 of 3. Failed, of minibatch: gap: 0.5." in table


def test_a_resumed_benchmark_runs_again_only_what_did_not_end(tmp_path, workers):
    tasks, actions = workers
    actions += ["fail", "", "kill"]
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path)
    assert not (tmp_path / "results" / "records").exists()
    del tasks[:]
    run_all(tmp_path, resume=True)
    assert [task["config"][17:-4] for task in tasks] == ["align_vi", "vimco"]
    made = written(tmp_path)
    assert [one.status for one in made] == ["ok"] * 3
    assert len({one.provenance["bench_id"] for one in made}) == 1


def test_other_configs_are_run_again(tmp_path, workers):
    tasks, _ = workers
    some = ["vimco", "align_vi"]
    run_all(tmp_path, programs=some)
    run_all(tmp_path, programs=some, tiny=True, resume=True)
    assert [task["config"] for task in tasks[2:]] == [
        "configs/programs/vimco_tiny.gin",
        "configs/programs/align_vi_tiny.gin",
    ]


def test_no_program_begins_after_the_time_is_over_or_outlasts_it(tmp_path, workers):
    tasks, _ = workers
    run_all(tmp_path, max_minutes=1e-9)
    assert not tasks
    assert {one.status for one in written(tmp_path)} == {"skipped"}
    run_all(tmp_path, max_minutes=1, resume=True)
    assert all(50 < task["timeout"] <= 60 for task in tasks)
    assert [one.status for one in written(tmp_path)[3:]] == ["ok"] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"programs": ["vinco"]}, r"programs: given \['vinco'\], wanted some of"),
        ({"programs": []}, r"programs: given \[\], wanted some of"),
        ({"tiny": True}, "programs: given 'minibatch', wanted one with minibatch_tiny"),
        ({"tiny": 1}, "tiny: given 1, wanted True or False"),
        ({"max_minutes": 0}, "max_minutes: given 0, wanted"),
        ({"timeout_seconds": 0}, "timeout_seconds: given 0, wanted"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    tmp_path, workers, changes, message
):
    with pytest.raises(ValueError, match=message):
        run_all(tmp_path, **changes)
    assert not workers[0] and not (tmp_path / "results").exists()


@pytest.fixture
def train(tmp_path, monkeypatch):
    """A worker's task, whose run writes these claims and has this exit code."""

    def runs(code, made=(), reason="", picture=True):
        def run(command, **options):
            folder = tmp_path / "vimco"
            folder.mkdir()
            (folder / "run.json").write_text(json.dumps({"reason": reason}))
            if made:
                text = json.dumps({"claims": list(made), "facts": {"draws": 3}})
                (folder / "claims.json").write_text(text)
            if picture:
                (folder / "picture.png").write_bytes(b"picture")
            assert command[1:] == [
                "--gin_config=configs/programs/vimco.gin",
                f"--workdir={folder}",
                "--seed=4",
                "--overwrite",
            ]
            return subprocess.CompletedProcess(command, code)

        monkeypatch.setattr(program_worker.subprocess, "run", run)
        return program_worker.run_program(
            {
                "config": "configs/programs/vimco.gin",
                "folder": str(tmp_path / "vimco"),
                "seed": 4,
            }
        )

    return runs


def test_a_worker_returns_the_claims_of_a_run_that_came_to_its_end(train):
    made = [claim(), claim(text="other", holds=False)]
    result = train(3, made)
    assert result["check"] == {"passed": False, "reason": "other", "claims": made}
    assert result["work"] == {"facts": {"draws": 3}}
    assert result["seconds"]["total"] >= 0


def test_a_worker_says_why_a_run_failed(train):
    assert train(1, reason="OSError: full") == {
        "status": "failed",
        "reason": "exit code 1: OSError: full",
    }


def test_a_run_without_a_picture_or_claims_has_failed(train):
    result = train(0, [claim()], picture=False)
    assert result == {
        "status": "failed",
        "reason": "no picture.png, wanted one of each run",
    }


@pytest.mark.slow
def test_the_tiny_benchmark_runs_a_program_and_renders_its_claims(tmp_path):
    done = ran(
        [
            "bin/bench",
            "--gin_config=configs/bench/programs.gin",
            "--gin_config=configs/bench/programs_tiny.gin",
            '--gin_param=bench.run_programs.programs=["scipy_regression"]',
            f'--gin_param=bench.run_programs.out="{tmp_path}"',
            f"--workdir={tmp_path / 'run'}",
        ]
    )
    assert done.returncode == 0, done.stderr
    (one,) = record.read(tmp_path / "records" / "programs.jsonl")
    claims = json.loads((tmp_path / "run/scipy_regression/claims.json").read_text())
    assert one.check["claims"] == claims["claims"] and one.seconds["total"] > 0
    picture = (tmp_path / "plots/programs/scipy_regression.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert "scipy_regression" in (tmp_path / "tables" / "programs.md").read_text()
