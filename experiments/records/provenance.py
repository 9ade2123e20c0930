"""Where a run came from: commit, versions, command and hardware; no user names."""

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
    """The origin of a run, ready for JSON.

    It contains no host name, user name or path of the machine.  GPUs are listed only if
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
    """The commit, and whether the tree differs from it; None for both without git."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != REPO:  # a copy inside another clone
        return {"commit": None, "dirty": None}
    changes = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "--verify", "HEAD"),
        "dirty": None if changes is None else bool(changes),
    }


def versions() -> dict[str, str]:
    """The versions of Python and of each main package that is installed."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def hardware() -> dict[str, Any]:
    """CPU, cores available to this process, memory, system, and GPUs if known."""
    return {
        "cpu": cpu_model(),
        "cores": _cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "gpus": gpu_names(),
    }


def cpu_model() -> str:
    """The processor's model name; the architecture if that is unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def gpu_names() -> list[str] | None:
    """The GPUs that TensorFlow sees; None when it has not been imported."""
    tensorflow = sys.modules.get("tensorflow")  # do not import it for this
    if tensorflow is None:
        return None
    devices = tensorflow.config.list_physical_devices("GPU")
    details = tensorflow.config.experimental.get_device_details
    return [str(details(device).get("device_name", "GPU")) for device in devices]


def scrub(text: str) -> str:
    """`text` without paths of this machine.

    A path inside the repository becomes relative; /anywhere/else/name becomes .../name.
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
        result = subprocess.run(
            ["git", *arguments],
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
