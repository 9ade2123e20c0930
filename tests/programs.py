"""Programs that tests start: `bin/train`, and scripts that tell what they found."""

import json
import multiprocessing
import multiprocessing.forkserver
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

REPO = Path(__file__).resolve().parents[1]
PRELOADED = (  # what takes a short run most of its time
    "experiments.cli.main",
    "experiments.bench",
    "experiments.datasets",
    "experiments.image_transformer",
    "experiments.nuts",
    "experiments.sample.nuts",
    "experiments.toy_models",
    "tensorflow_datasets",
)


def train_command(*configs, workdir, more=()):
    """The command of a short run; configs are names below configs/."""
    return [
        str(REPO / "bin" / "train"),
        *(f"--gin_config=configs/{name}.gin" for name in configs),
        "--gin_param=training.LoopSettings.measure_peak=False",
        f"--workdir={workdir}",
        "--seed=3",
        *more,
    ]


def claims_of(name, workdir):
    """The claims of configs/programs/NAME.gin, run in a new folder, by their texts."""
    command = ["bin/train", f"--gin_config=configs/programs/{name}.gin"]
    done = ran([*command, f"--workdir={workdir}", "--seed=3"])
    assert done.returncode == 0, done.stderr + done.stdout
    assert (workdir / "picture.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((workdir / "claims.json").read_text())
    assert all(claim["holds"] for claim in written["claims"])
    return {claim["text"]: claim["value"] for claim in written["claims"]}


def ran(command, seconds=300):
    """What a command of bin/train or bin/bench ends with and says.

    It runs in a process of its own, forked from one that has imported TensorFlow: as
    the stubs would run it, but for their few lines and the seconds that the import
    takes.  What is tested of a start, of signals and of several processes starts the
    stubs themselves.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = forks().Process(target=run_here, args=(command, out, err))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
        return subprocess.CompletedProcess(
            command, process.exitcode, out.read_text(), err.read_text()
        )


def forks():
    """Where processes are forked from one that has imported TensorFlow."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(list(PRELOADED))
    start = {"PYTHONPATH": str(REPO), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with mock.patch.dict(os.environ, start):
        multiprocessing.forkserver.ensure_running()
    return forks


def run_here(command, out, err):
    """Ends this process as the command of bin/train and so on ends."""
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.chdir(REPO)
    from experiments.cli import main

    main.run(Path(command[0]).name, command[1:])


def told_by(script, *arguments):
    """What a script prints as JSON behind the word RESULT, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=REPO,
        env={"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))
