#!/usr/bin/env bash
# PyMC: NUTS(step_scale=s) takes steps of s / dimensions**0.25.
#
# With adapt_step_size=False the number given is still not the leapfrog step: it is divided
# by the fourth root of the number of unconstrained values. In 256 dimensions 0.2 means
# 0.05. Comparing samplers at one step size needs the factor.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  pymc==6.4.0
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(pymc) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import pymc

warnings.simplefilter("ignore")
for size in (1, 16, 256):
    with pymc.Model():
        pymc.Normal("x", shape=size)
        step_size = pymc.NUTS(step_scale=0.2, adapt_step_size=False).step_size
    print(f"{size} dimensions: step_scale 0.2, step size {step_size:.3f}")
    if abs(step_size - 0.2 / size**0.25) > 1e-12:
        raise SystemExit("changed: the step size is another function of step_scale")
PYTHON
