#!/usr/bin/env bash
# gin: a misspelt macro is accepted in silence.
#
# A misspelt parameter or function is an error with its line. A misspelt macro on the left
# of an assignment defines another macro that nothing reads, so the default stays.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  gin-config==0.5.0
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(gin[-_]config) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import pathlib
import sys
import tempfile

folder = pathlib.Path(tempfile.mkdtemp())
(folder / "model.py").write_text(
    "class Optimizer: pass\n"
    "def train(rate=0.1, first=None, second=None): return rate, first, second\n"
)
sys.path.insert(0, str(folder))
import gin

HEAD = "from __gin__ import dynamic_registration\nimport model\n"

gin.parse_config(HEAD + "model.train.rate = %RATE\nRATE = 0.1\n")
gin.parse_config("RATES = 0.5\n")  # RATE was meant
rate, _, _ = gin.get_configurable("model.train")()
print("rate:", rate)
try:
    gin.parse_config(HEAD + "model.train.rates = 0.5\n")
except Exception as error:
    print("a misspelt parameter:", type(error).__name__)
else:
    raise SystemExit("changed: a misspelt parameter is accepted")
if rate != 0.1:
    raise SystemExit("changed: the misspelt macro had an effect")
PYTHON
