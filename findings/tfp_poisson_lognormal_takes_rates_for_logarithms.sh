#!/usr/bin/env bash
# TFP: PoissonLogNormalQuadratureCompound is of the wrong rate.
#
# Its rate should be LogNormal. Its default quadrature returns quantiles of the rate, and
# the class takes these for the rate's logarithm. So at a small scale the mean is
# exp(exp(loc)) instead of exp(loc), of draws and of the density.
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
import math

import numpy as np
import tensorflow_probability as tfp

law = tfp.distributions.PoissonLogNormalQuadratureCompound(loc=0.5, scale=1e-3)
counts = np.arange(100, dtype=np.float32)
mean = float(np.sum(counts * np.exp(law.log_prob(counts))))
print(f"mean by the density {mean:.3f}, of draws {np.mean(law.sample(10**4, seed=1)):.3f}")
print(f"exp(loc) {math.exp(0.5):.3f}, exp(exp(loc)) {math.exp(math.exp(0.5)):.3f}")
if abs(mean - math.exp(0.5)) < 0.1:
    raise SystemExit("changed: the rate is LogNormal")
PYTHON
