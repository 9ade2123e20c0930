#!/usr/bin/env bash
# TFP: Bernoulli makes float32 of a float64 NumPy array; Normal and Gamma do not.
#
# The log prob of such a Bernoulli is float32, without an error or a warning. Added to the
# float64 terms of the same model it costs half of their digits, or raises far away. A
# tensor of float64 keeps its dtype.
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
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions
number = np.array(0.3)
log_probs = {
    "Normal": tfd.Normal(number, 1.0).log_prob(1.0),
    "Gamma": tfd.Gamma(number, 1.0).log_prob(1.0),
    "Bernoulli": tfd.Bernoulli(probs=number).log_prob(1),
    "Bernoulli of a tensor": tfd.Bernoulli(probs=tf.constant(number)).log_prob(1),
}
for name, log_prob in log_probs.items():
    error = abs(float(log_prob) - np.log(0.3)) if "Bernoulli" in name else 0.0
    print(f"{name}: {log_prob.dtype.name}, error {error:.1e}")
dtypes = [log_prob.dtype.name for log_prob in log_probs.values()]
if dtypes != ["float64", "float64", "float32", "float64"]:
    raise SystemExit("changed: float64 arrays have another dtype")
PYTHON
