"""What is run: the audio VAE trained on clips, judged, sampled from and listened to."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.audio_vae import network, program, sampling
from experiments.audio_vae.flac import flac
from experiments.audio_vae.network import Sizes
from experiments.audio_vae.spectrograms import spectrograms
from experiments.cluster import processes
from experiments.datasets.audio import (
    Audio,
    held_out_batches,
    num_judged,
    training_batches,
)
from experiments.engines import selection
from experiments.records import media
from experiments.training import loop as optimize
from experiments.training import train_step
from experiments.training.engine import StepSettings
from experiments.training.model import num_parameters
from experiments.training.optimizers import Optimizer
from experiments.training.topology import parse


def train(
    *,
    run_dir: Path,
    seed: int,
    sizes: Sizes,
    audio: Audio,
    optimizer: Optimizer,
    loop: optimize.LoopSettings,
    step: StepSettings,
    batch_size: int,
    num_held_out: int | None = None,
    num_samples: int = 2,
    mesh: str = "batch:1",
    device_type: str | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Trains the model; with `resume`, from the newest checkpoint in `run_dir`.

    Bits per sample, `bits_per_dim` in what is written, are of clips held out: a bound
    from above, the latents' bits in it.

    batch_size: clips of all devices and processes together.
    num_held_out: clips to judge by, in whole batches; None: all of those held out that
      make whole batches.
    num_samples: clips drawn at every evaluation, and as many held-out ones drawn anew
      from their latents; 0: none.
    mesh: "batch:2" cuts the batch over devices; "core:17" gives each core of the
      model's virtual topology a device, and "batch:2,core:17" has two of those.
    device_type: "TPU", "GPU" or "CPU"; None: the first of these that the machine has.

    In `run_dir` come checkpoints/, metrics.jsonl, media/ with WAV files and their
    spectrograms, TensorBoard events with both, and summary.json, which is also what
    comes back.

    Raises ValueError for what the machine, the model or the clips cannot do, before any
    work; `optimize.NotFinite` and `CheckpointError` as `optimize.train` does.
    Tran et al. (2018), section 2.2 and figures 3 and 4.
    """
    process = processes.current()
    topology = parse(mesh)
    if sizes.length != audio.length:
        raise ValueError(
            f"sizes: a model of {sizes.length} samples, wanted the {audio.length} of "
            f"{audio.name}"
        )
    if num_samples < 0:
        raise ValueError(f"num_samples: given {num_samples}, wanted 0 or more")
    model, num_traces = optimize.count_traces(program.model(sizes))
    train_step.check_batch_size(batch_size, topology, step.num_microbatches)
    data = optimize.shared_data(
        audio.name,
        batch_size,
        training=functools.partial(training_batches, audio, seed=seed),
        held_out=functools.partial(held_out_batches, audio),
        num_held_out=num_judged(audio, batch_size, num_held_out),
    )
    runtime = selection.make_engine(
        model,
        optimizer,
        topology,
        step,
        device_type=device_type,
        placement=network.placement(sizes),
    )
    # From here on TensorFlow may begin: the runtime has said on which devices.
    writes = process.index == 0
    about = {
        "model": model.name,
        "audio": audio.name,
        "source": audio.source,
        "num_held_out_clips": data.num_held_out * batch_size,
        "topology": str(topology),
    }
    show = None
    if writes and num_samples:
        show = _show(sizes, audio, seed, num_samples)
    if writes and data.num_held_out:
        about["flac_bits_per_sample"] = _flac_bits(audio, batch_size, data.num_held_out)
    if writes:
        print(
            f"{model.name}: {num_parameters(model):,} parameters\n"
            f"{audio.source}\n"
            f"{topology}, {batch_size} clips a step, judged by "
            f"{data.num_held_out * batch_size} clips held out",
            flush=True,
        )
    return optimize.run(
        runtime,
        data,
        run_dir=run_dir,
        seed=seed,
        settings=loop,
        about=about,
        resume=resume,
        num_traces=num_traces,
        show=show,
    )


def _flac_bits(audio: Audio, batch_size: int, num_batches: int) -> float:
    """What FLAC makes of the clips held out, in whichever way it takes the least."""
    batch = held_out_batches(audio, batch_size=batch_size)
    clips = [batch(number)["audio"] for number in range(num_batches)]
    return min(flac(np.concatenate(clips), audio.rate))


def _show(
    sizes: Sizes, audio: Audio, seed: int, num_samples: int
) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """What weights make: clips drawn, and held-out ones drawn anew of their latents.

    The same seed and the same clips at every evaluation, so that they compare.
    """
    originals = held_out_batches(audio, batch_size=num_samples)(0)["audio"]
    drawing_seed = train_step.step_seed(seed, 0)

    def show(weights: dict[str, np.ndarray]) -> dict[str, Any]:
        held = {name: tf.constant(array) for name, array in weights.items()}
        drawn = sampling.sample(held, sizes, drawing_seed, num_samples)
        anew = sampling.reconstruct(held, sizes, drawing_seed, originals)
        shown: dict[str, Any] = {}
        for number in range(num_samples):
            sounds = {
                "sample": drawn[number],
                "original": originals[number],
                "reconstruction": anew[number],
            }
            for name, samples in sounds.items():
                shown[f"{name}{number}"] = media.Audio(
                    samples / program.FULL_SCALE, audio.rate
                )
            shown[f"spectrograms{number}"] = spectrograms(sounds, audio.rate)
        return shown

    return show
