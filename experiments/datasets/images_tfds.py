"""Images that TensorFlow Datasets has prepared, read by number from its files."""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np

from experiments.datasets import files, image_decoding, tfds_files
from experiments.datasets.images import Images


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
    cache_bytes: int = files.CACHE_BYTES,
    num_threads: int = 2,
) -> Images:
    """The images of a data set that `tfds build` has prepared.  Nothing is downloaded.

    builder, training, held_out, data_dir: see `prepared_dataset`.  Images are numbered
      in the order of the data set's files.
    feature: the name of the image among the features of an example.
    fit, flip, convert_grey, skip_corrupt, cache_bytes: see `image_files`.  Unless
      corrupt images are skipped, only the first of a split is checked before training.

    Raises MissingDataError, with the command that prepares it, for a data set that does
    not exist, and for a missing file of it; ValueError for an unknown split or feature,
    splits that share images, images that are grey or smaller than `size`, and files in
    another format; CorruptFileError for a damaged file.  Each names the folder or file.
    """
    wanted = image_decoding.Fit(size, fit, convert_grey)
    image_decoding.check_fit(wanted)
    files.check_reading(cache_bytes, num_threads)
    dataset = tfds_files.prepared_dataset(
        builder=builder,
        training=training,
        held_out=held_out,
        data_dir=data_dir,
        what="images",
    )
    _check_feature(dataset, feature, wanted)
    cache = files.Cache(cache_bytes)
    splits = []
    for which, name in enumerate(dataset.names):
        images = image_decoding.decoded(
            _encoded(tfds_files.records(dataset, which, feature, num_threads)),
            wanted,
            skip_corrupt=skip_corrupt,
            check_all=False,
            cache=cache,
            num_threads=num_threads,
        )
        if not images.split.num:
            raise ValueError(f"{dataset.label}: all images of {name!r} are corrupt")
        splits.append(images)

    skipped = files.counts_text(*(images.counts for images in splits))
    counts = " + ".join(str(images.split.num) for images in splits)
    of = f"{dataset.full_name}, {training} and {held_out}"
    return Images(
        name=f"tfds_images({of}, {fit} {size}, {counts} images{skipped})",
        source=f"TensorFlow Datasets {of}: {counts} images{skipped}",
        size=size,
        training=splits[0].split,
        held_out=splits[1].split,
        flip=flip,
        num_threads=num_threads,
        left_out=splits[0].left_out + splits[1].left_out,
    )


def _check_feature(
    dataset: tfds_files.PreparedDataset, name: str, fit: image_decoding.Fit
) -> None:
    import tensorflow_datasets as tfds

    feature = tfds_files.check_has(dataset, name)
    label = f"{dataset.label}: {name}"
    if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
        raise ValueError(f"{label} is {feature}, wanted an image of uint8")
    height, width, channels = feature.shape
    image_decoding.check_colour(label, channels == 1, fit)
    if None not in (height, width):
        image_decoding.check_large_enough(label, height, width, fit)


def _encoded(examples: tfds_files.Records) -> files.Encoded:
    def open_number(number: int) -> BinaryIO:
        values = examples.feature(number).bytes_list.value
        if len(values) != 1:
            raise files.CorruptFileError(
                f"{examples.label(number)}: damaged; {len(values)} images, wanted 1"
            )
        return io.BytesIO(values[0])

    return files.Encoded(examples.num, examples.label, open_number)
