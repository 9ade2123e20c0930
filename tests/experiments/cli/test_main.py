"""The launcher as a person meets it: bin/train as a process, on a toy experiment."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiments.cli import main

REPO = Path(__file__).resolve().parents[3]

TOY = """
import dataclasses, os, signal, threading, time
from pathlib import Path
from experiments.records import metrics, run_dir as folder

@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    step: float
    num: int = 3

    def __post_init__(self):
        if not self.step > 0:
            raise ValueError(f"step: given {self.step}, wanted above 0")

def data(*, num_rows: int = 10, path: str | None = None):
    if num_rows < 0:
        raise ValueError(f"num_rows: given {num_rows}, wanted 0 or more")
    return list(range(num_rows)) if path is None else open(path)

def sample(*, run_dir, seed, problem, settings: Settings, mode="ok"):
    (run_dir / "seen.txt").write_text(f"{seed} {len(problem)} {settings.num}")
    with metrics.metric_writer(run_dir, tensorboard=False) as event:
        event("draw", 0, value=1.0)
        if mode == "fail":
            raise RuntimeError("boom")
        if mode == "check":
            raise folder.CheckFailed("z is 8, wanted at most 5")
        if mode == "wait":
            time.sleep(60)
        if mode == "deaf":
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        event("draw", 1, value=2.0)
"""
STEP = "toy.Settings.step = 1\n"
HEAD = "from __gin__ import dynamic_registration\n"
BASE = """\
from __gin__ import dynamic_registration
import toy

experiment = @toy.sample
toy.sample.settings = @toy.Settings()
toy.sample.problem = @toy.data()
toy.Settings:
  step = %gin.REQUIRED
  num = %NUM
NUM = 3
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "base.gin").write_text(BASE)
    include = f"include '{tmp_path / 'base.gin'}'\n"
    (tmp_path / "full.gin").write_text(
        HEAD + "import toy\n" + include + "toy.Settings.step = 0.1\n"
    )
    return tmp_path


def started(place, *arguments, program="train"):
    env = os.environ | {"PYTHONPATH": str(place)}
    return subprocess.Popen(
        [str(REPO / "bin" / program), *arguments],
        cwd=place,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ran(place, *arguments, program="train"):
    process = started(place, *arguments, program=program)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def refused(place, *arguments):
    """The one line shown for a mistake; nothing else was said or made."""
    before = sorted(place.rglob("*"))
    code, out, err = ran(place, *arguments)
    made = [p for p in place.rglob("*") if p not in before]
    assert code == main.USAGE, err
    assert not out
    assert err.startswith("train: ") and err.count("\n") == 1
    assert [p for p in made if "__pycache__" not in p.parts] == []
    return err


def told(folder):
    return json.loads((folder / "run.json").read_text())


def until(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_a_run_leaves_config_provenance_metrics_and_a_record_that_says_done(place):
    code, _, err = ran(place, "--gin_config=full.gin", "--workdir=a/b/run", "--seed=7")
    folder = place / "a/b/run"
    assert code == main.SUCCESS, err
    run = told(folder)
    assert (run["status"], run["exit_code"], run["seed"]) == ("done", 0, 7)
    assert (folder / "seen.txt").read_text() == "7 10 3"
    assert "toy.data.num_rows = 10" in (folder / "operative.gin").read_text()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    origin = json.loads((folder / "provenance.json").read_text())
    assert origin["argv"][:2] == ["bin/train", "--gin_config=full.gin"]
    assert str(place) not in "".join(
        (folder / name).read_text() for name in ("run.json", "provenance.json")
    )


def test_the_configs_of_a_run_run_the_same_again(place):
    assert ran(place, "--gin_config=full.gin", "--workdir=one", "--seed=-1")[0] == 0
    assert ran(place, "--gin_config=one/config.gin", "--workdir=two")[0] == 0
    for name in ("config.gin", "seen.txt"):
        assert (place / "one" / name).read_text() == (place / "two" / name).read_text()
    code, _, err = ran(place, "--gin_config=one/operative.gin", "--workdir=three")
    assert code == main.SUCCESS, err
    assert (place / "one/seen.txt").read_text() == (
        place / "three/seen.txt"
    ).read_text()


def test_a_config_without_an_experiment_is_refused_and_may_bind_one_on_the_way(place):
    (place / "base.gin").write_text(BASE.replace("experiment = @toy.sample\n", ""))
    err = refused(place, "--gin_config=full.gin")
    assert "the config says no `experiment`" in err
    macro = ["--gin_param=experiment=%WHAT", "--gin_param=WHAT=@toy.sample"]
    for params in (["--gin_param=experiment = @toy.sample"], macro):
        code, out, err = ran(place, "--gin_config=full.gin", "--dry_run", *params)
        assert code == 0, err
        assert "= @toy.sample\n" in out


def test_dry_run_prints_the_resolved_config_and_creates_nothing(place):
    before = sorted(p for p in place.iterdir())
    code, out, err = ran(
        place,
        "--gin_config=full.gin",
        "--dry_run",
        "--workdir=new",
        "--gin_param=NUM=8",
    )
    assert (code, err) == (0, "")
    assert "NUM = 8" in out and "toy.Settings.step = 0.1" in out
    left = [p for p in place.iterdir() if p.name != "__pycache__"]
    assert sorted(left) == before


def test_no_tensorflow_is_imported_for_an_experiment_without_it(place):
    code, out, _ = ran(place, "--gin_config=full.gin", "--workdir=run")
    origin = json.loads((place / "run/provenance.json").read_text())
    assert code == 0 and origin["hardware"]["gpus"] is None


@pytest.mark.parametrize(
    ("param", "said"),
    [
        ("toy.sample.mod=1", "no parameter 'mod'; did you mean 'mode'?"),
        ("toy.smple.mode=1", "toy has no 'smple'; did you mean 'sample'?"),
        ("to.sample.mode=1", "no import provides 'to'; did you mean 'toy'?"),
        ("sample.mode=1", "did you mean 'toy.sample.mode'?"),
        ("mode=1", "nothing reads mode; did you mean 'toy.sample.mode'?"),
        ("Settings.step=1", "did you mean 'toy.Settings.step'?"),
        ("toy.Settings.step='0.1'", "toy.Settings.step: given '0.1', wanted float"),
        ("toy.Settings.step=None", "toy.Settings.step: given None, wanted float"),
        ("toy.Settings.step=nan", "given nan, wanted a finite number"),
        ("toy.Settings.step=1e999", "toy.Settings.step: given inf, wanted float"),
        ("toy.Settings.num=3.0", "toy.Settings.num: given 3.0, wanted int"),
        ("toy.sample.settings=3", "toy.sample.settings: given 3, wanted Settings"),
        ("toy.Settings.step=-1", "toy.Settings.step: given -1, wanted above 0"),
        ("toy.data.num_rows=-1", "toy.data.num_rows: given -1, wanted 0 or more"),
        ("toy.data.path='gone'", "toy.data.path: [Errno 2] No such file or directory"),
        ("num=4", "nothing reads num; did you mean 'NUM'?"),
        ("experimnt=1", "nothing reads experimnt; did you mean 'experiment'?"),
        ("toy.sample.mode=%Num", "no macro 'Num' is set; did you mean 'NUM'?"),
        ("s/toy.sample.mode=1", "nothing in the scope 's'"),
        ("toy.sample.seed=1", "never read: the launcher gives it, see --seed"),
        ("toy.Settings.step=%gin.REQUIRED", "toy.Settings.step is %gin.REQUIRED"),
        ("toy.Settings.step=", "not gin"),
        ("seed=-3", "given -3, wanted an integer"),
        ("experiment=@toy.sample()", "without parentheses"),
        ("experiment=@toy.data", "does not take 'run_dir'"),
        ("", "wanted one binding"),
    ],
)
def test_a_bad_param_is_refused_with_what_was_meant(place, param, said):
    err = refused(place, "--gin_config=full.gin", f"--gin_param={param}")
    assert said in err and f"--gin_param={param}" in err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("toy.sample.mod = 1\n", "f.gin:5: toy.sample has no parameter 'mod'"),
        (STEP + "NUMM = 1\n", "f.gin:6: nothing reads NUMM; did you mean 'NUM'?"),
        ("include 'configs/nuts/bse.gin'\n", "f.gin:5: include 'configs/nuts/bse.gin'"),
        ("from experiments import luanch\n", "f.gin:5: there is no module"),
        ("toy.sample.mode = [1,\n", "f.gin:5: not gin"),
        (
            STEP + "toy.sample.problem = 1\ntoy.data.num_rows = 2\n",
            "f.gin:7: nothing reads toy.data.num_rows",
        ),
        ("", "base.gin:8: toy.Settings.step is %gin.REQUIRED"),
        (STEP + "NUM = '3'\n", "f.gin:6: toy.Settings.num: given '3', wanted int"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(place, body, said):
    include = f"include '{place / 'base.gin'}'\n"
    (place / "f.gin").write_text(HEAD + "import toy\n\n" + include + body)
    assert said in refused(place, "--gin_config=f.gin")


def test_a_mistake_in_an_included_file_is_shown_where_it_stands(place):
    bad = BASE.replace("num = %NUM", "nums = %NUM")
    (place / "base.gin").write_text(bad)
    err = refused(place, "--gin_config=full.gin")
    assert (
        "base.gin:9: toy.Settings has no parameter 'nums'; did you mean 'num'?" in err
    )


def test_a_parameter_that_must_be_bound_and_is_not_is_named(place):
    (place / "base.gin").write_text(
        BASE.replace("toy.sample.problem = @toy.data()", "")
    )
    assert "toy.sample needs 'problem'" in refused(place, "--gin_config=full.gin")


def test_an_override_of_what_reads_a_macro_leaves_the_macro_in_peace(place):
    param = "--gin_param=toy.Settings.num=4"
    code, out, err = ran(place, "--gin_config=full.gin", param, "--dry_run")
    assert code == 0, err
    assert "toy.Settings.num = 4" in out


def test_a_scope_that_a_reference_names_is_read(place):
    code, out, err = ran(
        place,
        "--gin_config=full.gin",
        "--gin_param=toy.sample.problem=@small/toy.data()",
        "--gin_param=small/toy.data.num_rows=2",
        "--workdir=run",
    )
    assert code == 0, err
    assert (place / "run/seen.txt").read_text() == "0 2 3"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--gin_config"),
        (["--gin_config="], "none given"),
        (["--gin_config=ful.gin"], "no file ful.gin; did you mean 'full.gin'?"),
        (["--gin_config=."], "is a folder"),
        (["--gin_config=full.gin", "--sed=1"], "did you mean '--seed'?"),
        (["--gin_config=full.gin", "--seed=1.5"], "given '1.5'"),
        (["--gin_config=full.gin", "--seed=-2"], "given '-2'"),
        (["--gin_config=full.gin", "--workdir="], "none given"),
        (["--gin_config=full.gin", "--workdir=toy.py"], "toy.py is a file"),
        (["--gin_config=full.gin", "--workdir=toy.py/x/y"], "toy.py is a file"),
        (["--gin_config=full.gin", "--workdir=."], "holds no run"),
        (["--gin_config=full.gin", "--workdir=.", "--overwrite"], "holds no run"),
    ],
)
def test_a_bad_command_line_is_refused(place, arguments, said):
    assert said in refused(place, *arguments)


def test_a_finished_run_is_kept_unless_overwrite_is_given(place):
    command = ["--gin_config=full.gin", "--workdir=run"]
    assert ran(place, *command)[0] == 0
    (place / "run/mine.txt").touch()
    err = refused(place, *command, "--seed=5")
    assert "a finished run" in err and "--overwrite" in err
    assert told(place / "run")["seed"] == 0
    assert ran(place, *command, "--seed=5", "--overwrite")[0] == 0
    assert told(place / "run")["seed"] == 5
    assert not (place / "run/mine.txt").exists()


@pytest.mark.parametrize(
    ("mode", "code", "reason"),
    [
        ("fail", main.FAILED, "RuntimeError: boom"),
        ("check", main.INACCURATE, "CheckFailed: z is 8, wanted at most 5"),
    ],
)
def test_a_failure_is_recorded_with_its_reason_and_exit_code(place, mode, code, reason):
    param = f'--gin_param=toy.sample.mode="{mode}"'
    found, _, err = ran(place, "--gin_config=full.gin", "--workdir=run", param)
    run = told(place / "run")
    assert (found, run["exit_code"], run["status"]) == (code, code, "failed")
    assert run["reason"] == reason
    assert ("Traceback" in err) == (run["traceback"] is not None) == (mode == "fail")
    assert "toy.data.num_rows" in (place / "run/operative.gin").read_text()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_the_record_says_interrupted(place, signum):
    param = '--gin_param=toy.sample.mode="wait"'
    process = started(place, "--gin_config=full.gin", "--workdir=run", param)
    until((place / "run/metrics.jsonl").exists, process)
    other = ran(place, "--gin_config=full.gin", "--workdir=run", "--overwrite")
    assert other[0] == main.USAGE and "being written by another" in other[2]
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    run = told(place / "run")
    assert process.returncode == run["exit_code"] == main.INTERRUPTED, err
    assert (run["status"], run["traceback"]) == ("interrupted", None)
    assert "Traceback" not in err
    assert len((place / "run/metrics.jsonl").read_text().splitlines()) == 1


def test_a_second_signal_ends_a_run_that_will_not_stop(place):
    param = '--gin_param=toy.sample.mode="deaf"'
    process = started(place, "--gin_config=full.gin", "--workdir=run", param)
    until((place / "run/metrics.jsonl").exists, process)
    process.send_signal(signal.SIGTERM)
    assert "stopping" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert told(place / "run")["status"] == "interrupted"


def test_a_module_that_does_not_import_shows_its_own_traceback(place):
    (place / "toy.py").write_text("import nowhere_at_all\n")
    code, _, err = ran(place, "--gin_config=full.gin", "--workdir=run")
    assert code == main.FAILED and "nowhere_at_all" in err and "Traceback" in err
    assert not (place / "run").exists()


OWN = """
def go(*, run_dir, seed, x: int = 1):
    if x < 0:
        raise ValueError(f"x: given {x}, wanted 0 or more")
    (run_dir / "x.txt").write_text(str(x))
"""


@pytest.mark.parametrize("module", ["own.py", "own/__init__.py", "own/inner.py"])
def test_an_own_module_beside_the_config_runs_and_refuses(tmp_path, module):
    path = tmp_path / "mine" / module
    path.parent.mkdir(parents=True)
    path.write_text(OWN)
    name = "own.inner" if "inner" in module else "own"
    (tmp_path / "mine/own.gin").write_text(
        f"{HEAD}import {name}\nexperiment = @{name}.go\n{name}.go.x = %X\nX = 2\n"
    )
    (tmp_path / "mine/more.gin").write_text(f"{HEAD}include 'own.gin'\nX = 3\n")
    code, _, err = ran(tmp_path, "--gin_config=mine/more.gin", "--workdir=run")
    assert code == 0, err
    assert (tmp_path / "run/x.txt").read_text() == "3"
    (tmp_path / "mine/typo.gin").write_text(HEAD + "import onw\nexperiment = @onw.go\n")
    assert "no module 'onw'" in (err := refused(tmp_path, "--gin_config=mine/typo.gin"))
    assert ("did you mean 'own'?" in err) == ("inner" not in module)
    wrong = ["--gin_config=mine/more.gin", "--gin_param=X=-1", "--workdir=other"]
    code, _, err = ran(tmp_path, *wrong)
    assert code == main.USAGE and not (tmp_path / "other").exists()
    assert f"--gin_param=X=-1: {name}.go.x: given -1, wanted 0 or more" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("program", ["train", "bench"])
def test_help_lists_the_exit_codes(place, program):
    code, out, _ = ran(place, "--help", program=program)
    assert code == 0
    for number in (0, 1, 2, 3, 75):
        assert f"{number}  " in out


def test_a_stub_is_found_through_a_link_and_from_any_folder(place):
    (place / "linked").symlink_to(REPO / "bin/train")
    process = subprocess.run(
        [place / "linked", "--gin_config=full.gin", "--dry_run"],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("program", ["train", "bench", "sample", "report"])
def test_a_stub_without_an_environment_names_make_setup(tmp_path, program):
    stub = shutil.copytree(REPO / "bin", tmp_path / "bin") / program
    done = subprocess.run([stub], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"{program}: ")
    assert "make setup" in done.stderr
