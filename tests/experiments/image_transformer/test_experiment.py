"""bin/train on the Image Transformer, as a person runs it, and what it is to give."""

import functools
import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import ppl_core as ppl
from experiments import datasets, image_transformer
from experiments.baselines.image_transformer import pixelcnn
from experiments.datasets.images import Images, Split, held_out_batches
from experiments.image_transformer import experiment, program
from experiments.records import checkpoint, metrics
from experiments.training import optimizers
from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings
from tests.programs import ran, train_command

SIZE = 8
DATA_SETS = {  # that a config names: its splits, and the folder of its version
    "celeba_hq": ("celeb_a_hq/256/2.0.0", ("train",)),
    "cifar10": ("cifar10/3.0.2", ("train", "test")),
    "cifar10_dmol": ("cifar10/3.0.2", ("train", "test")),
    "imagenet64": ("downsampled_imagenet/64x64/2.0.0", ("train", "validation")),
}


class CropPictures(tfds.core.GeneratorBasedBuilder):
    """Natural-image crops, prepared as the data sets that configs name would be."""

    VERSION = tfds.core.Version("1.0.0")
    splits = ("train",)

    def _info(self):
        features = {"image": tfds.features.Image(shape=(SIZE, SIZE, 3))}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, _):
        return {name: self._generate_examples(name) for name in self.splits}

    def _generate_examples(self, split):
        crops = datasets.natural_image_crops(size=SIZE).training
        for number in range(60):
            random = np.random.default_rng([number, *split.encode()])
            yield number, {"image": crops.example(number, random)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with every data set that a config names, of few and small images."""
    folder = tmp_path_factory.mktemp("prepared")
    for place, splits in DATA_SETS.values():
        if not (folder / place).exists():
            builder = CropPictures(data_dir=folder / "made" / place)
            builder.splits = splits
            builder.download_and_prepare()
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            builder.data_path.rename(folder / place)
    return folder


def command(config, folder, *more):
    configs = (f"image_transformer/{config}", "image_transformer/tiny")
    return train_command(*configs, workdir=folder, more=more)


def data_in(folder):
    return f"--gin_param=datasets.tfds_images.data_dir='{folder}'"


def told(folder):
    return json.loads((folder / "run.json").read_text())


def reason(folder):
    return told(folder)["reason"]


def events(folder, kind):
    return [e for e in metrics.read(folder / "metrics.jsonl") if e["kind"] == kind]


def final(folder, step):
    path = folder / "checkpoints" / f"step-{step:06d}"
    return checkpoint.load(path, metadata={}).arrays


def pixels(path):
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def run_of(data_dir, tmp_path_factory):
    """The folder of a tiny run of a config, and what it said; each is run once."""

    @functools.cache
    def run(config):
        folder = tmp_path_factory.mktemp(config) / "run"
        more = [data_in(data_dir)] if config in DATA_SETS else []
        done = ran(command(config, folder, *more))
        assert done.returncode == 0, done.stderr
        return folder, done.stdout

    return run


@pytest.mark.parametrize(
    "config",
    [
        "natural_crops32",
        *(pytest.param(name, marks=pytest.mark.slow) for name in DATA_SETS),
    ],
)
def test_every_config_trains_judges_and_draws_when_it_is_tiny(config, run_of):
    folder, said = run_of(config)
    assert told(folder)["status"] == "done"
    assert [e["step"] for e in events(folder, "train")] == [2, 4, 6]
    held_out = events(folder, "held_out")
    assert [e["step"] for e in held_out] == [3, 6]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["held_out"]["bits_per_dim"] == held_out[-1]["bits_per_dim"]
    # Uniform values have 8 bits, and weights this small hardly tell more or less.
    assert 7 < summary["held_out"]["bits_per_dim"] < 10
    kind = "TensorFlow Datasets" if config in DATA_SETS else "natural-image crops"
    assert summary["source"].startswith(kind) and kind in said
    for event in held_out:
        assert pixels(folder / event["samples"]).shape == (8, 18, 3)
        assert pixels(folder / event["completions"]).shape == (28, 18, 3)
    shown = next((folder / "tensorboard").iterdir()).read_bytes()
    assert b"held_out/samples" in shown and b"held_out/completions" in shown


@pytest.mark.slow
def test_the_pixelcnn_is_trained_and_judged_on_the_same_images(run_of, tmp_path):
    folder, ours = tmp_path / "run", run_of("natural_crops32")[0]
    done = ran(
        command(
            "pixelcnn32",
            folder,
            "--gin_param=image_transformer.train.num_samples=0",
            "--gin_param=pixelcnn.model.layers=2",
            "--gin_param=pixelcnn.model.channels=4",
        )
    )
    assert done.returncode == 0, done.stderr
    given, wanted = (
        json.loads((f / "summary.json").read_text()) for f in (folder, ours)
    )
    for name in ("images", "source", "num_held_out_images", "steps"):
        assert given[name] == wanted[name]
    assert given["model"].startswith("pixelcnn(8x8")
    held_out = events(folder, "held_out")
    assert [event["step"] for event in held_out] == [3, 6]
    assert all(7 < event["bits_per_dim"] < 10 for event in held_out)
    assert not any("samples" in event for event in held_out)


@pytest.mark.slow
def test_a_run_gone_on_with_ends_as_one_that_never_stopped(run_of, data_dir, tmp_path):
    uninterrupted, _ = run_of("cifar10_dmol")
    folder = tmp_path / "run"
    shorter = "--gin_param=training.LoopSettings.num_steps=4"
    arguments = command("cifar10_dmol", folder, data_in(data_dir))
    assert ran([*arguments, shorter]).returncode == 0
    done = ran([*arguments, "--resume"])
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "summary.json").read_text())["resumed_from"] == 4
    one, two = final(uninterrupted, 6), final(folder, 6)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], strict=True)
    last = [events(f, "held_out")[-1] for f in (uninterrupted, folder)]
    assert last[0]["loss"] == last[1]["loss"]
    for name in ("samples", "completions"):
        pictures = [(uninterrupted, last[0]), (folder, last[1])]
        one, two = (pixels(f / event[name]) for f, event in pictures)
        np.testing.assert_array_equal(one, two)


def test_a_checkpoint_of_other_images_is_not_gone_on_with(run_of, tmp_path):
    folder = shutil.copytree(run_of("natural_crops32")[0], tmp_path / "run")
    other = "--gin_param=datasets.natural_image_crops.scales=(1, 2)"
    done = ran(command("natural_crops32", folder, other, "--resume"))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "scales=(1, 2)" in done.stderr and "scales=(1, 2, 4, 8)" in done.stderr


def test_a_data_set_that_is_not_there_is_an_error_that_says_how_to_prepare_it(
    tmp_path,
):
    folder, lost = tmp_path / "run", tmp_path / "lost"
    done = ran(command("celeba_hq", folder, data_in(lost)))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"tfds build celeb_a_hq/256 --data_dir={lost}" in done.stderr
    assert not folder.exists()


@pytest.mark.slow
def test_two_devices_give_the_losses_of_one(run_of, data_dir, tmp_path):
    uninterrupted, _ = run_of("cifar10_dmol")
    folder = tmp_path / "run"
    mesh = "--gin_param=image_transformer.train.mesh='batch:2'"
    done = ran(command("cifar10_dmol", folder, data_in(data_dir), mesh))
    assert done.returncode == 0, done.stderr
    for kind in ("train", "held_out"):
        one, two = (
            [event["loss"] for event in events(f, kind)]
            for f in (uninterrupted, folder)
        )
        np.testing.assert_allclose(one, two, rtol=1e-5)


# In this process.

SIZES = image_transformer.Sizes(
    height=4,
    width=4,
    layers=1,
    heads=2,
    hidden=16,
    key_size=8,
    value_size=8,
    filter_size=16,
    block=8,
    likelihood="dmol",
    num_mixtures=2,
)


def blank(number, _):
    return np.zeros((4, 4, 3), np.uint8)


FEW = Images("few", "this test", 4, Split(20, blank), Split(4, blank))


def given(**more):
    return {
        "seed": 1,
        "sizes": SIZES,
        "images": datasets.natural_image_crops(size=4, flip=False),
        "optimizer": optimizers.adam(optimizers.constant_schedule(0.01)),
        "loop": LoopSettings(num_steps=2, measure_peak=False),
        "step": StepSettings(),
        "batch_size": 8,
        "num_held_out": 16,
    } | more


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of two steps with averaged weights, their settings and summary."""
    folder = tmp_path_factory.mktemp("trained")
    settings = given(step=StepSettings(ema_decay=0.5), num_samples=3)
    return folder, settings, image_transformer.train(run_dir=folder, **settings)


def test_bits_per_dim_are_those_of_the_program_on_whole_images(trained):
    folder, settings, summary = trained
    assert summary["num_held_out_images"] == 16
    arrays = final(folder, 2)
    weights = {n.removeprefix("ema/"): a for n, a in arrays.items() if "ema/" in n}
    batch = held_out_batches(settings["images"], batch_size=8)
    pictures = np.concatenate([batch(number)["image"] for number in range(2)])
    log_likelihood = ppl.make_log_likelihood_fn(
        program.image_given_weights, observed={"image": tf.constant(pictures)}
    )
    nats = -log_likelihood(weights, SIZES, 16)["image"].numpy().astype(np.float64)
    wanted = nats.mean() / np.log(2) / (4 * 4 * 3)
    assert summary["held_out"]["bits_per_dim"] == pytest.approx(wanted, rel=1e-6)


def test_it_learns(tmp_path):
    loop = LoopSettings(num_steps=150, evaluate_every=10, measure_peak=False)
    image_transformer.train(run_dir=tmp_path, **given(loop=loop, num_samples=0))
    curve = [event["bits_per_dim"] for event in events(tmp_path, "held_out")]
    assert curve[-1] < 7 and curve[-1] < curve[0] - 0.5
    assert "samples" not in events(tmp_path, "held_out")[-1]


@pytest.mark.slow
def test_completions_by_two_dimensional_blocks_keep_what_they_were_given(tmp_path):
    sizes = SIZES._replace(attention="local_2d", block=(2, 2))
    settings = given(sizes=sizes, num_samples=3)
    image_transformer.train(run_dir=tmp_path, **settings)
    assert_given_are_kept(tmp_path, settings)


def test_completions_keep_what_they_were_given(trained):
    folder, settings, _ = trained
    assert_given_are_kept(folder, settings)


def assert_given_are_kept(folder, settings):
    (event,) = events(folder, "held_out")
    shown = pixels(folder / event["completions"])
    assert shown.shape == (16, 16, 3)
    held_out = held_out_batches(settings["images"], batch_size=3)(0)["image"]
    for number in range(3):
        whole, masked, completed = (
            shown[row : row + 4, 6 * number : 6 * number + 4] for row in (0, 6, 12)
        )
        np.testing.assert_array_equal(whole, held_out[number])
        for half in (masked, completed):  # two whole rows, or two blocks side by side
            np.testing.assert_array_equal(half[:2], whole[:2])
        assert (masked[2:] == experiment.HIDDEN_GREY).all()
        assert (completed[2:] != whole[2:]).any()


def test_every_image_of_a_finite_set_is_judged_by_when_no_number_is_given(tmp_path):
    def image(number, _):
        return np.full((4, 4, 3), number, np.uint8)

    images = Images("numbers", "this test", 4, Split(20, image), Split(17, image))
    settings = given(images=images, num_held_out=None, num_samples=0)
    summary = image_transformer.train(run_dir=tmp_path, **settings)
    assert summary["num_held_out_images"] == 16


def test_a_grid_has_the_images_row_by_row():
    images = np.arange(5)[:, None, None, None] * np.ones((5, 3, 4, 3), np.int32)
    made = experiment.grid(images, rows=2)
    assert made.shape == (8, 16, 3) and made.dtype == np.uint8
    assert (made[:3, 6:10] == 1).all() and (made[5:, :4] == 3).all()
    assert (made[3:5] == 255).all() and (made[5:, 12:] == 255).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"sizes": SIZES._replace(height=8)},
            "a model of 8 x 4 pixels, wanted the 4 x 4 of natural-image crops",
        ),
        ({"sizes": SIZES._replace(num_values=2)}, "num_values: given 2, wanted the"),
        ({"sizes": SIZES._replace(heads=3)}, "wanted a multiple of the 3 heads"),
        ({"num_held_out": None}, "num_held_out: given None, wanted a number"),
        ({"num_held_out": -1}, "num_held_out: given -1 images"),
        ({"mesh": "batch:3"}, "given 8, wanted a multiple of 3: mesh batch:3"),
        (
            {"step": StepSettings(num_microbatches=16)},
            "multiple of 16: mesh batch:1, 16 microbatches",
        ),
        ({"batch_size": 0}, "batch_size: given 0, wanted a whole number of at least 1"),
        (
            {"model": pixelcnn.model(height=4, width=4, layers=1, channels=2)}
            | {"num_samples": 1},
            "num_samples: given 1, wanted 0 with another model",
        ),
        (
            {"model": pixelcnn.model(height=8, width=8, layers=1, channels=2)}
            | {"num_samples": 0},
            "model: pixelcnn.* has 192 sub-pixels, wanted the 48 of natural-image",
        ),
        (
            {"num_samples": -1},
            "num_samples: given -1, wanted a whole number of at least 0",
        ),
        (
            {"images": FEW, "num_samples": 5},
            "num_samples: given 5, wanted at most the 4 images held out of few",
        ),
        ({"temperature": -0.5}, "temperature: given -0.5, wanted a finite number"),
        (
            {"temperature": float("nan")},
            "temperature: given nan, wanted a finite number",
        ),
        ({"device_type": "TPU"}, "wanted 1 of kind TPU, this machine has 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path, wrong, said
):
    with pytest.raises(ValueError, match=said):
        image_transformer.train(run_dir=tmp_path, **given(**wrong))
    assert not list(tmp_path.iterdir())
