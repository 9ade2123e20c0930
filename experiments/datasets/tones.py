"""Synthetic plucked tones: a data set of sounds that needs no download.

They are computed, not recorded.
"""

import numpy as np
import scipy.signal

from experiments.datasets.audio import MOST, Audio, Split

KIND = "synthetic plucked tones"
LOWEST, HIGHEST = 45, 81  # notes, as MIDI numbers them: 110 Hz to 880 Hz
LONGEST = 0.5  # seconds between the first plucking and the start of the clip, at most
PEAKS = 0.1, 0.9  # of the loudest sample of a clip, relative to full scale


def synthetic_tones(*, length: int, rate: int = 8000, most_strings: int = 3) -> Audio:
    """Synthetic sounds of plucked strings, by Karplus and Strong (1983).

    A clip depends on its number alone.  It has one to `most_strings` strings, whose
    note, damping, loudness and start are drawn; a clip may start in the middle of a
    sound.  The number of clips is unlimited.  No clip is silent.

    length: samples of a clip, at `rate` a second.

    Raises ValueError for a length or a number of strings below 1, and for a rate at
    which a period of the highest note is below four samples.

    >>> tones = synthetic_tones(length=64)
    >>> tones.training.example(0, np.random.default_rng(0)).shape
    (64,)
    """
    least = int(np.ceil(4 * _pitch(HIGHEST)))
    if length < 1:
        raise ValueError(f"length: given {length}, wanted at least 1 sample")
    if rate < least:
        raise ValueError(f"rate: given {rate}, wanted at least {least} a second")
    if most_strings < 1:
        raise ValueError(f"most_strings: given {most_strings}, wanted at least 1")

    def clip(_: int, random: np.random.Generator) -> np.ndarray:
        sound = np.zeros(length)
        for string in range(random.integers(1, most_strings + 1)):
            # The first string is plucked before the clip starts, or as it does.
            latest = 0 if string == 0 else length / rate
            start = round(rate * random.uniform(-LONGEST, latest))
            begin = max(0, start)
            tone = plucked(
                period=rate / _pitch(random.integers(LOWEST, HIGHEST + 1)),
                damping=random.uniform(0.99, 0.999),
                length=length - start,
                random=random,
            )
            sound[begin:] += random.uniform(0.3, 1.0) * tone[begin - start :]
        peak = np.abs(sound).max()
        return (random.uniform(*PEAKS) * MOST / peak * sound).round().astype(np.int16)

    parameters = f"length={length}, rate={rate}, most_strings={most_strings}"
    return Audio(
        name=f"{KIND}({parameters})",
        source=f"{KIND}, made by this project of their numbers alone ({parameters})",
        length=length,
        rate=rate,
        training=Split(None, clip),
        held_out=Split(None, clip),
    )


def plucked(
    *, period: float, damping: float, length: int, random: np.random.Generator
) -> np.ndarray:
    """[length] floats: a burst of noise in a loop that damps high frequencies.

    y[n] = x[n] + damping * (y[n - p] + y[n - p - 1]) / 2: Karplus and Strong (1983),
    Digital synthesis of plucked-string and drum timbres.  The average delays by half a
    sample, so that p + 1/2 is the period, rounded to such a number.
    """
    delay = max(2, round(period - 0.5))
    noise = random.uniform(-1.0, 1.0, delay)
    burst = np.zeros(length)
    # Without its mean, which no string has and which the loop would damp the least.
    burst[:delay] = (noise - noise.mean())[:length]
    loop = np.zeros(delay + 2)
    loop[0] = 1.0
    loop[delay:] -= damping / 2
    return scipy.signal.lfilter([1.0], loop, burst)


def _pitch(note: int | np.integer) -> float:
    """Vibrations a second of a note: 440 of A4, whose number is 69."""
    return 440.0 * 2.0 ** ((int(note) - 69) / 12)
