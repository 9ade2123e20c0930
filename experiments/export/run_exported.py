"""Samples with the programs in this folder: it needs Python 3.12, NumPy and JAX only.

python run_exported.py --help
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    if sys.version_info < (3, 12):
        return f"python: given {sys.version.split()[0]}, wanted 3.12 or later"
    for name in ("numpy", "jax"):
        if importlib.util.find_spec(name) is None:
            return f"{name}: not installed, wanted it: pip install {name}"
    sys.path.insert(0, str(HERE / "runner"))
    before = os.environ.get("XLA_FLAGS")
    # It sets the options of XLA that the reference was drawn with.
    importlib.import_module("experiments.inference")
    # An option that an XLA does not know ends the process, so another one tries them.
    trial = "import jax; jax.jit(lambda x: x + 1)(1)"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    tried = subprocess.run(
        [sys.executable, "-c", trial], env=environment, capture_output=True
    )
    if tried.returncode:
        os.environ.pop("XLA_FLAGS", None)
        if before is not None:
            os.environ["XLA_FLAGS"] = before
        print(
            "XLA_FLAGS: this jaxlib does not know those of the export; going on without"
        )
    running = importlib.import_module("experiments.export.running")
    return running.main(HERE)


if __name__ == "__main__":
    problem = main()
    if isinstance(problem, str):
        print(f"run_exported: {problem}", file=sys.stderr)
        sys.exit(2)
    sys.exit(problem)
