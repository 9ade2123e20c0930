"""Ctrl-C, SIGTERM and a full disk end a run, whatever it does at that moment."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
TOY = """
import threading
import time

def swallow(*, run_dir, seed, resume=False):
    (run_dir / "began").touch()
    try:
        time.sleep(3600)
    except BaseException:
        pass  # as a library's callback may
    time.sleep(3600)

def compile(*, run_dir, seed):
    threading.Thread(target=time.sleep, args=[3600]).start()
    (run_dir / "began").touch()
    time.sleep(3600)
"""
FULL = """
import errno, os
from experiments.records import jsonlines

def fill(*, run_dir, seed, resume=False):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    jsonlines.tempfile.mkstemp = full
    full()
"""
CONFIG = """\
from __gin__ import dynamic_registration
import toy

experiment = @toy.swallow
"""


@pytest.mark.parametrize("what", ["swallow", "compile"])
def test_a_signal_ends_a_run_at_once_and_its_record_says_how_to_go_on(tmp_path, what):
    """Also one whose exception was lost, and one that another thread would keep."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "run.gin").write_text(CONFIG)
    command = [str(REPO / "bin" / "train"), "--gin_config=run.gin", "--workdir=a b"]
    command += [f"--gin_param=experiment=@toy.{what}"]
    folder = tmp_path / "a b"
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (folder / "began").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    told = json.loads((folder / "run.json").read_text())
    assert told["status"] == "interrupted" and told["exit_code"] == 75
    wanted = "stopped by SIGTERM"
    if what == "swallow":
        wanted += "; to continue: bin/train --gin_config=run.gin '--workdir=a b'"
        wanted += " --gin_param=experiment=@toy.swallow --resume"
    assert told["reason"] == wanted and wanted in err


def test_a_full_disk_is_told_in_a_line_with_how_to_go_on(tmp_path):
    """The record of the run that began is written over: a new file has no room."""
    (tmp_path / "toy.py").write_text(FULL)
    (tmp_path / "run.gin").write_text(CONFIG.replace("swallow", "fill"))
    command = [str(REPO / "bin" / "train"), "--gin_config=run.gin", "--workdir=run"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = json.loads((tmp_path / "run/run.json").read_text())
    assert done.returncode == 1 and told["status"] == "failed", done.stderr
    wanted = "; to continue: bin/train --gin_config=run.gin --workdir=run --resume"
    for text in (told["reason"], done.stderr):
        assert "No space left on device" in text and wanted in text
    assert "Traceback" not in done.stderr and told["traceback"] is None
