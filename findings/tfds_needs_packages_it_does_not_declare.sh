#!/usr/bin/env bash
# TensorFlow Datasets: preparing needs a package it does not declare.
#
# After pip install tensorflow-datasets, import works. Preparing a data set of one's own
# imports importlib_resources, which no dependency brings on a recent Python.
#
# Needs Python 3.12 or 3.13 (PYTHON names another one). Fails when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow-datasets==4.9.10 tensorflow==2.21.0
"$folder/venv/bin/pip" list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(tensorflow|tensorflow[-_]datasets) '
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 TMPDIR=$folder
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import tempfile

import numpy as np
import tensorflow_datasets as tfds


class Numbers(tfds.core.GeneratorBasedBuilder):
    """Three numbers."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"x": tfds.features.Scalar(np.int64)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield from ((number, {"x": number}) for number in range(3))


try:
    Numbers(data_dir=tempfile.mkdtemp()).download_and_prepare()
except ModuleNotFoundError as error:
    print("preparing:", error)
else:
    raise SystemExit("changed: nothing undeclared is needed")
PYTHON
