"""bin/train on the real data, as a person runs it: real processes, real files."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.programs import ran

REPO = Path(__file__).resolve().parents[3]
COMMAND = [
    str(REPO / "bin" / "train"),
    "--gin_config=configs/nuts/covertype.gin",
    "--gin_config=configs/nuts/tiny.gin",
]


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "run"
    return folder, ran([*COMMAND, f"--workdir={folder}", "--seed=3"])


def test_the_tiny_config_runs_to_its_end_and_leaves_everything(done):
    folder, ended = done
    assert ended.returncode == 0, ended.stderr
    wanted = "config.gin operative.gin provenance.json run.json metrics.jsonl"
    wanted = {*wanted.split(), "summary.csv", "summary.json", "draws/000000.npz"}
    assert wanted <= files(folder)
    assert any(name.startswith("tensorboard/") for name in files(folder))
    assert json.loads((folder / "run.json").read_text())["status"] == "done"


def test_the_terminal_tells_the_energy_error_and_plain_lines_of_progress(done):
    _, ended = done
    assert "energy error over 100 leapfrogs" in ended.stdout
    assert "draws: 3 of 3" in ended.stderr
    assert "\r" not in ended.stderr


@pytest.mark.slow
def test_two_processes_of_two_devices_draw_as_one_and_the_first_tells_of_all(
    done, tmp_path
):
    folder = tmp_path / "run"
    command = [*COMMAND, f"--workdir={folder}", "--seed=3", "--num_processes=2"]
    command += ["--gin_param=inference.SamplerSettings.num_chains=2"]
    command += ["--gin_param=nuts.sample.num_devices=2"]
    ended = subprocess.run(
        command,
        cwd=REPO,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    first, second = saved_draws(folder), saved_draws(folder / "process1")
    # Chain 0, among one or among two, on one device or on two.
    np.testing.assert_allclose(first, saved_draws(done[0]), rtol=1e-4, atol=1e-5)
    assert first.shape == second.shape and not np.allclose(first, second)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["chains"] == 2
    chunks = [folder / "draws/000000.npz", folder / "process1/draws/000000.npz"]
    leapfrogs = sum(int(np.load(path)["leapfrogs"].sum()) for path in chunks)
    assert summary["leapfrogs"] == leapfrogs
    assert json.loads((folder / "run.json").read_text())["status"] == "done"


def test_a_finished_run_is_not_written_over(done):
    folder, _ = done
    before = files(folder)
    again = ran([*COMMAND, f"--workdir={folder}"])
    assert again.returncode == 2
    assert "finished" in again.stderr and "--overwrite" in again.stderr
    assert files(folder) == before


def saved_draws(folder):
    parts = [np.load(path) for path in sorted((folder / "draws").glob("*.npz"))]
    return np.concatenate([part["draws"] for part in parts], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_keeps_all_that_it_reported(tmp_path, signum):
    folder = tmp_path / "run"
    endless = "--gin_param=inference.SamplerSettings.num_results=100000"
    command = [*COMMAND, endless, f"--workdir={folder}"]
    with subprocess.Popen(
        command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        metrics = folder / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not (metrics.exists() and metrics.read_text().count('"draws"') >= 3):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signum)
        code = process.wait(60)
    lines = [line for line in metrics.read_text().split("\n")[:-1]]
    reported = [json.loads(line)["step"] for line in lines if '"draws"' in line]
    assert saved_draws(folder).shape[1] >= reported[-1] > 0
    told = json.loads((folder / "run.json").read_text())
    if signum == signal.SIGINT:
        assert code == 75 and told["status"] == "interrupted"
    else:
        assert code == -signal.SIGKILL and told["status"] == "running"
