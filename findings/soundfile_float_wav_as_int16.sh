#!/usr/bin/env bash
# soundfile: a float WAV read with dtype='int16' is not scaled.
#
# Integer files are scaled between widths, and a float read of an integer file is scaled to
# [-1, 1]. The other way round is a plain cast: a recording within [-1, 1] becomes zeros,
# without an error. Read floats and scale by 32767.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  soundfile==0.14.0 numpy==2.5.5
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(numpy|soundfile) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import io

import numpy as np
import soundfile

wave = np.float32([0.5, -0.5, 0.25, 0.99])
for subtype in ("FLOAT", "PCM_24"):
    file = io.BytesIO()
    soundfile.write(file, wave, 8000, format="WAV", subtype=subtype)
    file.seek(0)
    read, _ = soundfile.read(file, dtype="int16")
    print(f"{subtype} file read as int16:", read)
    if (np.abs(read).max() > 1) != (subtype == "PCM_24"):
        raise SystemExit("changed: scaling of a float file read as int16")
PYTHON
