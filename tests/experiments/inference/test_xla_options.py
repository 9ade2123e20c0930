"""Options of XLA, and its compiled programs on disk."""

import os
import subprocess
import sys

import pytest

from experiments.inference import xla_options

SAMPLE = """
import numpy as np, tensorflow as tf
from experiments import inference
tree = inference.sample_nuts(
    lambda x: -0.5 * tf.reduce_sum(x**2, axis=-1), dim=2, num_draws=20, num_warmup=20
)
print(tree["posterior/x"].values.tobytes().hex())
"""


def sample(cache):
    return subprocess.run(
        [sys.executable, "-c", SAMPLE],
        env={**_environment(), xla_options.CACHE: str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def _environment():
    # Without what the tests' own process has set.
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("XLA_FLAGS", "TF_XLA_FLAGS")
    }


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_draws_the_same(tmp_path):
    first = sample(tmp_path)
    assert first.returncode == 0, first.stderr
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    assert written
    second = sample(tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout and len(first.stdout) > 1000
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")} == written
    # They are read: a damaged one is an error that names it.
    for path in written:
        path.write_bytes(path.read_bytes()[:1000] + b"damage")
    damaged = sample(tmp_path)
    assert damaged.returncode != 0
    assert f"PPL_COMPILE_CACHE: given '{tmp_path}', whose programs" in damaged.stderr


def test_other_options_and_other_cores_have_a_cache_of_their_own(tmp_path, monkeypatch):
    here = xla_options.cache_folder(tmp_path)
    assert here == xla_options.cache_folder(tmp_path) and here.parent == tmp_path
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(999))
    assert xla_options.cache_folder(tmp_path) != here
    monkeypatch.undo()
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert xla_options.cache_folder(tmp_path) != here


def test_options_that_the_user_has_set_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    monkeypatch.setenv("TF_XLA_FLAGS", f"{xla_options.CACHE_OPTION}=elsewhere")
    monkeypatch.setenv(xla_options.CACHE, str(tmp_path))
    for _ in range(2):
        xla_options.set_options()
        flags = os.environ["XLA_FLAGS"].split()
        assert flags[0] == "--xla_backend_optimization_level=3"
        assert len(flags) == len(xla_options.OPTIONS)
        given = os.environ["TF_XLA_FLAGS"]
        assert given == f"{xla_options.CACHE_OPTION}=elsewhere"


def test_xla_flags_are_the_users_again_once_they_are_read(monkeypatch):
    """JAX's XLA ends the process where it reads an option that it does not know."""
    for users in ("--xla_backend_optimization_level=3", None):
        monkeypatch.setattr(xla_options, "_USERS", users)
        xla_options.set_options()
        assert os.environ["XLA_FLAGS"] != users
        xla_options.read_options.cache_clear()
        xla_options.read_options()
        assert os.environ.get("XLA_FLAGS") == users


def test_a_cache_is_used_only_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    monkeypatch.delenv(xla_options.CACHE, raising=False)
    xla_options.set_options()
    assert os.environ["TF_XLA_FLAGS"] == ""
    monkeypatch.setenv(xla_options.CACHE, str(tmp_path))
    xla_options.set_options()
    folder = xla_options.cache_folder(tmp_path)
    assert os.environ["TF_XLA_FLAGS"].endswith(f"directory={folder}")
    assert folder.is_dir()


def test_a_folder_with_white_space_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(xla_options.CACHE, str(tmp_path / "my cache"))
    with pytest.raises(ValueError, match="PPL_COMPILE_CACHE: given .*my cache"):
        xla_options.set_options()
