#!/usr/bin/env bash
# TensorFlow: exp of a number depends on how many numbers the vector has.
#
# On CPUs, whole packets go through a vectorised exp and the rest of the vector through
# the C library's, and the two differ in the last bit of some float64 results. So a batch
# of one is not a batch of four, where nothing else couples the rows; log is the same.
# XLA's exp and NumPy's do not depend on the length. sqrt is exact everywhere.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(tensorflow|numpy) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import tensorflow as tf

x = np.random.default_rng(0).uniform(0.5, 3.0, 1000)
functions = {
    "tf.exp": tf.exp,
    "tf.math.log": tf.math.log,
    "tf.sqrt": tf.sqrt,
    "tf.exp, XLA": tf.function(tf.exp, jit_compile=True),
    "np.exp": np.exp,
}
differ = {}
for name, fn in functions.items():
    together = np.asarray(fn(tf.constant(x) if "tf" in name else x))
    alone = [np.asarray(fn(tf.constant([v]) if "tf" in name else np.array([v]))) for v in x]
    alone = np.concatenate(alone)
    differ[name] = np.mean(alone != together)
    worst = np.max(np.abs(alone / together - 1))
    print(f"{name}: {differ[name]:.0%} differ alone and among 1,000, by {worst:.0e}")
changed = [differ["tf.exp"] == 0, differ["tf.math.log"] == 0, differ["tf.sqrt"] > 0]
if any(changed) or differ["tf.exp, XLA"] > 0 or differ["np.exp"] > 0:
    raise SystemExit("changed: other functions depend on the vector's length")
PYTHON
