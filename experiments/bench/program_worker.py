"""One program of the paper by bin/train, and what it claims."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from experiments.bench.subprocesses import REPO
from experiments.programs import claims

FINISHED = (0, 3)  # exit codes of a run that came to its end; of 3, a claim failed


def run_program(task: dict[str, Any]) -> dict[str, Any]:
    """Runs the task's config in its folder, over what is there.

    The result's seconds are those of the whole process.  Its check has the claims, and
    its work the facts.
    """
    folder = Path(task["folder"])
    command = [
        str(REPO / "bin" / "train"),
        f"--gin_config={task['config']}",
        f"--workdir={folder}",
        f"--seed={task['seed']}",
        "--overwrite",
    ]
    began = time.perf_counter()
    code = subprocess.run(command, cwd=REPO).returncode
    seconds = time.perf_counter() - began
    if code not in FINISHED:
        reason = f"exit code {code}"
        if (folder / "run.json").exists():
            why = json.loads((folder / "run.json").read_text()).get("reason")
            reason = f"{reason}: {why}" if why else reason
        return {"status": "failed", "reason": reason}
    for name in (claims.FILE, claims.PICTURE):
        if not (folder / name).exists():
            return {"status": "failed", "reason": f"no {name}, wanted one of each run"}
    written = json.loads((folder / claims.FILE).read_text())
    failed = [one["text"] for one in written["claims"] if not one["holds"]]
    return {
        "seconds": {"total": seconds},
        "work": {"facts": written["facts"]},
        "check": {
            "passed": not failed,
            "reason": "; ".join(failed),
            "claims": written["claims"],
        },
    }


MODES = {"run": run_program}
