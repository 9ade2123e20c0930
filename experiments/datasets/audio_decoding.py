"""Decodes recordings into mono clips of one length and rate."""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from experiments.datasets import files
from experiments.datasets.audio import LEAST, MOST, Split

SHORT = ("skip", "pad")
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
WIDE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # more than 16 bits a sample
BROKEN = (  # what soundfile raises for damaged files
    soundfile.SoundFileError,
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
)
UNKNOWN_SIZES = (0, 2**32 - 1)  # in the header of a WAV that was written as a stream


class Form(NamedTuple):
    """How recordings become clips."""

    length: int  # samples of a clip
    rate: int  # samples a second
    # Recordings shorter than a clip: "skip" ignores them, "pad" appends zeros.
    short: str = "skip"
    mix_channels: bool = False  # whether several channels are averaged


class Header(NamedTuple):
    """The length of a recording, known before its samples are read."""

    num_samples: int  # at the clips' rate
    changes: tuple[str, ...] = ()  # that decoding makes, for the counts


class Recordings(NamedTuple):
    """Recordings by number.  Its functions raise CorruptFileError and ValueError."""

    num: int
    header: Callable[[int], Header]
    samples: Callable[[int], np.ndarray]  # [num_samples] int16, the header's number


class Clips(NamedTuple):
    """Clips of one length by number, read-only."""

    split: Split
    counts: Counter[str]  # of recordings or clips changed or skipped, by reason


def check_form(form: Form) -> None:
    """Raises ValueError for a length or rate too small, and an unknown `short`."""
    if form.length < 2:  # one sample is no sound
        raise ValueError(f"length: given {form.length}, wanted at least 2 samples")
    if form.rate < 1:
        raise ValueError(f"rate: given {form.rate}, wanted at least 1 sample a second")
    if form.short not in SHORT:
        raise ValueError(f"short: given {form.short!r}, wanted one of {SHORT}")


def check_channels(label: str, num_channels: int, form: Form) -> None:
    """Raises ValueError, naming the recording, for several channels unless mixed."""
    if num_channels != 1 and not form.mix_channels:
        raise ValueError(
            f"{label}: {num_channels} channels, wanted 1; mix_channels=True takes "
            "their mean"
        )


def header_of(num_samples: int, rate: int, num_channels: int, form: Form) -> Header:
    """The header of a recording of `num_samples` at `rate`."""
    changes = []
    if num_channels > 1:
        changes.append("mixed to one channel")
    if rate != form.rate:
        changes.append(f"resampled from {rate} a second")
    return Header(num_samples * form.rate // rate, tuple(changes))


def to_samples(sound: np.ndarray, rate: int, label: str, form: Form) -> np.ndarray:
    """[samples] int16 of a recording [samples, channels] of floats from -1 to 1.

    Channels are averaged, other rates resampled by soxr, and the result rounded and
    clipped to 16 bits.  The number of samples is that of `header_of`.

    Raises CorruptFileError, naming it, for NaN and infinity.
    """
    if not np.isfinite(sound).all():
        raise files.CorruptFileError(f"{label}: holds NaN or infinity, wanted numbers")
    mono = sound.mean(axis=1)
    if rate != form.rate:
        num_samples = header_of(len(mono), rate, 1, form).num_samples
        mono = soxr.resample(mono, rate, form.rate)[:num_samples]
        mono = np.pad(mono, (0, num_samples - len(mono)))
    return np.clip(np.rint(2**15 * mono), LEAST, MOST).astype(np.int16)


def recordings(encoded: files.Encoded, form: Form) -> Recordings:
    """The recordings of WAV and FLAC files."""

    def header(number: int) -> Header:
        label = encoded.label(number)
        with encoded.open(number) as stream, _opened(stream, label, form) as file:
            plain = header_of(file.frames, file.samplerate, file.channels, form)
            wide = ("rounded to 16 bits",) if file.subtype in WIDE else ()
            return plain._replace(changes=plain.changes + wide)

    def samples(number: int) -> np.ndarray:
        with encoded.open(number) as stream:
            return decode(stream, encoded.label(number), form)

    return Recordings(encoded.num, header, samples)


def decode(stream: BinaryIO, label: str, form: Form) -> np.ndarray:
    """The samples of a WAV or FLAC file: [samples] int16; see `to_samples`.

    Raises CorruptFileError for a damaged file and for NaN, and ValueError for several
    channels unless mixed.  Each names the file.
    """
    with _opened(stream, label, form) as file:
        try:
            sound = file.read(dtype="float64", always_2d=True)
        except BROKEN as error:
            raise files.CorruptFileError(f"{label}: damaged ({error})") from error
        if len(sound) != file.frames:
            raise files.CorruptFileError(
                f"{label}: damaged; {len(sound)} samples, its header says {file.frames}"
            )
        return to_samples(sound, file.samplerate, label, form)


def clips(
    source: Recordings,
    form: Form,
    *,
    numbers: Sequence[int],
    skip_corrupt: bool,
    skip_silent: bool,
    cache: files.Cache,
    num_threads: int,
) -> Clips:
    """The clips of some of the recordings, in order.

    A recording is cut into as many clips as fit; the rest is not used.  The header of
    each is read at once.

    numbers: of the recordings to cut.
    skip_corrupt: whether corrupt recordings are skipped and counted.  This decodes all
      of them at once.
    skip_silent: whether clips whose samples are all equal are skipped and counted.
      This decodes all recordings too.
    cache: of decoded recordings.

    Raises CorruptFileError for the first corrupt recording unless they are skipped, and
    ValueError as `source` does.  If no clip is left, the split is empty.
    """
    owner = object()  # distinguishes these recordings from others in the cache
    counts: Counter[str] = Counter()

    def samples(number: int) -> np.ndarray:
        return cache.get((owner, number), lambda: source.samples(number))

    def header(number: int) -> Header | None:
        try:
            result = source.header(number)
            if skip_corrupt:
                samples(number)
        except files.CorruptFileError:
            if not skip_corrupt:
                raise
            return None
        return result

    num_clips = []
    for recording in files.on_threads(header, numbers, num_threads):
        num_here = 0
        if recording is None:
            counts["corrupt skipped"] += 1
        elif recording.num_samples >= form.length:
            num_here = recording.num_samples // form.length
        elif form.short == "pad":
            num_here = 1
            counts["shorter than a clip padded with zeros"] += 1
        else:
            counts["shorter than a clip skipped"] += 1
        if num_here and recording is not None:
            counts.update(recording.changes)
        num_clips.append(num_here)
    ends = np.cumsum(num_clips, dtype=np.int64)
    num = int(ends[-1]) if len(ends) else 0

    def clip(place: int) -> np.ndarray:
        at = int(np.searchsorted(ends, place, side="right"))
        within = place - int(ends[at]) + num_clips[at]
        piece = samples(numbers[at])[within * form.length :][: form.length]
        return np.pad(piece, (0, form.length - len(piece)))

    audible: Sequence[int] | np.ndarray = range(num)
    if skip_silent:
        silent = files.on_threads(
            lambda place: is_silent(clip(place)), range(num), num_threads
        )
        audible = np.flatnonzero(~np.array(list(silent), bool))
        counts["silent skipped"] += num - len(audible)
    split = Split(len(audible), lambda place, _: clip(int(audible[place])))
    return Clips(split, +counts)


def is_silent(clip: np.ndarray) -> bool:
    """Whether all samples are equal."""
    return bool((clip == clip[0]).all())


def check_sounds(label: str, cut: Clips) -> None:
    """Raises ValueError if there are no clips, and if every clip is silent.

    It stops at the first clip that is not silent.
    """
    split = cut.split
    counts = files.counts_text(cut.counts)
    if not split.num:
        raise ValueError(f"{label}: no clips{counts}, wanted at least one")
    random = np.random.default_rng(0)  # not drawn from
    places = range(split.num)
    if all(is_silent(split.example(place, random)) for place in places):
        raise ValueError(
            f"{label}: all {split.num} clips are silent{counts}, wanted sounds"
        )


def _opened(stream: BinaryIO, label: str, form: Form) -> soundfile.SoundFile:
    """The open file of a stream, whose header fits the form."""
    _check_whole(stream, label)
    try:
        file = soundfile.SoundFile(stream)
    except BROKEN as error:
        raise files.CorruptFileError(
            f"{label}: no WAV or FLAC, or a damaged one"
        ) from error
    if file.format not in FORMATS:
        raise files.CorruptFileError(f"{label}: is {file.format}, wanted WAV or FLAC")
    if not file.frames:
        raise files.CorruptFileError(f"{label}: holds no samples")
    check_channels(label, file.channels, form)
    return file


def _check_whole(stream: BinaryIO, label: str) -> None:
    """Raises CorruptFileError for a truncated WAV, which libsndfile accepts."""
    head = stream.read(8)
    size = stream.seek(0, 2)
    stream.seek(0)
    if head[:4] == b"RIFF" and len(head) == 8:
        (header_bytes,) = struct.unpack("<I", head[4:])
        # The last byte of an odd number may be left out.
        if header_bytes not in UNKNOWN_SIZES and size + 1 < header_bytes + 8:
            raise files.CorruptFileError(
                f"{label}: damaged; {size} bytes, its header says {header_bytes + 8}"
            )
