"""The experiment: train an audio VAE on clips, evaluate it, sample from it."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import training
from experiments.audio_vae import network, program, sampling
from experiments.audio_vae.flac import flac
from experiments.audio_vae.network import Sizes
from experiments.audio_vae.spectrograms import spectrograms
from experiments.datasets.audio import (
    Audio,
    held_out_batches,
    num_held_out_batches,
    training_batches,
)
from experiments.engines.experiment import experiment
from experiments.records import media
from experiments.training import train_step
from experiments.training.checks import check_count, check_memory


@experiment
def train(
    *,
    seed: int,
    sizes: Sizes,
    audio: Audio,
    batch_size: int,
    num_held_out: int | None = None,
    num_samples: int = 2,
) -> training.Task:
    """Trains an audio VAE; returns the summary.

    Bits per sample, written as `bits_per_dim`, are of held-out clips: an upper bound
    that includes the bits of the latents.

    num_held_out: clips that evaluation uses, in whole batches; None: all that make
      whole batches.
    num_samples: clips sampled, and held-out clips reconstructed from their latents, at
      every evaluation; 0: none.

    The other arguments, and what is written, are those of `engines.experiment.run`.
    Mesh "core:17" gives each core of the model's virtual topology a device, and
    "batch:2,core:17" has two copies of it.  Tran et al. (2018), section 2.2 and figures
    3 and 4.
    """
    if sizes.length != audio.length:
        raise ValueError(
            f"sizes: a model of {sizes.length} samples, wanted the {audio.length} of "
            f"{audio.name}"
        )
    check_count("num_samples", num_samples, minimum=0)
    check_memory("num_samples", num_samples, 4 * audio.length)
    data = training.process_data(
        audio.name,
        batch_size,
        training=functools.partial(training_batches, audio, seed=seed),
        held_out=functools.partial(held_out_batches, audio),
        num_held_out_batches=num_held_out_batches(audio, batch_size, num_held_out),
    )
    show = functools.partial(_show, sizes, audio, seed, num_samples)
    return training.Task(
        model=program.model(sizes),
        data=data,
        source=audio.source,
        left_out=audio.left_out,
        data_kind="audio",
        unit="clips",
        placement=network.placement(sizes),
        reference_bits=functools.partial(
            _reference_bits, audio, batch_size, data.num_held_out_batches
        ),
        make_show=lambda: show() if num_samples else None,
        num_shown=num_samples,
    )


def _reference_bits(
    audio: Audio, batch_size: int, num_batches: int
) -> dict[str, float]:
    """Bits per sample of the held-out clips as FLAC, by its best way to store them."""
    if not num_batches:
        return {}
    batch = held_out_batches(audio, batch_size=batch_size)
    clips = [batch(index)["audio"] for index in range(num_batches)]
    return {"flac_bits_per_sample": min(flac(np.concatenate(clips), audio.rate))}


def _show(sizes: Sizes, audio: Audio, seed: int, num_samples: int) -> training.Show:
    """Sampled clips, and held-out clips with their reconstructions.

    Every evaluation uses the same seed and clips.
    """
    originals = held_out_batches(audio, batch_size=num_samples)(0)["audio"]
    sample_seed = train_step.step_seed(seed, 0)

    def show(weights: dict[str, np.ndarray]) -> dict[str, Any]:
        tensors = {name: tf.constant(array) for name, array in weights.items()}
        sampled = sampling.sample(tensors, sizes, sample_seed, num_samples)
        reconstructed = sampling.reconstruct(tensors, sizes, sample_seed, originals)
        shown: dict[str, Any] = {}
        for index in range(num_samples):
            sounds = {
                "original": originals[index],
                "reconstruction": reconstructed[index],
                "sample": sampled[index],
            }
            for name, samples in sounds.items():
                shown[f"{name}{index}"] = media.Audio(
                    samples / program.FULL_SCALE, audio.rate
                )
            shown[f"spectrograms{index}"] = spectrograms(sounds, audio.rate)
        return shown

    return show
