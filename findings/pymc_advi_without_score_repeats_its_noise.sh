#!/usr/bin/env bash
# PyMC: ADVI.fit(score=False) uses the same random numbers at every step.
#
# score=False only promises to leave out the loss. Without the loss the step returns
# nothing that depends on the random numbers, so their state is never updated: every step
# has the same noise. The fit goes on without a warning; the standard deviation of a guide
# to a standard normal variable does not become 1.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  pymc==6.4.0
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(pymc|pytensor) '
export TMPDIR=$folder PYTENSOR_FLAGS=base_compiledir=$folder/pytensor
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy
import pymc

warnings.simplefilter("ignore")


def deviation(score, seed):
    """Of the guide, after a fit to a standard normal variable."""
    with pymc.Model():
        pymc.Normal("x")
        guide = pymc.ADVI(random_seed=seed)
        guide.fit(
            5000,
            score=score,
            obj_optimizer=pymc.adam(learning_rate=0.01),
            progressbar=False,
        )
    return float(numpy.ravel(guide.approx.std.eval())[0])


found = {score: [deviation(score, seed) for seed in (1, 2)] for score in (True, False)}
for score, deviations in found.items():
    one, two = deviations
    print(f"score={score}: deviation {one:.4g} with seed 1, {two:.4g} with seed 2")
if not all(0.8 < value < 1.25 for value in found[True]):
    raise SystemExit("changed: with the score the deviation is not about 1")
if any(0.8 < value < 1.25 for value in found[False]):
    raise SystemExit("changed: without the score the deviation is about 1")
PYTHON
