"""Trains the toy models on logical devices; prints, as JSON, what the tests compare.

A process of its own: the CPU can be split only before TensorFlow begins.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments import toy_models, training
from experiments.records import checkpoint, metrics
from experiments.training import optimizers, topology
from experiments.training.engine import StepSettings

MODELS = {
    "transformer": lambda: dict(
        model=toy_models.transformer(
            vocabulary=12,
            length=8,
            hidden=16,
            heads=4,
            filter_size=32,
            layers=2,
            dropout=0.2,
        ),
        examples=toy_models.token_lines(length=8, vocabulary=12),
    ),
    "vector_quantized": lambda: dict(
        model=toy_models.vector_quantized(size=8, channels=8, num_codes=8, code_dim=4),
        examples=toy_models.blob_images(size=8),
    ),
}


def train(name, folder, mesh, num_steps, *, resume=False):
    toy_models.train(
        run_dir=folder,
        seed=5,
        optimizer=optimizers.adam(optimizers.constant_schedule(0.01)),
        loop=training.LoopSettings(
            num_steps=num_steps, log_every=1, measure_peak=False
        ),
        step=StepSettings(clip_norm=1.0, ema_decay=0.9),
        batch_size=8,
        num_held_out=8,
        mesh=mesh,
        device_type="CPU",
        resume=resume,
        **MODELS[name](),
    )


def found(folder, step):
    events = metrics.read(folder / "metrics.jsonl")
    path = folder / "checkpoints" / f"step-{step:06d}"
    return {
        "losses": [e["loss"] for e in events if e["kind"] == "train"],
        "held_out": [e["loss"] for e in events if e["kind"] == "held_out"][-1],
        "arrays": checkpoint.load(path, metadata={}).arrays,
    }


def difference(one, two):
    """The largest of losses and variables, relative to their size."""
    losses = np.array([*one["losses"], one["held_out"]])
    others = np.array([*two["losses"], two["held_out"]])
    told = {"loss": float(np.max(np.abs(losses - others) / np.abs(losses)))}
    for kind in ("weights", "ema"):
        names = [name for name in one["arrays"] if name.startswith(kind)]
        told[kind] = max(
            float(np.max(np.abs(one["arrays"][n] - two["arrays"][n]))) for n in names
        )
    return told


def main():
    topology.local_devices(4, "CPU")
    told = {}
    with tempfile.TemporaryDirectory() as kept:
        for name in MODELS:
            first = Path(kept) / name / "batch:1"
            first.mkdir(parents=True)
            train(name, first, "batch:1", 6)
            base = found(first, 6)
            told[name] = {"losses": base["losses"], "meshes": {}}
            for pair in sys.argv[1:]:
                if name != "transformer" and pair != sys.argv[-1]:
                    continue
                before, _, after = pair.partition(" ")
                folder = Path(kept) / name / pair
                folder.mkdir()
                train(name, folder, before, 3)
                train(name, folder, after, 6, resume=True)
                told[name]["meshes"][pair] = difference(base, found(folder, 6))
    print("RESULT " + json.dumps(told))


if __name__ == "__main__":
    main()
