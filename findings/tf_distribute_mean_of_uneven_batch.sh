#!/usr/bin/env bash
# tf.distribute: reduce(MEAN) of losses weighs replicas, not examples.
#
# A last batch of 3 on 2 replicas is cut into 2 and 1. The mean of the replicas' means
# gives the single example the weight of two.
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
import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
values = np.float32([0.0, 0.0, 3.0])
dataset = tf.data.Dataset.from_tensor_slices(values).batch(3)


@tf.function
def mean(batch):
    local = strategy.run(tf.reduce_mean, args=(batch,))
    return strategy.reduce("MEAN", local, axis=None)


(batch,) = strategy.experimental_distribute_dataset(dataset)
found = float(mean(batch))
print(f"mean over replicas {found}, mean over examples {values.mean()}")
if found == values.mean():
    raise SystemExit("changed: examples are weighed alike")
PYTHON
