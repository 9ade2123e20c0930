"""What the documentation shows is run."""

import re
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]


def test_the_readmes_program_runs_and_samples_eight_schools():
    text = (REPO / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    made = {}
    exec(compile(code, "README.md", "exec"), made)
    theta, tau = made["draws"]["theta"].numpy(), made["draws"]["tau"].numpy()
    assert theta.shape == (64, 8) and tau.shape == (64,) and np.all(tau > 0)
    # The posterior mean of tau is 3.6 (long runs of Stan): 64 chains know it to 0.4.
    assert 1.6 < tau.mean() < 6.0
