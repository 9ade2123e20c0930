#!/usr/bin/env bash
# ArviZ: the split R-hat of one chain is NaN, though it splits chains in halves.
#
# A chain that drifts shows it by its halves; summary, too, says NaN. Given as two chains,
# the same halves have an R-hat far above 1.01. A largest R-hat that skips NaN, as
# xarray's max does, then says nothing of the run.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  arviz-stats==1.3.3 numpy==2.5.5 scipy==1.18.1
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(arviz[-_]stats|numpy|scipy) '
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from arviz_stats.base import array_stats

chain = np.random.default_rng(0).normal(size=(1, 1000)) + np.linspace(-2, 2, 1000)
one = array_stats.rhat(chain)
two = array_stats.rhat(chain.reshape(2, 500))
size = array_stats.ess(chain, method="bulk")
print(f"one chain that drifts: R-hat {one}, bulk ESS {size:.0f}")
print(f"its halves as two chains: R-hat {two:.2f}")
if not np.isnan(one) or not two > 1.1 or np.isnan(size):
    raise SystemExit("changed: one chain has an R-hat")
PYTHON
