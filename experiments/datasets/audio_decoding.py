"""Decodes recordings into mono clips of one length and rate."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from experiments.datasets import audio_containers, files
from experiments.datasets.audio import LEAST, MOST, Split
from experiments.datasets.examined import examine

SHORT = ("skip", "pad")
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "AIFF", "CAF", "MP3")
KINDS = "WAV, FLAC, Ogg, AIFF, CAF or MP3"
SIXTEEN_BITS = ("PCM_16", "PCM_S8", "PCM_U8", "ALAC_16", "ULAW", "ALAW")  # or fewer
BROKEN = (  # what soundfile raises for damaged files
    soundfile.SoundFileError,
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
)
UNKNOWN = 2**62  # more frames than that: a FLAC file whose header has no number
BLOCK = 2**16  # samples read at a time from such a file


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
    label: Callable[[int], str]  # the name of one in errors
    encoded: files.Encoded | None = None  # of which what was found is remembered


class Clips(NamedTuple):
    """Clips of one length by number, read-only."""

    split: Split
    counts: Counter[str]  # of recordings or clips changed or skipped, by reason
    left_out: tuple[str, ...]  # the names of corrupt recordings


class _SoundFile(soundfile.SoundFile):
    """A file that is not sought in if its length is unknown.

    soundfile seeks after each block, and at the end of such a file that fails.
    """

    def seekable(self) -> bool:
        return self.frames < UNKNOWN and super().seekable()


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
    """The recordings of files of the `KINDS`."""

    def header(number: int) -> Header:
        label = encoded.label(number)
        with encoded.open(number) as stream, _opened(stream, label, form) as file:
            num_samples = _num_samples(file, label)
            plain = header_of(num_samples, file.samplerate, file.channels, form)
            wide = () if file.subtype in SIXTEEN_BITS else ("rounded to 16 bits",)
            return plain._replace(changes=plain.changes + wide)

    def samples(number: int) -> np.ndarray:
        with encoded.open(number) as stream:
            return decode(stream, encoded.label(number), form)

    return Recordings(encoded.num, header, samples, encoded.label, encoded)


def decode(stream: BinaryIO, label: str, form: Form) -> np.ndarray:
    """The samples of a file of the `KINDS`: [samples] int16; see `to_samples`.

    A file whose header does not say how many it has is read to its end.

    Raises CorruptFileError for a damaged file and for NaN, and ValueError for several
    channels unless mixed.  Each names the file.
    """
    with _opened(stream, label, form) as file:
        # Most files need no more than their samples.
        as_they_are = (file.subtype, file.channels) == ("PCM_16", 1)
        as_they_are = as_they_are and file.samplerate == form.rate
        dtype = "int16" if as_they_are else "float64"
        sound = np.concatenate(list(_blocks(file, label, dtype)))
        if file.frames < UNKNOWN and len(sound) != file.frames:
            raise files.CorruptFileError(
                f"{label}: damaged; {len(sound)} samples, its header says {file.frames}"
            )
        if not len(sound):
            raise files.CorruptFileError(f"{label}: holds no samples")
        if as_they_are:
            return sound[:, 0]
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

    def header(number: int) -> Sequence[Any] | None:
        try:
            result = source.header(number)
            if skip_corrupt:
                samples(number)
        except files.CorruptFileError:
            if not skip_corrupt:
                raise
            return None
        return result.num_samples, result.changes

    headers = examine(
        source.encoded,
        header,
        numbers,
        rules=f"sounds {form}, {'samples' if skip_corrupt else 'headers'}",
        num_threads=num_threads,
    )
    left_out = []
    num_clips = []
    for number, found in zip(numbers, headers, strict=True):
        recording = found and Header(*found)
        num_here = 0
        if recording is None:
            counts["corrupt skipped"] += 1
            left_out.append(source.label(number))
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
    return Clips(split, +counts, tuple(left_out))


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


def _opened(stream: BinaryIO, label: str, form: Form) -> _SoundFile:
    """The open file of a stream, whose header fits the form."""
    stream, missing = audio_containers.prepared(stream)
    if missing:  # libsndfile accepts most files that end too soon
        raise files.CorruptFileError(f"{label}: damaged; {missing}")
    try:
        file = _SoundFile(stream)
    except BROKEN as error:
        raise files.CorruptFileError(
            f"{label}: no {KINDS}, or a damaged one"
        ) from error
    if file.format not in FORMATS:
        raise files.CorruptFileError(f"{label}: is {file.format}, wanted {KINDS}")
    if not file.frames:
        raise files.CorruptFileError(f"{label}: holds no samples")
    check_channels(label, file.channels, form)
    return file


def _blocks(file: _SoundFile, label: str, dtype: str) -> Iterator[np.ndarray]:
    """The samples from where the file is, [samples, channels] at a time."""
    whole = file.frames < UNKNOWN
    while True:
        try:
            block = file.read(-1 if whole else BLOCK, dtype=dtype, always_2d=True)
        except BROKEN as error:
            raise files.CorruptFileError(f"{label}: damaged ({error})") from error
        yield block
        if whole or len(block) < BLOCK:
            return


def _num_samples(file: _SoundFile, label: str) -> int:
    """The samples of a file as its header says, if the last one of them is there.

    Without a number in the header they are counted, by decoding them.
    """
    if file.frames >= UNKNOWN:
        return sum(len(block) for block in _blocks(file, label, "int16"))
    try:
        file.seek(file.frames - 1)
        num_last = len(file.read(2, dtype="float64", always_2d=True))
    except BROKEN as error:
        raise files.CorruptFileError(f"{label}: damaged ({error})") from error
    if num_last != 1:
        raise files.CorruptFileError(
            f"{label}: damaged; its header says {file.frames} samples, the last one "
            "is missing"
        )
    return file.frames
