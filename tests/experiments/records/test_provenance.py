import getpass
import hashlib
import json
import os
import shutil
import subprocess

import pytest

from experiments.records import provenance


def test_provenance_names_no_host_user_or_path(tmp_path):
    argv = ["bin/train", f"--workdir={tmp_path}/run", f"--gin_config={tmp_path}/a.gin"]
    text = json.dumps(provenance.collect(argv=argv, config=""))
    for private in (os.uname().nodename, str(tmp_path), str(provenance.REPO)):
        assert private not in text
    assert f"/{getpass.getuser()}/" not in text
    assert ".../run" in text and ".../a.gin" in text


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        (f"{provenance.REPO}/configs/nuts/tiny.gin", "configs/nuts/tiny.gin"),
        (f"--workdir={provenance.REPO}", "--workdir=."),
        (f"{provenance.REPO}-old/x", ".../x"),
        ("--workdir=/home/ada/runs/one", "--workdir=.../one"),
        ('data.load.path="/home/ada/x.csv"', 'data.load.path=".../x.csv"'),
        ("runs/one and a/b, 3/4", "runs/one and a/b, 3/4"),
        ("@small/data.load()", "@small/data.load()"),
    ],
)
def test_a_path_is_made_relative_or_cut(text, scrubbed):
    assert provenance.scrub(text) == scrubbed


def test_provenance_has_the_configs_hash():
    collected = provenance.collect(argv=[], config="a = 1\n")
    assert collected["config_sha256"] == hashlib.sha256(b"a = 1\n").hexdigest()


def test_thread_variables_are_recorded_if_set(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    threads = provenance.collect(argv=[], config="")["threads"]
    assert threads["OMP_NUM_THREADS"] == "3" and "MKL_NUM_THREADS" not in threads


def test_hardware_lists_cores_memory_and_cpu():
    hardware = provenance.hardware()
    assert (
        hardware["cores"] >= 1 and hardware["memory_bytes"] > 2**28 and hardware["cpu"]
    )


@pytest.fixture
def clone(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    git("config", "user.name", "a")
    git("config", "user.email", "a@example.org")
    git("config", "commit.gpgsign", "false")
    (tmp_path / "a.txt").write_text("1")
    git("add", "a.txt")
    git("commit", "-q", "-m", "one")
    monkeypatch.setattr(provenance, "REPO", tmp_path.resolve())
    return tmp_path


def test_a_clean_tree_has_its_commit(clone):
    state = provenance.git_state()
    assert len(state["commit"]) == 40 and state["dirty"] is False


@pytest.mark.parametrize("name", ["a.txt", "new.txt"])
def test_a_changed_or_new_file_makes_the_tree_dirty(clone, name):
    (clone / name).write_text("2")
    assert provenance.git_state()["dirty"] is True


def test_a_copy_inside_another_clone_has_no_commit(clone, monkeypatch):
    (clone / "copy").mkdir()
    monkeypatch.setattr(provenance, "REPO", (clone / "copy").resolve())
    assert provenance.git_state() == {"commit": None, "dirty": None}
