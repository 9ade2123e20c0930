#!/usr/bin/env bash
# Pillow: resize with the BOX filter rounds columns and rows one after the other.
#
# Halving an image by resize(..., BOX) is not the rounded mean of each 2 x 2 block: a third
# of the pixels of a random image differ by 1. Image.reduce rounds once. Data sets made by
# either are therefore not the same, and neither are bits per dimension on them.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  pillow==13.0.0 numpy==2.5.5
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(numpy|pillow) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from PIL import Image

pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
exact = np.floor(pixels.reshape(32, 2, 32, 2).mean((1, 3)) + 0.5)
image = Image.fromarray(pixels)
resized = np.asarray(image.resize((32, 32), Image.Resampling.BOX))
reduced = np.asarray(image.reduce(2))
print(f"resize(BOX): {np.mean(resized != exact):.1%} of pixels differ from the mean")
print(f"reduce(2):   {np.mean(reduced != exact):.1%}")
if (resized == exact).all() or (reduced != exact).any():
    raise SystemExit("changed: resize or reduce rounds otherwise")
PYTHON
