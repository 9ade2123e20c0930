#!/usr/bin/env bash
# DTensor: a stateless random op gives other numbers when its layout is sharded.
#
# DTensor promises the result of one device whatever the layout. Elementwise ops, matmul
# and reductions keep that promise; tf.random.stateless_uniform does not. So dropout, or
# a sampler, changes with the mesh. Draw replicated and relayout, or use a counter.
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
from tensorflow.experimental import dtensor

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
mesh = dtensor.create_mesh([("batch", 2)], devices=["CPU:0", "CPU:1"])
replicated = dtensor.Layout.replicated(mesh, rank=1)


def numbers(layout):
    draw = tf.function(lambda: tf.random.stateless_uniform([4], seed=[1, 2]))
    value = dtensor.relayout(dtensor.call_with_layout(draw, layout), replicated)
    return dtensor.unpack(value)[0].numpy()


alone = tf.random.stateless_uniform([4], seed=[1, 2]).numpy()
whole, sharded = numbers(replicated), numbers(dtensor.Layout(["batch"], mesh))
print("one device:", alone)
print("replicated:", whole)
print("sharded:   ", sharded)
if (whole != alone).any() or (sharded == alone).all():
    raise SystemExit("changed: layouts agree, or the replicated one does not")
PYTHON
