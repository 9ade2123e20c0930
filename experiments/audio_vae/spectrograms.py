"""Spectrograms: the level of each frequency over time."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.signal
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.records.media import Image

WINDOW = 256  # samples of a Hann window, which moves by a quarter of its length
FLOOR = -100.0  # dB, about the level of rounding to 16 bits; lower levels are cut
WIDTH, HEIGHT, DPI = 2.9, 2.7, 140  # inches of a panel; legible at 800 pixels


class Levels(NamedTuple):
    """A sound's level by frequency and time."""

    decibels: np.ndarray  # [frequencies, times]; 0 is a sine of full scale
    frequencies: np.ndarray  # [frequencies], in Hz
    seconds: np.ndarray  # [times], the middle of each window


def levels(samples: np.ndarray, rate: int) -> Levels:
    """The log magnitudes of the short-time Fourier transform.

    samples: [positions] of 16 bits.  A sound shorter than WINDOW has a window of its
    own length.  rate: samples per second.

    Raises ValueError for another shape, fewer than two samples, and NaN.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or len(samples) < 2:
        raise ValueError(
            f"samples: given shape {samples.shape}, wanted [positions], two or more"
        )
    if not np.isfinite(samples).all():
        raise ValueError("samples: given NaN or infinity, wanted numbers")
    size = min(WINDOW, len(samples))
    transform = scipy.signal.ShortTimeFFT(
        scipy.signal.windows.hann(size, sym=False),
        hop=max(1, size // 4),
        fs=rate,
        fft_mode="onesided2X",  # of a sine, half is at a negative frequency
        scale_to="magnitude",
    )
    magnitudes = np.abs(transform.stft(samples / 2**15))
    decibels = 20 * np.log10(np.maximum(magnitudes, 10 ** (FLOOR / 20)))
    return Levels(decibels, transform.f, transform.t(len(samples)))


def spectrograms(sounds: Mapping[str, np.ndarray], rate: int) -> Image:
    """Spectrograms side by side, each under its name, with one colour bar.

    sounds: [positions] samples of 16 bits by name: "original", "reconstruction".

    Raises ValueError for no sounds, and as `levels` does.
    """
    if not sounds:
        raise ValueError("sounds: given none, wanted at least one")
    figure = Figure(
        figsize=(WIDTH * len(sounds), HEIGHT), dpi=DPI, layout="constrained"
    )
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sounds), squeeze=False, sharey=True)[0]
    for axes, (name, samples) in zip(panels, sounds.items(), strict=True):
        level = levels(samples, rate)
        mesh = axes.pcolormesh(
            level.seconds,
            level.frequencies / 1000,
            level.decibels,
            vmin=FLOOR,
            vmax=0.0,
            shading="nearest",
            cmap="magma",
        )
        axes.set_xlim(0, len(samples) / rate)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("seconds", fontsize=10)
        axes.tick_params(labelsize=9)
    panels[0].set_ylabel("kHz", fontsize=10)
    bar = figure.colorbar(mesh, ax=panels)
    bar.set_label("dB of full scale", fontsize=10)
    bar.ax.tick_params(labelsize=9)
    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3].copy())
