#!/usr/bin/env bash
# TFP: the gradients of Zipf's power and NoncentralChi2's df lack a term.
#
# The normaliser (zeta, or the Bessel function's order) is treated as a constant. Nothing
# is None and nothing is NaN: a sampler or optimizer follows a wrong gradient.
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

tfd = tfp.distributions


def both(log_prob, at, step):
    x = tf.constant(at, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = log_prob(x)
    difference = (log_prob(x + step) - log_prob(x - step)) / (2 * step)
    return float(tape.gradient(y, x)), float(difference)


three = tf.constant(3.0, tf.float64)
two = tf.constant(2.0, tf.float64)
for name, log_prob, at in (
    ("Zipf(power = 2) at 3", lambda power: tfd.Zipf(power).log_prob(three), 2.0),
    (
        "NoncentralChi2(df = 3, noncentrality = 2) at 3",
        lambda df: tfd.NoncentralChi2(df, two).log_prob(three),
        3.0,
    ),
):
    gradient, difference = both(log_prob, at, 1e-4)
    print(f"{name}: gradient {gradient:.4f}, finite difference {difference:.4f}")
    if abs(gradient - difference) < 0.05:
        raise SystemExit(f"changed: {name} has the right gradient")
PYTHON
