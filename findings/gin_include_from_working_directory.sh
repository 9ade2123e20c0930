#!/usr/bin/env bash
# gin: include looks in the working directory, not beside the including file.
#
# A miss does not say that a file is missing: it ends in an AttributeError about importlib,
# or in a TypeError once importlib.util has been imported.
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

import contextlib

(folder / "base.gin").write_text(HEAD + "model.train.rate = 0.5\n")
(folder / "top.gin").write_text("include 'base.gin'\n")
elsewhere = tempfile.mkdtemp()
with contextlib.chdir(elsewhere):
    try:
        gin.parse_config_file(str(folder / "top.gin"))
    except Exception as error:
        print("from elsewhere:", type(error).__name__, str(error).splitlines()[0])
        if "base.gin" in str(error).splitlines()[0]:
            raise SystemExit("changed: the error names the file")
    else:
        raise SystemExit("changed: the file beside is found")
gin.clear_config()
with contextlib.chdir(folder):
    gin.parse_config_file(str(folder / "top.gin"))
print("from its own folder:", gin.get_configurable("model.train")()[0])
PYTHON
