import getpass
import hashlib
import json
import os
import shutil
import subprocess

import pytest

from experiments.records import provenance


def test_no_host_user_or_path_of_this_machine_is_kept(tmp_path):
    argv = ["bin/train", f"--workdir={tmp_path}/run", f"--gin_config={tmp_path}/a.gin"]
    text = json.dumps(provenance.collect(argv=argv, config=""))
    for private in (os.uname().nodename, str(tmp_path), str(provenance.REPO)):
        assert private not in text
    assert f"/{getpass.getuser()}/" not in text
    assert ".../run" in text and ".../a.gin" in text


@pytest.mark.parametrize(
    ("text", "kept"),
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
def test_a_path_is_made_relative_or_cut(text, kept):
    assert provenance.scrub(text) == kept


def test_the_config_is_known_by_its_hash():
    told = provenance.collect(argv=[], config="a = 1\n")
    assert told["config_sha256"] == hashlib.sha256(b"a = 1\n").hexdigest()


def test_thread_variables_are_kept_where_set(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    threads = provenance.collect(argv=[], config="")["threads"]
    assert threads["OMP_NUM_THREADS"] == "3" and "MKL_NUM_THREADS" not in threads


def test_hardware_is_told_in_numbers():
    told = provenance.hardware()
    assert told["cores"] >= 1 and told["memory_bytes"] > 2**28 and told["cpu"]


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


def test_a_clean_tree_names_its_commit(clone):
    told = provenance.git_state()
    assert len(told["commit"]) == 40 and told["dirty"] is False


@pytest.mark.parametrize("name", ["a.txt", "new.txt"])
def test_a_changed_or_new_file_makes_the_tree_dirty(clone, name):
    (clone / name).write_text("2")
    assert provenance.git_state()["dirty"] is True


def test_a_copy_inside_another_clone_has_no_commit(clone, monkeypatch):
    (clone / "copy").mkdir()
    monkeypatch.setattr(provenance, "REPO", (clone / "copy").resolve())
    assert provenance.git_state() == {"commit": None, "dirty": None}
