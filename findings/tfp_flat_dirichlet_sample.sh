#!/usr/bin/env bash
# TFP: FlatDirichlet cannot be sampled with NumPy 2.4 or later.
#
# log_prob works, so a model with this prior passes every density check; drawing from it
# raises a ValueError. Dirichlet with a concentration of ones draws from the same law.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow==2.21.0 tensorflow-probability==0.25.0 tf-keras==2.21.0 numpy==2.5.5
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(numpy|tensorflow|tensorflow[-_]probability|tf[-_]keras) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import tensorflow_probability as tfp

tfd = tfp.distributions
print("log_prob:", tfd.FlatDirichlet([3]).log_prob([0.2, 0.3, 0.5]).numpy())
print("Dirichlet of ones:", tfd.Dirichlet([1.0, 1.0, 1.0]).sample(seed=(0, 1)).numpy())
try:
    tfd.FlatDirichlet([3]).sample(2, seed=(0, 1))
except ValueError as error:
    print("FlatDirichlet.sample:", type(error).__name__, error)
else:
    raise SystemExit("changed: FlatDirichlet can be sampled")
PYTHON
