"""What pip makes of pyproject.toml."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The Python of an empty environment."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin/python"


def pip(python, *arguments):
    done = subprocess.run(
        [python, "-m", "pip", *arguments], capture_output=True, text=True
    )
    if (
        "Could not find a version" in done.stderr
        and "(from versions: none)" in done.stderr
    ):
        pytest.skip("no package registry is reached")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_editable_install_is_imported_from_any_folder(environment, tmp_path):
    pip(environment, "install", "--quiet", "--no-deps", "--editable", str(REPO))
    script = (
        "from importlib.util import find_spec; "
        "print(find_spec('ppl_core').origin, find_spec('experiments.nuts').origin)"
    )
    # Only experiments/__init__.py is imported, which needs no library.
    done = subprocess.run(
        [environment, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = ("ppl_core/__init__.py", "experiments/nuts/__init__.py")
    assert done.stdout.split() == [str(REPO / name) for name in names]


@pytest.mark.slow
def test_the_registry_has_the_tensorflow_that_the_tpu_extra_pins(environment):
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    (pin,) = project["optional-dependencies"]["tpu"]
    assert pin in (REPO / "docs/clusters.md").read_text()
    options = ("--dry-run", "--quiet", "--no-deps", "--report", "-")
    report = json.loads(pip(environment, "install", *options, pin))
    (package,) = report["install"]
    assert package["metadata"]["version"].startswith("2.20.")
    newer = subprocess.run(
        [environment, "-m", "pip", "install", *options, "tensorflow-tpu>=2.21"],
        capture_output=True,
        text=True,
    )
    assert newer.returncode, (
        "tensorflow-tpu follows TensorFlow now: pin the same version"
    )
