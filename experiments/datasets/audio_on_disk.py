"""A user's own recordings: a folder or zip of WAV, FLAC and other files."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.datasets import audio_decoding, files
from experiments.datasets.audio import Audio

SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus"),
    *(".aif", ".aiff", ".aifc", ".caf", ".mp3"),
)
# Sounds that libsndfile does not read, or that carry no sign of their kind.
OTHERS = (
    *(".m4a", ".aac", ".mp4", ".wma", ".amr", ".ape", ".wv", ".tta", ".mka", ".webm"),
    *(".au", ".snd", ".raw", ".pcm", ".sph", ".w64", ".voc"),
)


def audio_files(
    *,
    path: Path | str,
    length: int,
    rate: int,
    held_out_path: Path | str | None = None,
    held_out_match: str | None = None,
    held_out_share: float = 0.1,
    short: str = "skip",
    mix_channels: bool = False,
    skip_corrupt: bool = False,
    skip_silent: bool = False,
    cache_bytes: int = files.CACHE_BYTES,
    num_threads: int = 2,
) -> Audio:
    """Clips of the sound files of a folder and its subfolders, or of a zip.

    WAV, FLAC, Ogg Vorbis, Opus, AIFF, CAF and MP3, as libsndfile reads them;
    docs/images_and_sounds.md says what becomes of which.

    Files are selected by suffix, hidden ones ignored, and numbered in the order of
    their names.  A file longer than a clip is cut, from its start, into as many clips
    as fit; the rest is not used.  The header and the last sample of each file are read
    at once, or all of it with `skip_corrupt` or `skip_silent`.

    Samples of more than 16 bits are rounded to 16, floats beyond -1 and 1 are clipped,
    and other rates are resampled by soxr.  `source` gives the number of such files.

    length: samples of a clip, at `rate` a second.
    held_out_path: of the held-out recordings.
    held_out_match: a regular expression that is searched in file names, with their
      folders; files that match are held out.
    held_out_share: of the files to hold out, without the two above: those whose names
      have the lowest hashes, so that few change sides if files are added or removed.
      All clips of a file are on one side.
    short: what happens to files shorter than a clip: "skip" ignores them, "pad" appends
      zeros, which are easy to predict and count as samples.  Both are counted.
    mix_channels: average the channels of a file that has several.
    skip_corrupt: skip corrupt files and those with NaN; name and source say how many,
      `left_out` which.
    skip_silent: skip and count clips whose samples are all equal.
    cache_bytes: for decoded files.  Each clip of a file that does not fit costs one
      decoding of the file.

    Raises MissingDataError for a path that does not exist, CorruptFileError for a
    corrupt file, and ValueError for a file of several channels, for no files, for a
    file that is in both paths, and for a side without clips or with silent ones only.
    Each names the file or the path.

    >>> import pathlib, tempfile
    >>> import numpy as np, soundfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for i in range(4):
    ...     soundfile.write(folder / f"{i}.wav", np.sin(np.arange(4000.0)), 8000)
    >>> audio = audio_files(path=folder, length=1000, rate=8000)
    >>> audio.training.num, audio.held_out.num
    (12, 4)
    """
    form = audio_decoding.Form(length, rate, short, mix_channels)
    audio_decoding.check_form(form)
    files.check_reading(cache_bytes, num_threads)
    cache = files.Cache(cache_bytes)
    place = Path(path)

    def cut(
        label: str, listed: files.FileList, numbers: Sequence[int]
    ) -> audio_decoding.Clips:
        cut_clips = audio_decoding.clips(
            audio_decoding.recordings(listed.files, form),
            form,
            numbers=numbers,
            skip_corrupt=skip_corrupt,
            skip_silent=skip_silent,
            cache=cache,
            num_threads=num_threads,
        )
        audio_decoding.check_sounds(label, cut_clips)
        return cut_clips

    try:
        re.compile(held_out_match or "")
    except re.error as error:
        raise ValueError(
            f"held_out_match: given {held_out_match!r}, wanted a regular expression: "
            f"{error}"
        ) from error
    if held_out_path is not None and held_out_match is not None:
        raise ValueError(
            f"held_out_match: given {held_out_match!r}, and held_out_path "
            f"{held_out_path}; wanted one of them"
        )
    if held_out_path is not None:
        other = Path(held_out_path)
        one, two = (
            files.list_files(p, SUFFIXES, audio_decoding.KINDS, OTHERS)
            for p in (place, other)
        )
        files.check_apart(one.parts, two.parts)
        training = cut(f"{place}", one, range(len(one.names)))
        held_out = cut(f"{other}", two, range(len(two.names)))
        origin = f"{one.name}, {two.name}"
        not_read = one.counts + two.counts
    else:
        one = files.list_files(place, SUFFIXES, audio_decoding.KINDS, OTHERS)
        not_read = one.counts
        sides = _sides(place, one.names, held_out_match, held_out_share)
        training = cut(f"{place} (training)", one, sides[0])
        held_out = cut(f"{place} (held out)", one, sides[1])
        rule = f"share {held_out_share}" if held_out_match is None else held_out_match
        origin = f"{one.name}, held out: {rule}"

    counts = f"{training.split.num} + {held_out.split.num} clips"
    changes = files.counts_text(training.counts, held_out.counts, not_read)
    return Audio(
        name=f"audio_files({origin}, {length} at {rate} Hz, {counts}{changes})",
        source=f"{origin}: {counts} of {length} samples (training + held out){changes}",
        length=length,
        rate=rate,
        training=training.split,
        held_out=held_out.split,
        num_threads=num_threads,
        left_out=training.left_out + held_out.left_out,
    )


def _sides(
    place: Path, names: Sequence[str], match: str | None, share: float
) -> tuple[list[int], list[int]]:
    """The numbers of the training files and of the held-out files."""
    if match is not None:
        chosen = {name for name in names if re.search(match, name)}
        if not 0 < len(chosen) < len(names):
            raise ValueError(
                f"{place}: held_out_match {match!r} is found in {len(chosen)} of "
                f"{len(names)} names, wanted in some and not in all"
            )
    else:
        files.check_share(share)
        num = max(1, round(share * len(names)))
        if num >= len(names):
            raise ValueError(
                f"{place}: {len(names)} files, wanted at least 2, of which some are to "
                "be held out"
            )
        chosen = set(sorted(names, key=_hash)[:num])
    numbers: tuple[list[int], list[int]] = [], []
    for number, name in enumerate(names):
        numbers[name in chosen].append(number)
    return numbers


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()
