"""From recordings to clips of one length, rate and channel, and what can be amiss."""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from experiments.datasets.audio import LEAST, MOST, Split
from experiments.datasets.files import Cache, CorruptFileError, Encoded, on_threads

SHORT = ("skip", "pad")
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
WIDE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # more than 16 bits a sample
BROKEN = (  # what comes of reading a file that is not what it should be
    soundfile.SoundFileError,
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
)
UNKNOWN_SIZES = (0, 2**32 - 1)  # in the head of a WAV that was written as a stream


class Form(NamedTuple):
    """What becomes of a recording."""

    length: int  # samples of a clip
    rate: int  # samples a second
    # What becomes of a recording shorter than a clip: it is left out, or zeros follow.
    short: str = "skip"
    mix_channels: bool = False  # whether the mean of several channels is taken


class Header(NamedTuple):
    """What is known of a recording before it is read."""

    num_samples: int  # at the rate wanted
    changes: tuple[str, ...] = ()  # what reading it does to it


class Recordings(NamedTuple):
    """Recordings by number; both functions raise CorruptFileError and ValueError."""

    num: int
    header: Callable[[int], Header]
    samples: Callable[[int], np.ndarray]  # [num_samples] int16, as the header has it


class Clips(NamedTuple):
    """Clips of one length by number, read-only."""

    split: Split
    counts: Counter[str]  # what became of how many recordings or clips


def check_form(form: Form) -> None:
    """Raises ValueError for a length or rate too small, and a `short` there is not."""
    if form.length < 2:  # one sample is no sound
        raise ValueError(f"length: given {form.length}, wanted at least 2 samples")
    if form.rate < 1:
        raise ValueError(f"rate: given {form.rate}, wanted at least 1 sample a second")
    if form.short not in SHORT:
        raise ValueError(f"short: given {form.short!r}, wanted one of {SHORT}")


def check_channels(label: str, num_channels: int, form: Form) -> None:
    """Raises ValueError, naming the recording, for channels that are not wanted."""
    if num_channels != 1 and not form.mix_channels:
        raise ValueError(
            f"{label}: {num_channels} channels, wanted 1; mix_channels=True takes "
            "their mean"
        )


def header_of(num_samples: int, rate: int, num_channels: int, form: Form) -> Header:
    """What reading a recording of that many samples at `rate` makes of it."""
    changes = []
    if num_channels > 1:
        changes.append("mixed to one channel")
    if rate != form.rate:
        changes.append(f"resampled from {rate} a second")
    return Header(num_samples * form.rate // rate, tuple(changes))


def to_samples(sound: np.ndarray, rate: int, label: str, form: Form) -> np.ndarray:
    """[samples] int16 of a recording [samples, channels] of floats from -1 to 1.

    The mean of the channels is taken, at another rate resampled by soxr, and rounded;
    what is then beyond the 16 bits is cut off.  There are as many samples as
    `header_of` says.

    Raises CorruptFileError, naming it, for NaN and infinity.
    """
    if not np.isfinite(sound).all():
        raise CorruptFileError(f"{label}: holds NaN or infinity, wanted numbers")
    one = sound.mean(axis=1)
    if rate != form.rate:
        wanted = header_of(len(one), rate, 1, form).num_samples
        one = soxr.resample(one, rate, form.rate)[:wanted]
        one = np.pad(one, (0, wanted - len(one)))
    return np.clip(np.rint(2**15 * one), LEAST, MOST).astype(np.int16)


def recordings(files: Encoded, form: Form) -> Recordings:
    """The recordings that WAV and FLAC files hold."""

    def header(number: int) -> Header:
        label = files.label(number)
        with files.open(number) as stream, _opened(stream, label, form) as file:
            held = header_of(file.frames, file.samplerate, file.channels, form)
            wide = ("rounded to 16 bits",) if file.subtype in WIDE else ()
            return held._replace(changes=held.changes + wide)

    def samples(number: int) -> np.ndarray:
        with files.open(number) as stream:
            return decode(stream, files.label(number), form)

    return Recordings(files.num, header, samples)


def decode(stream: BinaryIO, label: str, form: Form) -> np.ndarray:
    """[samples] int16: a WAV or FLAC file, as `to_samples` has it.

    Raises CorruptFileError for a damaged file and for NaN, and ValueError for channels
    that are not wanted; each names it.
    """
    with _opened(stream, label, form) as file:
        try:
            sound = file.read(dtype="float64", always_2d=True)
        except BROKEN as error:
            raise CorruptFileError(f"{label}: damaged ({error})") from error
        if len(sound) != file.frames:
            raise CorruptFileError(
                f"{label}: damaged; {len(sound)} samples, its header says {file.frames}"
            )
        return to_samples(sound, file.samplerate, label, form)


def clips(
    given: Recordings,
    form: Form,
    *,
    numbers: Sequence[int],
    skip_corrupt: bool,
    skip_silent: bool,
    cache: Cache,
    num_threads: int,
) -> Clips:
    """The clips that some of the recordings hold, in their order.

    A recording is cut into as many clips as it has; what is left after the last is not
    used.  The header of each is read at once.

    numbers: of the recordings to be cut.
    skip_corrupt: whether corrupt ones are left out and counted.  All are decoded for
      it, and as many kept as the cache has room for.
    skip_silent: whether clips of which all samples are one are left out and counted,
      for which all are decoded too.
    cache: where recordings are kept, whole.

    Raises CorruptFileError for the first corrupt one where none is to be skipped, and
    ValueError as `given` does.  Where nothing is left, the split is empty.
    """
    these = object()  # sets them apart from others in the same cache
    counts: Counter[str] = Counter()

    def samples(number: int) -> np.ndarray:
        return cache.get((these, number), lambda: given.samples(number))

    def header(number: int) -> Header | None:
        try:
            held = given.header(number)
            if skip_corrupt:
                samples(number)
        except CorruptFileError:
            if not skip_corrupt:
                raise
            return None
        return held

    num_clips = []
    for held in on_threads(header, numbers, num_threads):
        here = 0
        if held is None:
            counts["corrupt skipped"] += 1
        elif held.num_samples >= form.length:
            here = held.num_samples // form.length
        elif form.short == "pad":
            here = 1
            counts["shorter than a clip padded with zeros"] += 1
        else:
            counts["shorter than a clip skipped"] += 1
        if here and held is not None:
            counts.update(held.changes)
        num_clips.append(here)
    ends = np.cumsum(num_clips, dtype=np.int64)
    num = int(ends[-1]) if len(ends) else 0

    def clip(place: int) -> np.ndarray:
        at = int(np.searchsorted(ends, place, side="right"))
        within = place - int(ends[at]) + num_clips[at]
        found = samples(numbers[at])[within * form.length :][: form.length]
        return np.pad(found, (0, form.length - len(found)))

    kept: Sequence[int] | np.ndarray = range(num)
    if skip_silent:
        silent = on_threads(
            lambda place: is_silent(clip(place)), range(num), num_threads
        )
        kept = np.flatnonzero(~np.array(list(silent), bool))
        counts["silent skipped"] += num - len(kept)
    return Clips(Split(len(kept), lambda place, _: clip(int(kept[place]))), +counts)


def is_silent(clip: np.ndarray) -> bool:
    """Whether all samples are one and the same."""
    return bool((clip == clip[0]).all())


def check_sounds(label: str, made: Clips) -> None:
    """Raises ValueError where there are no clips, and where every clip is silent.

    Clips are looked at until one is found that is not: mostly the first.
    """
    split = made.split
    said = told(made.counts)
    if not split.num_clips:
        raise ValueError(f"{label}: no clips{said}, wanted at least one")
    random = np.random.default_rng(0)  # not drawn from
    places = range(split.num_clips)
    if all(is_silent(split.clip(place, random)) for place in places):
        raise ValueError(
            f"{label}: all {split.num_clips} clips are silent{said}, wanted sounds"
        )


def told(*counts: Counter[str]) -> str:
    """What became of how many, as a data set's name and source tell it."""
    total = sum(counts, Counter())
    return "".join(f", {num} {what}" for what, num in sorted(total.items()))


def _opened(stream: BinaryIO, label: str, form: Form) -> soundfile.SoundFile:
    """The file of a stream, its header read and found to fit."""
    _check_whole(stream, label)
    try:
        file = soundfile.SoundFile(stream)
    except BROKEN as error:
        raise CorruptFileError(f"{label}: no WAV or FLAC, or a damaged one") from error
    if file.format not in FORMATS:
        raise CorruptFileError(f"{label}: is {file.format}, wanted WAV or FLAC")
    if not file.frames:
        raise CorruptFileError(f"{label}: holds no samples")
    check_channels(label, file.channels, form)
    return file


def _check_whole(stream: BinaryIO, label: str) -> None:
    """Raises CorruptFileError for a WAV cut short, which libsndfile reads as it is."""
    head = stream.read(8)
    size = stream.seek(0, 2)
    stream.seek(0)
    if head[:4] == b"RIFF" and len(head) == 8:
        (said,) = struct.unpack("<I", head[4:])
        # The last byte of an odd number may be left out.
        if said not in UNKNOWN_SIZES and size + 1 < said + 8:
            raise CorruptFileError(
                f"{label}: damaged; {size} bytes, its header says {said + 8}"
            )
