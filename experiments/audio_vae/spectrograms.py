"""Pictures of sounds: how loud each frequency is at each moment."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.signal
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.records.media import Image

WINDOW = 256  # samples, of a Hann window that moves on by a quarter of itself
QUIETEST = -100.0  # dB, as loud as a rounding to 16 bits is; what is below is drawn so
WIDTH, HEIGHT, DPI = 3.6, 2.4, 80  # inches of a panel


class Levels(NamedTuple):
    """A sound's loudness by frequency and moment."""

    decibels: np.ndarray  # [frequencies, moments]; 0: a sine of the full scale
    frequencies: np.ndarray  # [frequencies], in Hz
    seconds: np.ndarray  # [moments]: the middle of each window


def levels(samples: np.ndarray, rate: int) -> Levels:
    """The log magnitudes of the short-time Fourier transform of [positions] of 16 bits.

    A sound shorter than WINDOW has a window of its own length.

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
    found = np.abs(transform.stft(samples / 2**15))
    decibels = 20 * np.log10(np.maximum(found, 10 ** (QUIETEST / 20)))
    return Levels(decibels, transform.f, transform.t(len(samples)))


def spectrogram(samples: np.ndarray, rate: int) -> Image:
    """The spectrogram of [positions] samples of 16 bits, axes labelled.

    Raises ValueError as `levels` does.
    """
    return spectrograms({"": samples}, rate)


def spectrograms(sounds: Mapping[str, np.ndarray], rate: int) -> Image:
    """Spectrograms side by side, each under its name, and all of one scale of colours.

    sounds: [positions] samples of 16 bits by name: "original", "reconstruction".

    Raises ValueError for no sounds, and as `levels` does.
    """
    if not sounds:
        raise ValueError("sounds: given none, wanted at least one")
    figure = Figure(figsize=(WIDTH * len(sounds), HEIGHT), dpi=DPI, layout="tight")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sounds), squeeze=False)[0]
    for axes, (name, samples) in zip(panels, sounds.items(), strict=True):
        found = levels(samples, rate)
        mesh = axes.pcolormesh(
            found.seconds,
            found.frequencies / 1000,
            found.decibels,
            vmin=QUIETEST,
            vmax=0.0,
            shading="nearest",
            cmap="magma",
        )
        axes.set_xlim(0, len(samples) / rate)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("seconds", fontsize=8)
        axes.set_ylabel("kHz", fontsize=8)
        axes.tick_params(labelsize=7)
        bar = figure.colorbar(mesh, ax=axes)
        bar.set_label("dB of full scale", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3].copy())
