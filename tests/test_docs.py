"""What the documentation shows is run."""

import re
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]


def test_the_readmes_program_runs_and_samples_eight_schools():
    text = (REPO / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    made = {}
    exec(compile(code, "README.md", "exec"), made)
    assert made["draws"].shape == (64, 500, 10)
    assert np.all(made["taus"] > 0)
    # The posterior mean of tau is 3.6 (long runs of Stan): 64 chains know it to 0.4.
    assert 1.6 < made["taus"].mean() < 6.0
