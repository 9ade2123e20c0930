#!/usr/bin/env bash
# TFP: forward(inverse(x)) gives x back, also where x is no value of the bijector.
#
# A bijector keeps the tensors that it has mapped. The round trip then returns the first
# tensor without computing, so it never shows that x lies outside the range: to check data
# by it, make a new tensor of the numbers in between.
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
import tensorflow as tf
import tensorflow_probability as tfp

tfb = tfp.bijectors
changed = False
for bijector, outside in [
    (tfb.Ascending(), tf.constant([1.0, 0.0, 2.0])),
    (tfb.Softplus(), tf.constant([-1.0])),
    (tfb.Exp(), tf.constant([-1.0])),
]:
    inverse = bijector.inverse(outside)
    kept = bijector.forward(inverse)
    computed = bijector.forward(tf.constant(inverse.numpy()))
    print(
        f"{type(bijector).__name__}: {outside.numpy()} -> {inverse.numpy()} -> "
        f"{kept.numpy()}, and computed {computed.numpy()}"
    )
    changed |= not bool(tf.reduce_all(kept == outside))
    changed |= not bool(tf.reduce_any(tf.math.is_nan(computed)))
if changed:
    raise SystemExit("changed: the round trip shows values outside the range")
PYTHON
