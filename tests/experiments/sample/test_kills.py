"""Runs killed again and again, each time resumed, draw as one that nobody touched."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import xarray as xr

from experiments.inference import saved
from experiments.records import metrics
from experiments.sample import store
from tests.experiments.sample.killed import MOMENTS, killed_after, killed_at
from tests.programs import REPO, ran

pytestmark = pytest.mark.slow  # some twenty starts of a run
KILLS = 22
SETTINGS = {"num_chains": 2, "num_warmup": 160, "num_draws": 1200, "chunk_size": 5}


def by_bin_sample(files, workdir):
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    where = [f"--data={files}/data.json", f"--workdir={workdir}", "--seed=5"]
    return [f"{REPO}/bin/sample", f"{files}/models.py:pair", *where, *flags]


def by_bin_train(files, workdir):
    given = SETTINGS | {
        "program": f"{files}/models.py:pair",
        "data": f"{files}/data.json",
    }
    return [
        f"{REPO}/bin/train",
        f"--gin_config={REPO}/configs/nuts/program.gin",
        *(f"--gin_param=nuts.sample.{name}={value!r}" for name, value in given.items()),
        f"--workdir={workdir}",
        "--seed=5",
    ]


def num_reported(workdir):
    path = workdir / "metrics.jsonl"
    told = metrics.read(path) if path.exists() else []
    return max((event["step"] for event in told if event["kind"] == "draws"), default=0)


def draws_of(workdir):
    folder = store.folder_of(workdir)
    parts = [chunk.draws for chunk in saved.chunks(folder)]
    return np.concatenate(parts, axis=1) if parts else np.empty((2, 0, 2))


def moments(num, seconds):
    """When a run is to die: at one of MOMENTS, or after a time for every sixth.

    seconds: what a whole run takes.
    """
    rng = np.random.default_rng(18)
    named = [*MOMENTS]
    for i in range(num):
        moment = named[rng.integers(len(named))]
        if i % 6 == 5:
            yield None, seconds * rng.uniform(0.05, 0.25)
        else:
            yield moment, 0 if moment == "before it compiles" else int(rng.integers(5))


def test_a_run_killed_at_any_moment_and_resumed_draws_as_one_that_was_not(
    files, tmp_path
):
    untouched, workdir = tmp_path / "untouched", tmp_path / "run"
    # The first process of all waits until TensorFlow is imported.
    assert killed_after([*by_bin_sample(files, untouched), "--dry_run"], 300) == 0
    began = time.monotonic()
    done = killed_after(by_bin_sample(files, untouched), 300)
    seconds = time.monotonic() - began
    assert done in (0, 3)
    wanted, codes = draws_of(untouched), []
    for i, (moment, number) in enumerate(moments(KILLS, seconds)):
        command = (by_bin_train if i % 2 else by_bin_sample)(files, workdir)
        command += ["--resume"]
        if moment is None:
            codes.append(killed_after(command, number))
        else:
            codes.append(killed_at(command, moment, number))
            assert codes[-1] == -signal.SIGKILL, (moment, number)
        held = draws_of(workdir)
        assert held.shape[1] >= num_reported(workdir), (moment, number)
        np.testing.assert_array_equal(held, wanted[:, : held.shape[1]])
    assert codes.count(-signal.SIGKILL) >= 20, codes
    ended = ran([*by_bin_sample(files, workdir), "--resume"])
    assert ended.returncode == done, ended.stderr
    np.testing.assert_array_equal(draws_of(workdir), wanted)
    with (
        xr.open_datatree(workdir / "draws.nc", engine="h5netcdf") as found,
        xr.open_datatree(untouched / "draws.nc", engine="h5netcdf") as other,
    ):
        for name in ("posterior", "sample_stats"):
            xr.testing.assert_equal(found[name].dataset, other[name].dataset)
    assert json.loads((workdir / "run.json").read_text())["earlier_attempts"] >= 15
    assert not [*workdir.rglob("*.tmp")]


def test_two_processes_draw_as_one_and_the_first_tells_of_all(files, tmp_path):
    """Warm-up included: each chain has its own step size and metric."""
    given = {"num_chains": 4, "num_draws": 500}
    more = [f"--gin_param=nuts.sample.{name}={value}" for name, value in given.items()]
    one = ran([*by_bin_train(files, tmp_path / "one"), *more])
    two = subprocess.run(
        [*by_bin_train(files, tmp_path / "two"), *more, "--num_processes=2"],
        cwd=REPO,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert (two.returncode, one.returncode) == (0, 0), (two.stderr, one.stderr)
    with (
        xr.open_datatree(tmp_path / "one/draws.nc", engine="h5netcdf") as wanted,
        xr.open_datatree(tmp_path / "two/draws.nc", engine="h5netcdf") as found,
    ):
        assert found["posterior/x"].shape == (4, 500, 2)
        for name in ("posterior", "adaptation"):
            xr.testing.assert_allclose(
                found[name].dataset, wanted[name].dataset, rtol=1e-6
            )
        steps = found["sample_stats/n_steps"]
        np.testing.assert_array_equal(steps, wanted["sample_stats/n_steps"])
    assert not (tmp_path / "two/process1/draws.nc").exists()
    told = json.loads((tmp_path / "two/summary.json").read_text())
    assert told["chains"] == 4 and len(told["step_size"]) == 4
    shared = [*by_bin_train(files, tmp_path / "refused"), "--num_processes=2"]
    refused = ran([*shared, "--gin_param=nuts.sample.num_chains=8"])
    assert refused.returncode == 2 and "wanted False: processes share" in refused.stderr
