"""Trains the model on logical devices; prints, as JSON, each mesh's losses.

A process of its own: the CPU can be split only before TensorFlow begins.
"""

import json
import sys

import numpy as np

from experiments.engines import selection
from experiments.image_transformer import image_transformer
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings

SIZES = dict(
    height=4,
    width=5,
    layers=2,
    heads=4,
    hidden=16,
    key_size=8,
    value_size=8,
    filter_size=12,
    block=7,
    dropout=0.2,
)


def main():
    topology.local_devices(2, "CPU")
    images = np.random.default_rng(0).integers(256, size=(4, 4, 5, 3)).astype(np.int32)
    told = {}
    for likelihood in ("categorical", "dmol"):
        model = image_transformer(likelihood=likelihood, **SIZES)
        for mesh in sys.argv[1:]:
            runtime = selection.make_engine(
                model,
                optimizers.adam(optimizers.constant_schedule(0.01)),
                topology.parse(mesh),
                StepSettings(),
                device_type="CPU",
            )
            runtime.initialize(0)
            losses = [
                float(runtime.step({"image": images}, number, 1)["loss"])
                for number in range(4)
            ]
            told[f"{likelihood} {mesh}"] = losses
    print("RESULT " + json.dumps(told))


if __name__ == "__main__":
    main()
