"""A process of a benchmark: reads a task, runs it and writes the result.

    python -m experiments.bench.worker MODULE TASK.json RESULT.json

MODULE has `MODES`: by the task's mode, a function of the task that returns a result.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from experiments.bench.problems import Unavailable

MAX_REASON = 300  # characters
PEERS = ("jax", "flax", "optax", "numpyro", "blackjax", "nutpie")  # make peers


def run(module: str, task: dict[str, Any]) -> dict[str, Any]:
    """The result of the task's mode with status "ok"; or "skipped" or "failed"."""
    try:
        modes = importlib.import_module(module).MODES
        return {"status": "ok"} | modes[task["mode"]](task)
    except Unavailable as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in PEERS:
            reason = f"not installed: pip install {error.name} (make peers)"
            return {"status": "skipped", "reason": reason}
        traceback.print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"status": "failed", "reason": text[:MAX_REASON]}


def main(module: str, task_path: str, result_path: str) -> None:
    """Runs the task of one file and writes its result to another."""
    task = json.loads(Path(task_path).read_text())
    if task.get("cores"):  # before TensorFlow, imported in `run`, starts its threads
        os.sched_setaffinity(0, task["cores"])
    result = run(module, task)
    Path(result_path).write_text(json.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    # A normal exit would free TensorFlow's memory for a second, and a client of a
    # cluster whose other processes have ended may hang.
    os._exit(1 if result["status"] == "failed" else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
