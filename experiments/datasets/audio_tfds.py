"""Recordings that TensorFlow Datasets has prepared, read by number from its files."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.datasets import audio_decoding, files, tfds_files
from experiments.datasets.audio import LEAST, MOST, Audio


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
    cache_bytes: int = files.CACHE_BYTES,
    num_threads: int = 2,
) -> Audio:
    """Clips of a data set that `tfds build` has prepared.  Nothing is downloaded.

    builder, training, held_out, data_dir: see `prepared_dataset`.  "nsynth" and
      "speech_commands" have the splits "train" and "test".  "spoken_digit" has "train"
      only: use "train[:90%]" and "train[90%:]".
    feature: the name of the recording among the features of an example: integers of 16
      bits, or floats from -1 to 1.  If lengths differ, every example is read first, to
      count the clips.

    The other arguments are those of `audio_files`.

    Raises MissingDataError, with the command that prepares it, for a data set that does
    not exist, and for a missing file of it; ValueError for an unknown split or feature,
    splits that share recordings, a feature without a rate or in another encoding,
    several channels unless mixed, samples beyond 16 bits, and a split without clips or
    with silent ones only; CorruptFileError for a damaged file.  Each names the folder
    or file.
    """
    form = audio_decoding.Form(length, rate, short, mix_channels)
    audio_decoding.check_form(form)
    files.check_reading(cache_bytes, num_threads)
    dataset = tfds_files.prepared_dataset(
        builder=builder,
        training=training,
        held_out=held_out,
        data_dir=data_dir,
        what="recordings",
    )
    recording = _checked(dataset, feature, form)
    cache = files.Cache(cache_bytes)
    splits = []
    for which, name in enumerate(dataset.names):
        examples = tfds_files.records(dataset, which, feature, num_threads)
        cut = audio_decoding.clips(
            _recordings(examples, recording, form),
            form,
            numbers=range(examples.num),
            skip_corrupt=skip_corrupt,
            skip_silent=skip_silent,
            cache=cache,
            num_threads=num_threads,
        )
        audio_decoding.check_sounds(f"{dataset.label}: {name!r}", cut)
        splits.append(cut)

    counts = " + ".join(str(cut.split.num) for cut in splits) + " clips"
    changes = files.counts_text(*(cut.counts for cut in splits))
    of = f"{dataset.full_name}, {training} and {held_out}"
    return Audio(
        name=f"tfds_audio({of}, {length} at {rate} Hz, {counts}{changes})",
        source=f"TensorFlow Datasets {of}: {counts} of {length} samples{changes}",
        length=length,
        rate=rate,
        training=splits[0].split,
        held_out=splits[1].split,
        num_threads=num_threads,
        left_out=splits[0].left_out + splits[1].left_out,
    )


def _checked(
    dataset: tfds_files.PreparedDataset, name: str, form: audio_decoding.Form
) -> Any:
    """The audio feature of that name.  Raises ValueError if it cannot be read."""
    import tensorflow_datasets as tfds

    feature = tfds_files.check_has(dataset, name)
    label = f"{dataset.label}: {name}"
    if not isinstance(feature, tfds.features.Audio):
        raise ValueError(f"{label} is {feature}, wanted audio")
    content = feature.to_json_content()
    if content.lazy_decode or content.encoding not in ("", "NONE"):
        raise ValueError(f"{label}: is kept encoded, wanted its samples")
    if not feature.sample_rate:
        raise ValueError(f"{label}: of no known rate, wanted samples a second")
    audio_decoding.check_channels(label, _num_channels(feature), form)
    return feature


def _num_channels(feature: Any) -> int:
    return feature.shape[1] if len(feature.shape) == 2 else 1


def _recordings(
    examples: tfds_files.Records, feature: Any, form: audio_decoding.Form
) -> audio_decoding.Recordings:
    num_channels = _num_channels(feature)
    rate = feature.sample_rate
    is_float = np.issubdtype(feature.np_dtype, np.floating)
    fixed = feature.shape[0]

    def values(number: int) -> Any:
        """All samples, with the channels of one moment next to each other."""
        stored = examples.feature(number)
        numbers = stored.float_list.value if is_float else stored.int64_list.value
        wanted = "some" if fixed is None else fixed * num_channels
        if not len(numbers) or wanted not in ("some", len(numbers)):
            raise files.CorruptFileError(
                f"{examples.label(number)}: damaged; {len(numbers)} samples, "
                f"wanted {wanted}"
            )
        return numbers

    def header(number: int) -> audio_decoding.Header:
        num = len(values(number)) // num_channels if fixed is None else fixed
        return audio_decoding.header_of(num, rate, num_channels, form)

    def samples(number: int) -> np.ndarray:
        label = examples.label(number)
        sound = np.array(values(number), np.float64)
        if not is_float:
            least, most = sound.min(), sound.max()
            if least < LEAST or most > MOST:
                raise ValueError(
                    f"{label}: samples from {least:.0f} to {most:.0f}, wanted 16 bits"
                )
            sound /= 2**15
        return audio_decoding.to_samples(
            sound.reshape(-1, num_channels), rate, label, form
        )

    return audio_decoding.Recordings(examples.num, header, samples, examples.label)
