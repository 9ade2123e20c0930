#!/usr/bin/env bash
# TFP: the default bijectors of Wishart and LKJ do not match their densities.
#
# Wishart's reaches Cholesky diagonals above log 2 only. LKJ's log determinant counts a
# diagonal that cannot vary, which adds one half to the concentration. A sampler that uses
# the default bijector then draws from another distribution, without an error.
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


def grid(distribution, low, high):
    """Values and weights (density times spacing) over the unconstrained line."""
    bijector = distribution.experimental_default_event_space_bijector()
    x = tf.cast(tf.linspace(low, high, 200_001), tf.float32)[:, tf.newaxis]
    value = bijector.forward(x)
    log_det = bijector.forward_log_det_jacobian(x, event_ndims=1)
    weights = np.exp(distribution.log_prob(value) + log_det) * (high - low) / 200_000
    return value.numpy(), weights


value, weights = grid(tfd.WishartTriL(3.0, [[1.0]]), -30.0, 5.0)
print(f"Wishart(df = 3, scale 1): mass {weights.sum():.3f}, least value {value.min():.3f}")
if weights.sum() > 0.99:
    raise SystemExit("changed: the whole Wishart is reached")

value, weights = grid(tfd.LKJ(2, 1.0), -40.0, 40.0)
second_moment = (weights * value[:, 1, 0] ** 2).sum() / weights.sum()
print(f"LKJ(2, concentration 1): E[r^2] {second_moment:.4f}, exactly 1/3")
if abs(second_moment - 1 / 3) < 0.01:
    raise SystemExit("changed: LKJ has the right moments")
PYTHON
