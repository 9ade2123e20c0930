"""Data sets that TensorFlow Datasets has prepared, read by number from their files."""

import concurrent.futures
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.datasets import files

DEFAULT_DATA_DIR = "~/tensorflow_datasets"  # of TensorFlow Datasets itself
VERSION = re.compile(r"\d+\.\d+\.\d+")
# A record is its length (8 bytes), a checksum (4), itself, and a checksum (4).
HEAD_BYTES, TAIL_BYTES = 12, 4


class Records(NamedTuple):
    """A split's examples by number, in the order of its files."""

    num: int
    label: Callable[[int], str]  # the name of one in errors
    # A feature of an example, a tf.train.Feature; CorruptFileError if damaged.
    feature: Callable[[int], Any]


class PreparedDataset(NamedTuple):
    """A data set with its training split and its held-out split."""

    label: str  # its name in errors, with its folder
    full_name: str  # with its version
    builder: Any
    names: tuple[str, str]  # of the splits, as the user wrote them
    splits: tuple[Any, Any]


def prepared_dataset(
    *,
    builder: str,
    training: str,
    held_out: str,
    data_dir: Path | str | None,
    what: str,
) -> PreparedDataset:
    """A data set that `tfds build` has prepared.  Nothing is downloaded.

    builder: "cifar10" or "celeb_a_hq/256"; ":3.0.2" after it selects a version, the
      default is the newest one prepared.
    training, held_out: splits as TensorFlow Datasets writes them: "train",
      "train[:90%]".
    data_dir: the folder of all data sets; None: TFDS_DATA_DIR, or else
      ~/tensorflow_datasets.
    what: the name of its examples in errors: "images".

    Raises MissingDataError, with the command that prepares it, for a data set that does
    not exist, and for a missing file of it; ValueError for an unknown or empty split,
    and for two splits that share examples.
    """
    folder = _folder(builder, data_dir)
    import tensorflow_datasets as tfds  # seconds, and only where it is asked for

    dataset = tfds.builder_from_directory(folder)
    info = dataset.info
    label = f"{info.full_name} in {folder}"
    one, two = (_split(label, info, name, what) for name in (training, held_out))
    files.check_apart(_parts(one, training), _parts(two, held_out))
    return PreparedDataset(
        label, info.full_name, dataset, (training, held_out), (one, two)
    )


def records(
    dataset: PreparedDataset, which: int, feature: str, num_threads: int
) -> Records:
    """The examples of the training split (`which` is 0) or the held-out split (1).

    Access is random: an array_record has an index, and the index of a tfrecord is built
    first, from the lengths of its records.

    Raises ValueError for files of another format, and CorruptFileError for a damaged
    tfrecord.
    """
    split = dataset.splits[which]
    form = dataset.builder.info.file_format.value
    if form == "tfrecord":
        read = _of_tfrecords(split, num_threads)
    elif form == "array_record":
        read = _of_array_records(dataset.builder, dataset.names[which])
    else:
        raise ValueError(
            f"{dataset.label}: {form} files, wanted array_record or tfrecord"
        )
    import tensorflow as tf

    def label(number: int) -> str:
        return _label(split, number)

    def feature_of(number: int) -> Any:
        try:
            example = tf.train.Example.FromString(read(number))
        except Exception as error:  # protobuf has an error class for each backend
            raise files.CorruptFileError(
                f"{label(number)}: damaged ({error})"
            ) from error
        return example.features.feature[feature]

    return Records(split.num_examples, label, feature_of)


def check_has(dataset: PreparedDataset, feature: str) -> Any:
    """The data set's feature of that name.  Raises ValueError if there is none."""
    features = dataset.builder.info.features
    if feature not in features:
        raise ValueError(
            f"{dataset.label}: has {sorted(features)}, wanted a feature {feature!r}"
        )
    return features[feature]


def _folder(builder: str, data_dir: Path | str | None) -> Path:
    """The folder of the version asked for, or of the newest one."""
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or DEFAULT_DATA_DIR)
    root = root.expanduser()
    name, _, version = builder.partition(":")
    folders = [
        path.parent
        for path in (root / name).glob("*/dataset_info.json")
        if VERSION.fullmatch(path.parent.name) and version in ("", path.parent.name)
    ]
    if not folders:
        wanted = f"version {version}" if version else "a version of it"
        raise files.MissingDataError(
            f"builder: {root / name}: {builder} is not prepared there, wanted {wanted} "
            f"as `.venv/bin/tfds build {builder} --data_dir={root}` makes it; data_dir "
            "is the folder of all data sets"
        )
    return max(folders, key=lambda path: [int(n) for n in path.name.split(".")])


def _split(label: str, info: Any, name: str, what: str) -> Any:
    try:
        split = info.splits[name]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{label}: has splits {sorted(info.splits)}, given {name!r}"
        ) from error
    if not split.num_examples:
        raise ValueError(f"{label}: no {what} in {name!r}")
    for part in split.file_instructions:
        if not Path(part.filename).is_file():
            raise files.MissingDataError(
                f"{part.filename}: a file of {label} is missing"
            )
    return split


def _parts(split: Any, name: str) -> list[files.Part]:
    """The parts of files that make a split: a file may have several."""
    return [
        files.Part(
            part.filename,
            f"{part.filename}, of {name!r}",
            range(part.skip, part.skip + part.take),
        )
        for part in split.file_instructions
    ]


def _label(split: Any, number: int) -> str:
    for part in split.file_instructions:
        if number < part.take:
            return f"{part.filename}: record {part.skip + number}"
        number -= part.take
    raise IndexError(number)


def _of_array_records(builder: Any, name: str) -> Callable[[int], bytes]:
    import tensorflow_datasets as tfds

    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    examples = builder.as_data_source(split=name, deserialize_method=raw)
    return lambda number: examples[number]


def _of_tfrecords(split: Any, num_threads: int) -> Callable[[int], bytes]:
    parts = split.file_instructions
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        of_parts = list(pool.map(_places, parts))
    places = np.concatenate(of_parts)  # [records, 2]: where each begins, and its length
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in of_parts])

    def read(number: int) -> bytes:
        begin, length = (int(n) for n in places[number])
        with open(parts[part_of[number]].filename, "rb", buffering=0) as file:
            return os.pread(file.fileno(), length, begin)

    return read


def _places(part: Any) -> np.ndarray:
    """[records, 2] int64: where each of a part's records begins, and its bytes."""
    records = []
    size = os.path.getsize(part.filename)
    end = 0
    with open(part.filename, "rb", buffering=0) as file:
        while end < size:
            head = os.pread(file.fileno(), HEAD_BYTES, end)
            cut = len(head) < HEAD_BYTES
            (length,) = (size,) if cut else struct.unpack("<Q", head[:8])
            begin = end + HEAD_BYTES
            end = begin + length + TAIL_BYTES
            if end > size:
                raise files.CorruptFileError(
                    f"{part.filename}: damaged; record {len(records)} ends after "
                    "the file"
                )
            records.append((begin, length))
    if len(records) != part.examples_in_shard:
        raise files.CorruptFileError(
            f"{part.filename}: damaged; {len(records)} records, wanted "
            f"{part.examples_in_shard}"
        )
    return np.array(records, np.int64)[part.skip : part.skip + part.take]
