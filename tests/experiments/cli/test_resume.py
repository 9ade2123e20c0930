"""bin/train --resume as a process, on a toy experiment that counts its attempts."""

import json
import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
TOY = """
def count(*, run_dir, seed, resume=False, until=2):
    path = run_dir / "count.txt"
    held = path.read_text().split() if resume and path.exists() else []
    held.append(str(seed))
    path.write_text(" ".join(held))
    if len(held) < until:
        raise RuntimeError("not yet")

def forget(*, run_dir, seed):
    pass
"""
CONFIG = """\
from __gin__ import dynamic_registration
import toy

experiment = @toy.count
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "count.gin").write_text(CONFIG)
    return tmp_path


def ran(place, *arguments):
    done = subprocess.run(
        [str(REPO / "bin" / "train"), "--gin_config=count.gin", *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


def told(path):
    return json.loads((path / "run.json").read_text())


def test_a_failed_run_goes_on_in_its_folder_with_its_seed(place):
    code, err = ran(place, "--workdir=run", "--seed=9", "--resume")
    assert code == 1, err  # nothing to go on with: it began
    code, err = ran(place, "--workdir=run")
    assert code == 2 and "a failed run" in err and "--resume" in err
    assert (place / "run/count.txt").read_text() == "9"
    code, err = ran(place, "--workdir=run", "--resume")
    assert code == 0, err
    assert (place / "run/count.txt").read_text() == "9 9"
    run = told(place / "run")
    assert (run["status"], run["seed"], run["earlier_attempts"]) == ("done", 9, 1)
    assert told(place / "run/attempts/001")["status"] == "failed"
    first = (place / "run/attempts/001/provenance.json").read_text()
    assert first != (place / "run/provenance.json").read_text()


def test_a_finished_run_is_left_as_it_is_unless_its_settings_differ(place):
    once = "--gin_param=toy.count.until=1"
    assert ran(place, "--workdir=run", once)[0] == 0
    before = {p: p.read_bytes() for p in (place / "run").rglob("*") if p.is_file()}
    code, err = ran(place, "--workdir=run", once, "--resume")
    assert code == 0 and "is finished: nothing to continue" in err
    assert before == {p: p.read_bytes() for p in before}
    assert {p for p in (place / "run").rglob("*") if p.is_file()} == {*before}
    code, err = ran(place, "--workdir=run", "--resume")  # until=2: goes on
    changed = "toy.count.until = (default), was 1"
    assert code == 0 and f"other settings than the run had so far: {changed}" in err
    assert told(place / "run")["changed_settings"] == changed


def test_the_config_may_differ_and_each_attempt_keeps_its_own(place):
    assert ran(place, "--workdir=run")[0] == 1
    param = "--gin_param=toy.count.until=5"
    assert ran(place, "--workdir=run", "--resume", param)[0] == 1
    assert "until = 5" in (place / "run/config.gin").read_text()
    assert "until" not in (place / "run/attempts/001/config.gin").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume"], "--resume: wanted --workdir"),
        (["--resume", "--overwrite", "--workdir=run"], "wanted one of them"),
        (["--resume", "--seed=4", "--workdir=run"], "given 4, the run to resume has 9"),
        (
            [
                "--resume",
                "--workdir=run",
                "--gin_param=experiment=@toy.forget",
            ],
            "--resume: given toy.forget, wanted an experiment that can be resumed",
        ),
        (["--gin_param=toy.count.resume=True"], "never read: the launcher gives it"),
        (["--gin_param=resume=True"], "the launcher gives it"),
    ],
)
def test_what_cannot_be_resumed_is_refused_and_nothing_is_touched(
    place, arguments, said
):
    (place / "run").mkdir()
    (place / "run/run.json").write_text('{"status": "failed", "seed": 9}')
    code, err = ran(place, *arguments)
    assert code == 2 and said in err and err.count("\n") == 1
    assert [path.name for path in (place / "run").iterdir()] == ["run.json"]
