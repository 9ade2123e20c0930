"""A run stopped on one mesh and resumed on another is the run of one device."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
PAIRS = ("batch:2 batch:1", "batch:1 batch:2,model:2")  # three steps on each


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("on_meshes.py")), *PAIRS],
        cwd=REPO,
        env={"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


@pytest.mark.parametrize(
    ("model", "pair"),
    [*(("transformer", pair) for pair in PAIRS), ("vector_quantized", PAIRS[-1])],
)
def test_losses_and_weights_are_those_of_one_device(told, model, pair):
    difference = told[model]["meshes"][pair]
    assert difference["loss"] < 1e-5
    assert max(difference["weights"], difference["ema"]) < 1e-4


@pytest.mark.parametrize("model", ["transformer", "vector_quantized"])
def test_the_steps_differ_enough_to_show_a_mistake(told, model):
    losses = told[model]["losses"]
    assert min(abs(a - b) / a for a, b in zip(losses, losses[1:], strict=False)) > 1e-4
