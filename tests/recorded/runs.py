"""Short runs whose numbers were recorded on 2026-11-28, before the code was moved.

`python -m tests.recorded.runs FILE` writes the numbers of the code as it is.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments import audio_vae, datasets, image_transformer, nuts, toy_models, vq_vae
from experiments.inference import SamplerSettings
from experiments.records import metrics
from experiments.training import optimizers
from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings


def nuts_draws(folder):
    """Every draw of two chains, as the bytes of float32."""
    nuts.sample(
        run_dir=folder,
        seed=5,
        problem=datasets.load_covertype(num_rows=2000),
        settings=SamplerSettings(
            step_size=0.02, max_depth=6, num_results=12, num_chains=2
        ),
        chunk_size=5,
    )
    parts = [np.load(path)["draws"] for path in sorted(folder.glob("draws/*.npz"))]
    return np.concatenate(parts, axis=1).astype(np.float64).tolist()


def curve(folder):
    """Losses in training, and the bits per dimension of what is held out."""
    events = list(metrics.read(folder / "metrics.jsonl"))
    losses = [event["loss"] for event in events if event["kind"] == "train"]
    held_out = [
        event["bits_per_dim"] for event in events if event["kind"] == "held_out"
    ]
    return {"loss": losses, "held_out": held_out}


def common(optimizer, **step):
    return {
        "seed": 5,
        "optimizer": optimizer,
        "loop": LoopSettings(num_steps=6, log_every=1, measure_peak=False),
        "step": StepSettings(**step),
    }


def image_transformer_curve(folder):
    image_transformer.train(
        run_dir=folder,
        sizes=image_transformer.Sizes(
            height=8,
            width=8,
            layers=1,
            heads=2,
            hidden=16,
            key_size=8,
            value_size=8,
            filter_size=16,
            block=16,
            likelihood="dmol",
        ),
        images=datasets.natural_image_crops(size=8, flip=False),
        batch_size=4,
        num_held_out=8,
        num_samples=0,
        **common(optimizers.adam(optimizers.constant_schedule(0.003)), ema_decay=0.9),
    )
    return curve(folder)


def vq_vae_curve(folder):
    vq_vae.train(
        run_dir=folder,
        sizes=vq_vae.Sizes(
            size=8,
            channels=6,
            strides=(2, 2),
            residual_layers=(0, 1),
            kernel_size=3,
            codes_per_position=2,
            num_mixtures=2,
            prior_start=2,
            prior_layers=1,
            prior_heads=2,
            prior_hidden=8,
            prior_filter_size=8,
            prior_block=4,
        ),
        codebook=vq_vae.Codebook(num_codes=8, code_dim=4, num_samples=2),
        images=datasets.natural_image_crops(size=8, flip=False),
        batch_size=8,
        num_held_out=16,
        num_samples=0,
        **common(optimizers.adam(optimizers.constant_schedule(0.003)), ema_decay=0.5),
    )
    return curve(folder)


def audio_vae_curve(folder):
    audio_vae.train(
        run_dir=folder,
        sizes=audio_vae.Sizes(
            length=64,
            num_flows=2,
            num_splits=2,
            block_size=4,
            context_blocks=2,
            channels=6,
            context_channels=5,
            prior_channels=4,
            prior_context_channels=3,
            compressor_channels=6,
            refit_every=8,
            linear_predictors=((4, 0.6), (6, 0.8)),
        ),
        audio=datasets.synthetic_tones(length=64),
        batch_size=4,
        num_held_out=8,
        num_samples=0,
        **common(optimizers.adam(optimizers.constant_schedule(0.003)), clip_norm=1.0),
    )
    return curve(folder)


def toy_transformer_curve(folder):
    sizes = {"vocabulary": 16, "length": 8}
    toy_models.train(
        run_dir=folder,
        model=toy_models.transformer(
            **sizes, hidden=16, heads=2, filter_size=16, layers=1, dropout=0.1
        ),
        examples=toy_models.token_lines(**sizes),
        batch_size=8,
        num_held_out=16,
        **common(optimizers.adafactor(optimizers.constant_schedule(0.01))),
    )
    return curve(folder)


RUNS = {
    "nuts": nuts_draws,
    "image_transformer": image_transformer_curve,
    "vq_vae": vq_vae_curve,
    "audio_vae": audio_vae_curve,
    "toy_transformer": toy_transformer_curve,
}


def main(path):
    found = {}
    for name, run in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = run(Path(folder))
    path.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
