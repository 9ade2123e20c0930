#!/usr/bin/env bash
# TensorFlow: global_norm of an embedding's gradient does not add repeated rows.
#
# The gradient of a gather is IndexedSlices with one slice per look-up. global_norm, and
# so clip_by_global_norm, squares the slices one by one, although slices of the same row
# are later added. The reported norm is too small (or too large when they cancel).
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow==2.21.0
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(tensorflow) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import tensorflow as tf

table = tf.Variable(tf.ones([4, 2]))
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.gather(table, [1, 1, 1, 1]))
slices = tape.gradient(loss, table)
reported = float(tf.linalg.global_norm([slices]))
applied = float(tf.norm(tf.convert_to_tensor(slices)))
print(f"{type(slices).__name__}: global_norm {reported:.3f}, applied norm {applied:.3f}")
if abs(reported - applied) < 1e-3:
    raise SystemExit("changed: repeated rows are added first")
PYTHON
