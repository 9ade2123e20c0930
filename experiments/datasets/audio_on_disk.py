"""Recordings of a person's own: a folder or zip of WAV and FLAC files."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.datasets.audio import Audio
from experiments.datasets.audio_decoding import (
    Clips,
    Form,
    check_form,
    check_sounds,
    clips,
    recordings,
    told,
)
from experiments.datasets.files import (
    CACHE_BYTES,
    Cache,
    Listed,
    check_apart,
    check_share,
    listed,
)

SUFFIXES = (".wav", ".wave", ".flac")


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
    cache_bytes: int = CACHE_BYTES,
    num_threads: int = 2,
) -> Audio:
    """Clips of the WAV and FLAC files of a folder, with all folders in it, or of a zip.

    Files are told by their suffixes and numbered by their names; hidden ones are left
    alone.  A file of more samples than a clip has is cut into as many clips as go into
    it, from its beginning, and what is left is not used.  The header of each file is
    read at once, with `skip_corrupt` or `skip_silent` the whole of it.

    Samples of more than 16 bits are rounded to 16, and floats beyond -1 and 1 cut off;
    files of another rate are resampled by soxr.  The source tells how many.

    length: samples of a clip, at `rate` a second.
    held_out_path: where those held out are.
    held_out_match: a regular expression; files in whose names (with their folders) it
      is found are held out.
    held_out_share: of the files, where neither is given: those whose names have the
      lowest hashes, so that few change sides when others come or go.  All clips of a
      file are on one side.
    short: what becomes of files shorter than a clip: "skip" leaves them out, "pad"
      makes a clip of each, with zeros after it, which are easily foretold and count as
      samples.  Either way they are counted.
    mix_channels: whether the mean of the channels is taken where there are several.
    skip_corrupt: whether corrupt files, and those that hold NaN, are left out; the name
      and the source tell how many.
    skip_silent: whether clips of which all samples are one are left out and counted;
      else they are as good as others.
    cache_bytes: of files kept once decoded.  A file is decoded whole: where those of an
      hour do not go into it, each clip costs a whole file.

    Raises FileNotFoundError for a path that is not there, CorruptFileError for a
    corrupt file, and ValueError for one of several channels, for no files at all, one
    that both paths hold, and no clips, or silent ones alone, on either side; each names
    the file or the path.
    """
    form = Form(length, rate, short, mix_channels)
    check_form(form)
    cache = Cache(cache_bytes)
    place = Path(path)

    def cut(label: str, files: Listed, numbers: Sequence[int]) -> Clips:
        made = clips(
            recordings(files.files, form),
            form,
            numbers=numbers,
            skip_corrupt=skip_corrupt,
            skip_silent=skip_silent,
            cache=cache,
            num_threads=num_threads,
        )
        check_sounds(label, made)
        return made

    if held_out_path is not None and held_out_match is not None:
        raise ValueError(
            f"held_out_match: given {held_out_match!r}, and held_out_path "
            f"{held_out_path}; wanted one of them"
        )
    if held_out_path is not None:
        other = Path(held_out_path)
        one, two = (listed(p, SUFFIXES, "WAV or FLAC") for p in (place, other))
        check_apart(one.parts, two.parts)
        training = cut(f"{place}", one, range(len(one.names)))
        held_out = cut(f"{other}", two, range(len(two.names)))
        given = f"{one.name}, {two.name}"
    else:
        one = listed(place, SUFFIXES, "WAV or FLAC")
        sides = _sides(place, one.names, held_out_match, held_out_share)
        training = cut(f"{place} (training)", one, sides[0])
        held_out = cut(f"{place} (held out)", one, sides[1])
        rule = f"share {held_out_share}" if held_out_match is None else held_out_match
        given = f"{one.name}, held out: {rule}"

    counts = f"{training.split.num_clips} + {held_out.split.num_clips} clips"
    said = told(training.counts, held_out.counts)
    return Audio(
        name=f"audio_files({given}, {length} at {rate} Hz, {counts}{said})",
        source=f"{given}: {counts} of {length} samples (training + held out){said}",
        length=length,
        rate=rate,
        training=training.split,
        held_out=held_out.split,
        num_threads=num_threads,
    )


def _sides(
    place: Path, names: Sequence[str], match: str | None, share: float
) -> tuple[list[int], list[int]]:
    """The numbers of the files to train on, and of those held out."""
    if match is not None:
        chosen = {name for name in names if re.search(match, name)}
        if not 0 < len(chosen) < len(names):
            raise ValueError(
                f"{place}: held_out_match {match!r} is found in {len(chosen)} of "
                f"{len(names)} names, wanted in some and not in all"
            )
    else:
        check_share(share)
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
    return hashlib.sha256(name.encode()).digest()
