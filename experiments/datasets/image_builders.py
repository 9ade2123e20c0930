"""Images that TensorFlow Datasets has prepared, read by number from its files."""

import concurrent.futures
import io
import os
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from experiments.datasets.image_decoding import (
    Cache,
    CorruptImageError,
    Encoded,
    Fit,
    check_colour,
    check_fit,
    check_large_enough,
    check_reading,
    decoded,
)
from experiments.datasets.images import Images, Part, check_apart

DEFAULT_DATA_DIR = "~/tensorflow_datasets"  # of TensorFlow Datasets itself
VERSION = re.compile(r"\d+\.\d+\.\d+")
# A record is its length (8 bytes), a checksum (4), itself, and a checksum (4).
HEAD_BYTES, TAIL_BYTES = 12, 4


def tfds_images(
    *,
    builder: str,
    training: str,
    held_out: str,
    size: int,
    data_dir: Path | str | None = None,
    feature: str = "image",
    fit: str = "crop",
    flip: bool = True,
    convert_grey: bool = False,
    skip_corrupt: bool = False,
    cache_bytes: int = 2**29,
    num_threads: int = 2,
) -> Images:
    """The images of a data set that `tfds build` has prepared; nothing is downloaded.

    They are numbered as its files have them, and any is read at once: an array_record
    has an index, and of a tfrecord one is made at the start, from its records' lengths.

    builder: "cifar10" or "celeb_a_hq/256"; with ":3.0.2" after it that version, else
      the newest one prepared.
    training, held_out: splits as TensorFlow Datasets writes them: "train",
      "train[:90%]".
    data_dir: the folder of all data sets; None: TFDS_DATA_DIR, or else
      ~/tensorflow_datasets.
    feature: which of an example's is the image.
    fit, flip, convert_grey, skip_corrupt, cache_bytes: as `image_files` has them; but
      where nothing is skipped, only a split's first image is looked at before training.

    Raises FileNotFoundError, with the command that prepares it, for a data set that is
    not there, and for a file of it that is missing; ValueError for a split or a feature
    that it has not, splits that share images, images that are grey or smaller than
    wanted, and files in another format; CorruptImageError for a damaged file.  Each
    names the folder or the file.
    """
    wanted = Fit(size, fit, convert_grey)
    check_fit(wanted)
    check_reading(cache_bytes, num_threads)
    folder = _prepared(builder, data_dir)
    import tensorflow_datasets as tfds  # seconds, and only where it is asked for

    held = tfds.builder_from_directory(folder)
    label = f"{held.info.full_name} in {folder}"
    _check_feature(label, held.info.features, feature, wanted)
    splits = [_split(label, held.info, name) for name in (training, held_out)]
    check_apart(_parts(splits[0], training), _parts(splits[1], held_out))
    cache = Cache(cache_bytes)
    found = []
    for name, split in zip((training, held_out), splits, strict=True):
        encoded = _encoded(label, held, name, split, feature, num_threads)
        images = decoded(
            encoded,
            wanted,
            skip_corrupt=skip_corrupt,
            check_all=False,
            cache=cache,
            num_threads=num_threads,
        )
        if not images.split.num_images:
            raise ValueError(f"{label}: all images of {name!r} are corrupt")
        found.append(images)

    num_skipped = sum(images.num_skipped for images in found)
    skipped = f", {num_skipped} corrupt skipped" if num_skipped else ""
    counts = " + ".join(str(images.split.num_images) for images in found)
    given = f"{held.info.full_name}, {training} and {held_out}"
    return Images(
        name=f"tfds_images({given}, {fit} {size}, {counts} images{skipped})",
        source=f"TensorFlow Datasets {given}: {counts} images{skipped}",
        size=size,
        training=found[0].split,
        held_out=found[1].split,
        flip=flip,
        num_threads=num_threads,
    )


def _prepared(builder: str, data_dir: Path | str | None) -> Path:
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


def _check_feature(label: str, features: Any, name: str, fit: Fit) -> None:
    import tensorflow_datasets as tfds

    if name not in features:
        raise ValueError(f"{label}: has {sorted(features)}, wanted a feature {name!r}")
    feature = features[name]
    if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
        raise ValueError(f"{label}: {name} is {feature}, wanted an image of uint8")
    height, width, channels = feature.shape
    check_colour(f"{label}: {name}", channels == 1, fit)
    if None not in (height, width):
        check_large_enough(f"{label}: {name}", height, width, fit)


def _split(label: str, info: Any, name: str) -> Any:
    try:
        split = info.splits[name]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{label}: has splits {sorted(info.splits)}, given {name!r}"
        ) from error
    if not split.num_examples:
        raise ValueError(f"{label}: no images in {name!r}")
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


def _encoded(
    label: str, builder: Any, name: str, split: Any, feature: str, num_threads: int
) -> Encoded:
    form = builder.info.file_format.value
    if form == "tfrecord":
        return _of_tfrecords(split, feature, num_threads)
    if form == "array_record":
        return _of_array_records(builder, name, split, feature)
    raise ValueError(f"{label}: {form} files, wanted array_record or tfrecord")


def _label(split: Any, number: int) -> str:
    for part in split.file_instructions:
        if number < part.take:
            return f"{part.filename}: record {part.skip + number}"
        number -= part.take
    raise IndexError(number)


def _of_array_records(builder: Any, name: str, split: Any, feature: str) -> Encoded:
    import tensorflow_datasets as tfds

    raw = {feature: tfds.decode.SkipDecoding()}
    examples = builder.as_data_source(split=name, decoders=raw)

    def open_number(number: int) -> BinaryIO:
        try:
            return io.BytesIO(examples[number][feature])
        except (OSError, ValueError, RuntimeError) as error:
            raise CorruptImageError(
                f"{_label(split, number)}: damaged ({error})"
            ) from error

    return Encoded(split.num_examples, lambda n: _label(split, n), open_number)


def _of_tfrecords(split: Any, feature: str, num_threads: int) -> Encoded:
    import tensorflow as tf

    parts = split.file_instructions
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        of_parts = list(pool.map(_places, parts))
    places = np.concatenate(of_parts)  # [images, 2]: where each begins, and its length
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in of_parts])

    def open_number(number: int) -> BinaryIO:
        begin, length = (int(n) for n in places[number])
        with open(parts[part_of[number]].filename, "rb", buffering=0) as file:
            record = os.pread(file.fileno(), length, begin)
        try:
            example = tf.train.Example.FromString(record)
            (held,) = example.features.feature[feature].bytes_list.value
        except Exception as error:  # protobuf's are of one module in each of its kinds
            raise CorruptImageError(
                f"{_label(split, number)}: damaged ({error})"
            ) from error
        return io.BytesIO(held)

    return Encoded(len(places), lambda n: _label(split, n), open_number)


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
                raise CorruptImageError(
                    f"{part.filename}: damaged; record {len(found)} ends after the file"
                )
            found.append((begin, length))
    if len(found) != part.examples_in_shard:
        raise CorruptImageError(
            f"{part.filename}: damaged; {len(found)} records, wanted "
            f"{part.examples_in_shard}"
        )
    return np.array(found, np.int64)[part.skip : part.skip + part.take]
