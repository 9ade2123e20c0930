"""Data sets that TensorFlow Datasets has prepared, read by number from their files."""

import concurrent.futures
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.datasets.files import CorruptFileError, Part, check_apart

DEFAULT_DATA_DIR = "~/tensorflow_datasets"  # of TensorFlow Datasets itself
VERSION = re.compile(r"\d+\.\d+\.\d+")
# A record is its length (8 bytes), a checksum (4), itself, and a checksum (4).
HEAD_BYTES, TAIL_BYTES = 12, 4


class Records(NamedTuple):
    """A split's examples by number, in the order of its files."""

    num: int
    label: Callable[[int], str]  # what an error calls one
    # One of an example's features, a tf.train.Feature; CorruptFileError where damaged.
    feature: Callable[[int], Any]


class Prepared(NamedTuple):
    """A data set, with what is to be trained on and what is held out."""

    label: str  # of it in errors, with its folder
    full_name: str  # with its version
    builder: Any
    names: tuple[str, str]  # of the splits, as they were given
    splits: tuple[Any, Any]


def prepared(
    *,
    builder: str,
    training: str,
    held_out: str,
    data_dir: Path | str | None,
    what: str,
) -> Prepared:
    """The data set that `tfds build` has prepared; nothing is downloaded.

    builder: "cifar10" or "celeb_a_hq/256"; with ":3.0.2" after it that version, else
      the newest one prepared.
    training, held_out: splits as TensorFlow Datasets writes them: "train",
      "train[:90%]".
    data_dir: the folder of all data sets; None: TFDS_DATA_DIR, or else
      ~/tensorflow_datasets.
    what: its examples are, in errors: "images".

    Raises FileNotFoundError, with the command that prepares it, for a data set that is
    not there, and for a file of it that is missing; ValueError for a split that it has
    not, an empty one, and two that share examples.
    """
    folder = _folder(builder, data_dir)
    import tensorflow_datasets as tfds  # seconds, and only where it is asked for

    held = tfds.builder_from_directory(folder)
    label = f"{held.info.full_name} in {folder}"
    one, two = (_split(label, held.info, name, what) for name in (training, held_out))
    check_apart(_parts(one, training), _parts(two, held_out))
    return Prepared(label, held.info.full_name, held, (training, held_out), (one, two))


def records(given: Prepared, which: int, feature: str, num_threads: int) -> Records:
    """The examples of the split to train on (`which` 0) or of the one held out (1).

    Any is read at once: an array_record has an index, and of a tfrecord one is made at
    the start, from its records' lengths.

    Raises ValueError for files of another format, and CorruptFileError for a tfrecord
    that is damaged.
    """
    split = given.splits[which]
    form = given.builder.info.file_format.value
    if form == "tfrecord":
        read = _of_tfrecords(split, num_threads)
    elif form == "array_record":
        read = _of_array_records(given.builder, given.names[which])
    else:
        raise ValueError(
            f"{given.label}: {form} files, wanted array_record or tfrecord"
        )
    import tensorflow as tf

    def label(number: int) -> str:
        return _label(split, number)

    def feature_of(number: int) -> Any:
        try:
            example = tf.train.Example.FromString(read(number))
        except Exception as error:  # protobuf's are of one module in each of its kinds
            raise CorruptFileError(f"{label(number)}: damaged ({error})") from error
        return example.features.feature[feature]

    return Records(split.num_examples, label, feature_of)


def check_has(given: Prepared, feature: str) -> Any:
    """The data set's feature of that name; ValueError where it has none."""
    features = given.builder.info.features
    if feature not in features:
        raise ValueError(
            f"{given.label}: has {sorted(features)}, wanted a feature {feature!r}"
        )
    return features[feature]


def _folder(builder: str, data_dir: Path | str | None) -> Path:
    """The folder of the version asked for, or of the newest one."""
    given = data_dir or os.environ.get("TFDS_DATA_DIR") or DEFAULT_DATA_DIR
    root = Path(given).expanduser()
    name, _, version = builder.partition(":")
    folders = [
        path.parent
        for path in (root / name).glob("*/dataset_info.json")
        if VERSION.fullmatch(path.parent.name) and version in ("", path.parent.name)
    ]
    if not folders:
        wanted = f"version {version}" if version else "a version of it"
        raise FileNotFoundError(
            f"{root / name}: {builder} is not prepared there, wanted {wanted} as "
            f"`.venv/bin/tfds build {builder} --data_dir={root}` makes it; data_dir is "
            "the folder of all data sets"
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
            raise FileNotFoundError(f"{part.filename}: a file of {label} is missing")
    return split


def _parts(split: Any, name: str) -> list[Part]:
    """What of the files a split is: some have several parts in one file."""
    return [
        Part(
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
    found = []
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
                raise CorruptFileError(
                    f"{part.filename}: damaged; record {len(found)} ends after the file"
                )
            found.append((begin, length))
    if len(found) != part.examples_in_shard:
        raise CorruptFileError(
            f"{part.filename}: damaged; {len(found)} records, wanted "
            f"{part.examples_in_shard}"
        )
    return np.array(found, np.int64)[part.skip : part.skip + part.take]
