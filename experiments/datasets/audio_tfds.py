"""Recordings that TensorFlow Datasets has prepared, read by number from its files."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.datasets.audio import LEAST, MOST, Audio
from experiments.datasets.audio_decoding import (
    Form,
    Header,
    Recordings,
    check_channels,
    check_form,
    check_sounds,
    clips,
    header_of,
    to_samples,
    told,
)
from experiments.datasets.files import CACHE_BYTES, Cache, CorruptFileError
from experiments.datasets.tfds_files import (
    Prepared,
    Records,
    check_has,
    prepared,
    records,
)


def tfds_audio(
    *,
    builder: str,
    training: str,
    held_out: str,
    length: int,
    rate: int,
    data_dir: Path | str | None = None,
    feature: str = "audio",
    short: str = "skip",
    mix_channels: bool = False,
    skip_corrupt: bool = False,
    skip_silent: bool = False,
    cache_bytes: int = CACHE_BYTES,
    num_threads: int = 2,
) -> Audio:
    """Clips of a data set that `tfds build` has prepared; nothing is downloaded.

    builder, training, held_out, data_dir: as `prepared.prepared` has them.  "nsynth"
      and "speech_commands" have splits "train" and "test"; "spoken_digit" has "train"
      alone, of which a share is held out: "train[:90%]" and "train[90%:]".
    feature: which of an example's is the recording: whole numbers of 16 bits, or floats
      from -1 to 1.  Where its length is not that of all, every example is read at the
      start, to know how many clips there are.

    The rest is as `audio_files` has it.

    Raises FileNotFoundError, with the command that prepares it, for a data set that is
    not there, and for a file of it that is missing; ValueError for a split or a feature
    that it has not, splits that share recordings, a feature of no known rate or in
    another encoding, channels that are not wanted, samples beyond 16 bits, and no
    clips, or silent ones alone, in a split; CorruptFileError for a damaged file.  Each
    names the folder or the file.
    """
    form = Form(length, rate, short, mix_channels)
    check_form(form)
    given = prepared(
        builder=builder,
        training=training,
        held_out=held_out,
        data_dir=data_dir,
        what="recordings",
    )
    held = _checked(given, feature, form)
    cache = Cache(cache_bytes)
    found = []
    for which, name in enumerate(given.names):
        examples = records(given, which, feature, num_threads)
        made = clips(
            _recordings(examples, held, form),
            form,
            numbers=range(examples.num),
            skip_corrupt=skip_corrupt,
            skip_silent=skip_silent,
            cache=cache,
            num_threads=num_threads,
        )
        check_sounds(f"{given.label}: {name!r}", made)
        found.append(made)

    counts = " + ".join(str(made.split.num_clips) for made in found) + " clips"
    said = told(*(made.counts for made in found))
    of = f"{given.full_name}, {training} and {held_out}"
    return Audio(
        name=f"tfds_audio({of}, {length} at {rate} Hz, {counts}{said})",
        source=f"TensorFlow Datasets {of}: {counts} of {length} samples{said}",
        length=length,
        rate=rate,
        training=found[0].split,
        held_out=found[1].split,
        num_threads=num_threads,
    )


def _checked(given: Prepared, name: str, form: Form) -> Any:
    """The feature of that name, found to be of a kind that can be read."""
    import tensorflow_datasets as tfds

    feature = check_has(given, name)
    label = f"{given.label}: {name}"
    if not isinstance(feature, tfds.features.Audio):
        raise ValueError(f"{label} is {feature}, wanted audio")
    content = feature.to_json_content()
    if content.lazy_decode or content.encoding not in ("", "NONE"):
        raise ValueError(f"{label}: is kept encoded, wanted its samples")
    if not feature.sample_rate:
        raise ValueError(f"{label}: of no known rate, wanted samples a second")
    check_channels(label, _num_channels(feature), form)
    return feature


def _num_channels(feature: Any) -> int:
    return feature.shape[1] if len(feature.shape) == 2 else 1


def _recordings(examples: Records, feature: Any, form: Form) -> Recordings:
    num_channels = _num_channels(feature)
    rate = feature.sample_rate
    is_float = np.issubdtype(feature.np_dtype, np.floating)
    fixed = feature.shape[0]

    def values(number: int) -> Any:
        """All samples, those of one moment beside each other."""
        held = examples.feature(number)
        found = held.float_list.value if is_float else held.int64_list.value
        wanted = "some" if fixed is None else fixed * num_channels
        if not len(found) or wanted not in ("some", len(found)):
            raise CorruptFileError(
                f"{examples.label(number)}: damaged; {len(found)} samples, "
                f"wanted {wanted}"
            )
        return found

    def header(number: int) -> Header:
        num = len(values(number)) // num_channels if fixed is None else fixed
        return header_of(num, rate, num_channels, form)

    def samples(number: int) -> np.ndarray:
        label = examples.label(number)
        found = np.array(values(number), np.float64)
        if not is_float:
            least, most = found.min(), found.max()
            if least < LEAST or most > MOST:
                raise ValueError(
                    f"{label}: samples from {least:.0f} to {most:.0f}, wanted 16 bits"
                )
            found /= 2**15
        return to_samples(found.reshape(-1, num_channels), rate, label, form)

    return Recordings(examples.num, header, samples)
