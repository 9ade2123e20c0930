#!/usr/bin/env bash
# gin: a macro that holds @Class() makes a new object wherever it is read.
#
# OPTIMIZER = @Optimizer() reads like a variable. Two parameters bound to %OPTIMIZER get two
# objects, and each call of the function gets two more. @gin.singleton shares one.
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

gin.parse_config(
    HEAD
    + "OPTIMIZER = @model.Optimizer()\n"
    + "model.train.first = %OPTIMIZER\nmodel.train.second = %OPTIMIZER\n"
)
_, first, second = gin.get_configurable("model.train")()
print("the same object:", first is second)
if first is second:
    raise SystemExit("changed: a macro is evaluated once")
PYTHON
