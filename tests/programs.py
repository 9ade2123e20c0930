"""Programs that tests start: `bin/train`, and scripts that tell what they found."""

import json
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def train_command(*configs, workdir, more=()):
    """The command of a short run; configs are names below configs/."""
    return [
        str(REPO / "bin" / "train"),
        *(f"--gin_config=configs/{name}.gin" for name in configs),
        "--gin_param=optimize.LoopSettings.measure_peak=False",
        f"--workdir={workdir}",
        "--seed=3",
        *more,
    ]


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
