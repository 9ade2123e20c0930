"""Where a run came from: commit, versions, command and hardware, and nobody's name."""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]

PACKAGES = (
    "tensorflow tensorflow-probability tf-keras numpy scipy scikit-learn gin-config "
    "pystan httpstan pymc pytensor arviz keras jax jaxlib flax optax numpyro nutpie "
    "blackjax numba"
).split()

THREAD_VARIABLES = (
    "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS "
    "NUMBA_NUM_THREADS TF_NUM_INTRAOP_THREADS TF_NUM_INTEROP_THREADS "
    "TF_ENABLE_ONEDNN_OPTS TF_XLA_FLAGS XLA_FLAGS CUDA_VISIBLE_DEVICES"
).split()

_ABSOLUTE = re.compile(r"(?<![\w./~<])/[^\s'\"`=,;:()\[\]{}<>]+")


def collect(*, argv: Sequence[str], config: str) -> dict[str, Any]:
    """What a record keeps of its origin, as JSON can hold it.

    No host or user name and no path of the machine.  GPUs are named only when
    TensorFlow has been imported already.
    """
    return {
        **git_state(),
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "argv": [scrub(argument) for argument in argv],
        "versions": versions(),
        "hardware": hardware(),
        "threads": {
            name: scrub(os.environ[name])
            for name in THREAD_VARIABLES
            if name in os.environ
        },
    }


def git_state() -> dict[str, Any]:
    """The commit, and whether anything differs from it; None for both without git."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != REPO:  # a copy inside someone else's clone
        return {"commit": None, "dirty": None}
    changes = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "--verify", "HEAD"),
        "dirty": None if changes is None else bool(changes),
    }


def versions() -> dict[str, str]:
    """Python's version, and that of each main package installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """CPU, cores that this process may use, memory, system, and GPUs where known."""
    return {
        "cpu": cpu_model(),
        "cores": _cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "gpus": gpu_names(),
    }


def cpu_model() -> str:
    """The processor's name as its maker gives it; the architecture where unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def gpu_names() -> list[str] | None:
    """The GPUs that TensorFlow sees; None when it has not been imported."""
    tensorflow = sys.modules.get("tensorflow")  # asking must not import it
    if tensorflow is None:
        return None
    devices = tensorflow.config.list_physical_devices("GPU")
    details = tensorflow.config.experimental.get_device_details
    return [str(details(device).get("device_name", "GPU")) for device in devices]


def scrub(text: str) -> str:
    """`text` with no path of this machine: inside the repository relative, else cut.

    /anywhere/else/name becomes .../name.
    """
    text = re.sub(re.escape(str(REPO)) + r"(/|(?![\w.-]))", _in_repo, text)
    return _ABSOLUTE.sub(lambda path: ".../" + Path(path[0]).name, text)


def _in_repo(prefix: re.Match[str]) -> str:
    return "" if prefix[1] else "."


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
