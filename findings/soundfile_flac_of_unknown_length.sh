#!/usr/bin/env bash
# soundfile: a FLAC that does not state its number of samples cannot be read by read().
#
# RFC 9639 allows 0 in the header for an unknown number, as encoders write it whose output
# cannot be sought, such as a pipe. soundfile then reports 2**63 - 1 frames; read() tries to
# make an array of that size. Blocks of a given size can be read, to the end.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  soundfile==0.14.0 numpy==2.5.5
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(soundfile|numpy) '
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy
import soundfile

wave = numpy.sin(numpy.arange(8000) / 10.0)
soundfile.write("stated.flac", wave, 8000)
content = bytearray(open("stated.flac", "rb").read())
# STREAMINFO follows "fLaC" and 4 bytes; its last 4 bits of byte 13 and bytes 14 to 17 are
# the number of samples.
content[8 + 13] &= 0xF0
content[8 + 14 : 8 + 18] = bytes(4)
open("unknown.flac", "wb").write(content)

print("libsndfile", soundfile.__libsndfile_version__)
for name in ("stated.flac", "unknown.flac"):
    print(f"{name}: {soundfile.info(name).frames} frames")
try:
    samples, _ = soundfile.read("unknown.flac")
except Exception as error:
    print(f"read(): {type(error).__name__}: {error}")
else:
    raise SystemExit(f"changed: read() gives {len(samples)} samples")
with soundfile.SoundFile("unknown.flac") as file:
    first = file.read(5000)
print(f"read(5000): {len(first)} samples")
if soundfile.info("unknown.flac").frames != 2**63 - 1 or len(first) != 5000:
    raise SystemExit("changed: the number of frames, or the block, is another one")
PYTHON
