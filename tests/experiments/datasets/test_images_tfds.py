"""Data sets as TensorFlow Datasets prepares them, made here on disk."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from experiments.datasets import tfds_images
from experiments.datasets.files import CorruptFileError
from experiments.datasets.images import held_out_batches, training_batches

SIZE, NUM = 8, 24
FORMATS = ("tfrecord", "array_record")


def pixels(number, size=SIZE):
    random = np.random.default_rng(number)
    return random.integers(256, size=(size, size, 3)).astype(np.uint8)


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Pictures of noise, which the label numbers."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="colour"),
        tfds.core.BuilderConfig(name="grey"),
        tfds.core.BuilderConfig(name="any_size"),
    ]

    def _info(self):
        side = None if self.builder_config.name == "any_size" else SIZE
        channels = 1 if self.builder_config.name == "grey" else 3
        features = {
            "image": tfds.features.Image(shape=(side, side, channels)),
            "label": tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, _):
        return {
            "train": self._generate_examples(0, NUM),
            "test": self._generate_examples(NUM, NUM + 6),
        }

    def _generate_examples(self, first, end):
        channels = self.info.features["image"].shape[2]
        for number in range(first, end):
            image = pixels(number)[..., :channels]
            yield number, {"image": image, "label": number}


@pytest.fixture(scope="module", params=FORMATS)
def data_dir(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    for config in ("colour", "grey", "any_size"):
        name = f"tiny_pictures/{config}"
        builder = tfds.builder(name, data_dir=folder, file_format=request.param)
        builder.download_and_prepare()
    return folder


def of(data_dir, **more):
    given = {
        "builder": "tiny_pictures/colour",
        "training": "train",
        "held_out": "test",
        "size": SIZE,
    }
    return tfds_images(data_dir=data_dir, **(given | more))


def all_of(split):
    random = np.random.default_rng(0)
    return [split.example(number, random) for number in range(split.num)]


def bytes_of(images):
    return sorted(image.tobytes() for image in images)


def the_file(data_dir, config="colour", split="train"):
    folder = data_dir / "tiny_pictures" / config / "1.2.0"
    (path,) = folder.glob(f"*-{split}.*")
    return path


def test_both_splits_hold_what_was_prepared(data_dir):
    images = of(data_dir)
    wanted = [pixels(number) for number in range(NUM + 6)]
    assert bytes_of(all_of(images.training)) == bytes_of(wanted[:NUM])
    assert bytes_of(all_of(images.held_out)) == bytes_of(wanted[NUM:])
    assert "tiny_pictures/colour/1.2.0, train and test" in images.name
    assert "24 + 6 images" in images.source and str(data_dir) not in images.name


def test_images_have_the_order_of_tensorflow_datasets_itself(data_dir):
    builder = tfds.builder_from_directory(the_file(data_dir).parent)
    raw = {"image": tfds.decode.SkipDecoding()}
    if builder.info.file_format.value == "tfrecord":
        held = builder.as_dataset(split="train[25%:]", decoders=raw)
        files = [example["image"].numpy() for example in held]
    else:
        held = builder.as_data_source(split="train[25%:]", decoders=raw)
        files = [held[number]["image"] for number in range(len(held))]
    images = of(data_dir, training="train[25%:]")
    assert len(files) == 18
    for file, image in zip(files, all_of(images.training), strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(file), image)


def test_a_share_of_a_split_may_be_held_out(data_dir):
    images = of(data_dir, training="train[:75%]", held_out="train[75%:]")
    assert (images.training.num, images.held_out.num) == (18, 6)
    found = all_of(images.training) + all_of(images.held_out)
    assert bytes_of(found) == bytes_of(pixels(number) for number in range(NUM))
    for training, held_out in (
        ("train[:80%]", "train[75%:]"),
        ("train", "train"),
        # Two parts of one file, of which the first is shared, then the last.
        ("train[:25%]+train[75%:]", "train[:25%]"),
        ("train[:25%]+train[75%:]", "train[80%:]"),
    ):
        said = "-train.*: is to be trained on and held out"
        with pytest.raises(ValueError, match=said):
            of(data_dir, training=training, held_out=held_out)
    images = of(data_dir, training="train[:25%]+train[75%:]", held_out="train[25%:75%]")
    assert (images.training.num, images.held_out.num) == (12, 12)


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_a_batch_is_of_its_number_wherever_reading_began(data_dir, cache_bytes):
    one, other = (of(data_dir, cache_bytes=cache_bytes) for _ in range(2))
    forward = training_batches(one, seed=3, batch_size=4)
    back = training_batches(other, seed=3, batch_size=4)
    wanted = [forward(number)["image"] for number in range(12)]
    for number in (11, 2, 7):
        np.testing.assert_array_equal(back(number)["image"], wanted[number])
    shares = [
        training_batches(one, seed=3, batch_size=4, process=i, num_processes=2)(7)
        for i in range(2)
    ]
    joined = np.concatenate([share["image"] for share in shares])
    np.testing.assert_array_equal(joined, wanted[7])
    assert held_out_batches(one, batch_size=6)(0)["image"].shape == (6, SIZE, SIZE, 3)


def test_images_are_made_smaller_as_asked(data_dir):
    images = of(data_dir, size=4, fit="box")
    means = [pixels(n).reshape(4, 2, 4, 2, 3).mean((1, 3)) for n in range(NUM)]
    wanted = [np.floor(mean + 0.5).astype(np.uint8) for mean in means]
    assert bytes_of(all_of(images.training)) == bytes_of(wanted)


def test_the_newest_version_is_read_unless_another_is_named(data_dir, tmp_path):
    folder = tmp_path / "tiny_pictures" / "colour"
    for version in ("1.2.0", "1.10.0"):
        shutil.copytree(the_file(data_dir).parent, folder / version)
        path = folder / version / "dataset_info.json"
        path.write_text(path.read_text().replace("1.2.0", version))
    assert "/1.10.0," in of(tmp_path).name
    assert "/1.2.0," in of(tmp_path, builder="tiny_pictures/colour:1.2.0").name
    with pytest.raises(FileNotFoundError, match="wanted version 3.0.0 as"):
        of(tmp_path, builder="tiny_pictures/colour:3.0.0")


def test_a_data_set_that_is_not_prepared_is_named_with_the_command(
    tmp_path, monkeypatch
):
    said = rf"{tmp_path}/cifar10: cifar10 is not prepared there.*tfds build cifar10 "
    with pytest.raises(FileNotFoundError, match=said + f"--data_dir={tmp_path}"):
        of(tmp_path, builder="cifar10")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=said):
        of(None, builder="cifar10")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"held_out": "validation"}, r"has splits \['test', 'train'\], given 'valid"),
        ({"training": "train[:0]"}, r"no images in 'train\[:0\]'"),
        ({"feature": "picture"}, r"has \['image', 'label'\], wanted a feature 'pic"),
        ({"feature": "label"}, "label is Scalar.*wanted an image of uint8"),
        ({"size": 9}, "image: 8 x 8 pixels, wanted at least 9 x 9"),
        ({"size": 9, "builder": "tiny_pictures/any_size"}, "record 0: 8 x 8 pixels"),
        ({"builder": "tiny_pictures/grey"}, "image: a grey image, wanted colour"),
        ({"num_threads": 0}, "num_threads: given 0, wanted 1 or more"),
    ],
)
def test_what_a_data_set_has_not_is_refused(data_dir, given, said):
    with pytest.raises(ValueError, match=said):
        of(data_dir, **given)


def test_grey_images_are_converted_when_asked(data_dir):
    images = of(data_dir, builder="tiny_pictures/grey", convert_grey=True)
    wanted = [np.repeat(pixels(n)[..., :1], 3, axis=-1) for n in range(NUM)]
    assert bytes_of(all_of(images.training)) == bytes_of(wanted)


@pytest.fixture
def copied(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "copied")
    return tmp_path / "copied"


def test_a_missing_file_is_named(copied):
    path = the_file(copied, split="test")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{path}: a file of tiny_pictures"):
        of(copied)


def test_a_damaged_image_is_named_and_skipped_only_when_asked(copied):
    path = the_file(copied)
    held = bytearray(path.read_bytes())
    places = [at for at in range(len(held)) if held[at : at + 4] == b"IDAT"]
    held[places[3] + 10] ^= 255
    path.write_bytes(held)
    images = of(copied)
    with pytest.raises(CorruptFileError, match=rf"{path}: record \d+: damaged"):
        all_of(images.training)
    images = of(copied, skip_corrupt=True)
    assert images.training.num == NUM - 1
    assert "1 corrupt skipped" in images.name and "1 corrupt" in images.source


def test_a_file_cut_short_is_named(copied):
    path = the_file(copied)
    held = path.read_bytes()
    path.write_bytes(held[:-10])
    with pytest.raises(CorruptFileError, match=rf"{path}: "):
        all_of(of(copied).training)


@pytest.mark.parametrize("data_dir", ["tfrecord"], indirect=True)
def test_a_tfrecord_with_records_missing_is_named(copied):
    path = the_file(copied)
    held = path.read_bytes()
    first = int.from_bytes(held[:8], "little")
    path.write_bytes(held[16 + first :])
    with pytest.raises(CorruptFileError, match="23 records, wanted 24"):
        of(copied)
