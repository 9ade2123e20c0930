"""bin/train on the vector-quantised autoencoder, and what it is to give."""

import io
import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import ppl_core as ppl
from experiments import datasets, vq_vae
from experiments.datasets.images import Images, Split, held_out_batches
from experiments.records import checkpoint, metrics
from experiments.training import optimizers
from experiments.training.checkpoints import NotFinite
from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings
from experiments.vq_vae import experiment, program, sampling
from tests.programs import ran, train_command

SIZES = vq_vae.Sizes(
    size=8,
    channels=6,
    strides=(2, 2),
    residual_layers=(0, 1),
    kernel_size=3,
    codes_per_position=2,
    num_mixtures=2,
    prior_start=2,
    prior_layers=1,
    prior_heads=2,
    prior_hidden=8,
    prior_filter_size=8,
    prior_block=4,
)
CODEBOOK = vq_vae.Codebook(num_codes=8, code_dim=4, num_samples=2)


class CropsOf16ForCodes(tfds.core.GeneratorBasedBuilder):
    """Natural-image crops, prepared as the data set that a config names would be."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(16, 16, 3))}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, _):
        return {name: self._generate_examples(name) for name in ("train", "validation")}

    def _generate_examples(self, split):
        crops = datasets.natural_image_crops(size=16).training
        for number in range(8):
            random = np.random.default_rng([number, *split.encode()])
            yield number, {"image": crops.example(number, random)}


def given(**more):
    return {
        "seed": 1,
        "sizes": SIZES,
        "codebook": CODEBOOK,
        "images": datasets.natural_image_crops(size=8, flip=False),
        "optimizer": optimizers.adam(optimizers.constant_schedule(0.003)),
        "loop": LoopSettings(
            num_steps=4, log_every=1, checkpoint_every=2, measure_peak=False
        ),
        "step": StepSettings(ema_decay=0.5),
        "batch_size": 8,
        "num_held_out": 16,
        "num_samples": 3,
    } | more


def events(folder, kind):
    return [e for e in metrics.read(folder / "metrics.jsonl") if e["kind"] == kind]


def final(folder, step):
    path = folder / "checkpoints" / f"step-{step:06d}"
    return checkpoint.load(path, metadata={}).arrays


def pixels(path):
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of four steps, and its summary."""
    folder = tmp_path_factory.mktemp("run")
    return folder, vq_vae.train(run_dir=folder, **given())


def held_out_of(settings, num_batches):
    batch = held_out_batches(settings["images"], batch_size=settings["batch_size"])
    return np.concatenate([batch(number)["image"] for number in range(num_batches)])


def weights_of(folder, step):
    """What is judged: averages of weights, and the codebook."""
    arrays = final(folder, step)
    judged = {n.partition("/")[2]: a for n, a in arrays.items() if n[:4] == "ema/"}
    return judged | {n.removeprefix("state/"): a for n, a in arrays.items()}


def test_bits_per_dim_are_the_bound_of_the_programs_on_whole_images(run):
    folder, summary = run
    weights = weights_of(folder, 4)
    images = tf.constant(held_out_of(given(), 2))
    table = weights["codes"]
    codes = program.codes_given_image(weights, table, SIZES, CODEBOOK, images)
    joint = ppl.make_log_joint_fn(program.image_and_codes)
    nats = -joint(weights, table, SIZES, CODEBOOK, 16, image=images, codes=codes.value)
    wanted = float(nats) / 16 / math.log(2) / (8 * 8 * 3)
    held_out = summary["held_out"]
    assert held_out["bits_per_dim"] == pytest.approx(wanted, rel=1e-5)
    assert held_out["loss"] == pytest.approx(
        held_out["pixels"] + held_out["codes"], rel=1e-6
    )
    assert 1 <= held_out["perplexity"] <= 8 and held_out["codes_in_use"] <= 8


def test_codes_count_as_equally_likely_until_the_prior_starts(run):
    told = events(run[0], "train")
    for event in told[:2]:  # before steps 0 and 1
        assert event["codes"] == pytest.approx(8 * math.log(8), rel=1e-6)
    assert all(abs(e["codes"] - 8 * math.log(8)) > 1e-4 for e in told[2:])


def test_reference_bits_are_of_the_images_that_are_judged(run):
    _, summary = run
    images = held_out_of(given(), 2).astype(np.uint8)
    sizes = []
    for image in images:
        held = io.BytesIO()
        Image.fromarray(image).save(held, "PNG", optimize=True)
        sizes.append(8 * len(held.getvalue()))
    assert summary["png_bits_per_dim"] == pytest.approx(sum(sizes) / images.size)
    assert 4 < summary["histogram_bits_per_dim"] < 9


def test_reconstructions_stand_below_the_originals_and_samples_beside(run):
    folder, _ = run
    (event,) = events(folder, "held_out")
    shown = pixels(folder / event["reconstructions"])
    assert shown.shape == (18, 28, 3)
    originals = held_out_batches(given()["images"], batch_size=3)(0)["image"]
    weights = weights_of(folder, 4)
    made = sampling.reconstruct(weights, SIZES, CODEBOOK, tf.constant(originals))
    for number in range(3):
        column = slice(10 * number, 10 * number + 8)
        np.testing.assert_array_equal(shown[:8, column], originals[number])
        apart = shown[10:, column].astype(int) - made[number].numpy()
        assert np.abs(apart).max() <= 1
    assert pixels(folder / event["samples"]).shape == (8, 28, 3)
    events_file = next((folder / "tensorboard").iterdir()).read_bytes()
    assert b"held_out/samples" in events_file
    assert b"held_out/reconstructions" in events_file


@pytest.mark.slow
def test_a_run_gone_on_with_ends_as_one_that_never_stopped(run, tmp_path):
    straight, _ = run
    for steps, resume in ((2, False), (4, True)):
        loop = LoopSettings(
            num_steps=steps, log_every=1, checkpoint_every=2, measure_peak=False
        )
        vq_vae.train(run_dir=tmp_path, resume=resume, **given(loop=loop))
    one, two = final(straight, 4), final(tmp_path, 4)
    assert one.keys() == two.keys()
    assert {n for n in one if n.startswith("state/")} >= {"state/codes", "state/sums"}
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], strict=True)
    last = [events(f, "held_out")[-1] for f in (straight, tmp_path)]
    assert last[0]["loss"] == last[1]["loss"]
    for name in ("samples", "reconstructions"):
        one, two = (
            pixels(f / e[name]) for f, e in zip((straight, tmp_path), last, strict=True)
        )
        np.testing.assert_array_equal(one, two)


def test_it_learns_colours(tmp_path):
    """Flat squares: a few codes say all, and the prior which of them go together."""

    def image(number, random):
        colour = np.random.default_rng(random.integers(6)).integers(20, 230, size=3)
        return np.broadcast_to(colour, (8, 8, 3)).astype(np.uint8)

    images = Images("flat", "this test", 8, Split(None, image), Split(None, image))
    loop = LoopSettings(
        num_steps=240, log_every=40, evaluate_every=80, measure_peak=False
    )
    settings = given(
        images=images,
        loop=loop,
        num_samples=0,
        sizes=SIZES._replace(prior_start=80),
        optimizer=optimizers.adam(optimizers.constant_schedule(0.01)),
    )
    summary = vq_vae.train(run_dir=tmp_path, **settings)
    held_out = events(tmp_path, "held_out")
    assert "samples" not in held_out[-1]
    assert held_out[-1]["pixels"] < 0.9 * held_out[0]["pixels"]
    assert summary["held_out"]["codes"] < 0.7 * 8 * math.log(8)


def test_a_codebook_that_collapses_is_warned_of_with_what_to_do():
    settings = given(num_samples=0)
    show = experiment._show(
        SIZES, CODEBOOK._replace(num_codes=64), settings["images"], 0, 0, 1.0
    )
    usage = np.zeros(64, np.float32)
    usage[:2] = 0.5
    with pytest.warns(
        RuntimeWarning, match="perplexity 2.0 of 64 .* step 300.*restart"
    ):
        show({"usage": usage, "steps": np.float32(300)})
    assert show({"usage": usage, "steps": np.float32(100)}) == {}  # too early to tell
    assert show({"usage": np.ones(64, np.float32), "steps": np.float32(300)}) == {}


@pytest.mark.slow
def test_a_training_whose_codebook_collapses_warns_of_it(tmp_path):
    """Of one colour all codes are the same: draws are of all, one is nearest."""

    def image(number, random):
        return np.full((8, 8, 3), 90, np.uint8)

    images = Images("grey", "this test", 8, Split(None, image), Split(None, image))
    loop = LoopSettings(
        num_steps=experiment.SETTLED,
        evaluate_every=experiment.SETTLED,
        log_every=100,
        measure_peak=False,
    )
    settings = given(
        images=images,
        loop=loop,
        codebook=CODEBOOK._replace(num_codes=128, restart_threshold=0.0),
    )
    with pytest.warns(
        RuntimeWarning, match="it has collapsed; raise Codebook.restart_threshold"
    ):
        vq_vae.train(run_dir=tmp_path, **settings)
    last = events(tmp_path, "held_out")[-1]
    assert last["nearest_perplexity"] < 12.8


def test_weights_that_run_off_end_with_the_step_and_not_within_it(tmp_path):
    settings = given(optimizer=optimizers.adam(optimizers.constant_schedule(1e25)))
    with pytest.raises(NotFinite, match="loss"):
        vq_vae.train(run_dir=tmp_path, **settings)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"sizes": SIZES._replace(size=16)},
            "a model of 16 x 16 pixels, wanted the 8 x 8 of natural-image crops",
        ),
        ({"sizes": SIZES._replace(num_values=2)}, "num_values: given 2, wanted the"),
        ({"codebook": CODEBOOK._replace(num_codes=1)}, "num_codes: given 1"),
        ({"num_held_out": None}, "num_held_out: given None, wanted a number"),
        ({"num_samples": -1}, "num_samples: given -1"),
        ({"temperature": -1.0}, "temperature: given -1.0, wanted a finite number"),
        ({"mesh": "batch:3"}, "given 8, wanted a multiple of 3: mesh batch:3"),
        ({"mesh": "batch:1,model:2"}, "wanted 'batch' alone: .* has the state .*"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path, wrong, said
):
    with pytest.raises(ValueError, match=said):
        vq_vae.train(run_dir=tmp_path, **given(**wrong))
    assert not list(tmp_path.iterdir())


def command(folder, data):
    configs = ("vq_vae/imagenet64", "vq_vae/tiny")
    more = [f"--gin_param=datasets.tfds_images.data_dir='{data}'"]
    return train_command(*configs, workdir=folder, more=more)


@pytest.mark.slow
def test_the_imagenet_config_trains_on_what_is_prepared_when_it_is_tiny(tmp_path):
    folder, data = tmp_path / "run", tmp_path / "prepared"
    builder = CropsOf16ForCodes(data_dir=data / "made")
    builder.download_and_prepare()
    place = data / "downsampled_imagenet/64x64/2.0.0"
    place.parent.mkdir(parents=True)
    builder.data_path.rename(place)
    done = ran(command(folder, data))
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "run.json").read_text())["status"] == "done"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["source"].startswith("TensorFlow Datasets")
    assert summary["model"].startswith("vector_quantized(16x16 to 2x2x12 of 8 codes")
    assert [e["step"] for e in events(folder, "train")] == [2, 4, 6]
    assert all(3 < e["bits_per_dim"] < 12 for e in events(folder, "held_out"))


def test_a_data_set_that_is_not_there_is_an_error_that_says_how_to_prepare_it(
    tmp_path,
):
    done = ran(command(tmp_path / "run", tmp_path / "lost"))
    assert done.returncode == 2
    assert "tfds build downsampled_imagenet/64x64 --data_dir=" in done.stderr
    assert not (tmp_path / "run").exists()
