#!/usr/bin/env bash
# TFP: FlatDirichlet has one float32 log prob, however many values it is given.
#
# Two values in float64 should have two log probs, log Gamma(3) each. The sum over a
# sample therefore counts one value only.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow==2.21.0 tensorflow-probability==0.25.0 tf-keras==2.21.0
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(tensorflow|tensorflow[-_]probability|tf[-_]keras) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import tensorflow_probability as tfp

values = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
law = tfp.distributions.FlatDirichlet([3], dtype=np.float64)
log_prob = law.log_prob(values)
print(f"values {values.shape} {values.dtype}: log prob {log_prob.shape} {log_prob.dtype}")
if log_prob.shape == (2,):
    raise SystemExit("changed: each value has a log prob")
PYTHON
