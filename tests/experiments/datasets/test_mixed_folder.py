"""A folder of 200 images in mixed layouts trains, with no wrong picture."""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from experiments.datasets import image_files
from experiments.datasets.images import training_batches
from tests import image_layouts
from tests.test_floors import REPO

NUM, SIZE = 200, image_layouts.HEIGHT


def tensorflow_pixels(data):
    """The pixels of a plain JPEG, by another reader than ours."""
    return tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE").numpy()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The folder, and the layouts of its files in the order of their names."""
    folder = tmp_path_factory.mktemp("mixed")
    made = image_layouts.layouts(tensorflow_pixels)
    readable = {
        name: how
        for name, how in made.items()
        if how(np.random.default_rng(0)).pixels is not None
    }
    layouts = []
    for number in range(NUM):
        how = list(readable.values())[number % len(readable)]
        layouts.append(how(np.random.default_rng(number)))
        path = folder / f"{number % 7}" / f"{number:03d}.{layouts[-1].suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(layouts[-1].data)
    order = sorted(range(NUM), key=lambda number: (number % 7, number))
    return folder, [layouts[number] for number in order]


@pytest.mark.slow
def test_every_picture_of_an_epoch_is_that_of_another_reader(mixed, tmp_path):
    folder, layouts = mixed
    (tmp_path / "other.png").write_bytes(layouts[0].data)
    images = image_files(
        path=folder,
        held_out_path=tmp_path,
        size=SIZE,
        convert_grey=True,
        flip=False,
        cache_bytes=0,
    )
    assert images.training.num == NUM
    batches = training_batches(images, seed=0, batch_size=NUM)
    left = list(range(NUM))
    found = list(batches(0)["image"])
    for pixels in found:
        matches = [n for n in left if agrees(pixels, layouts[n])]
        assert matches
        left.remove(matches[0])
    # The splits number the files by name.
    for number, layout in enumerate(layouts):
        pixels = images.training.example(number, np.random.default_rng(0))
        assert agrees(pixels, layout)


def agrees(pixels, layout):
    top, left = ((length - SIZE) // 2 for length in layout.pixels.shape[:2])
    wanted = layout.pixels[top : top + SIZE, left : left + SIZE].astype(int)
    return np.abs(pixels - wanted).max() <= layout.tolerance


@pytest.mark.slow
def test_the_folder_trains(mixed, tmp_path):
    folder, _ = mixed
    configs = ("own_images", "tiny")
    given = {"path": f"'{folder}'", "convert_grey": "True"}
    subprocess.run(
        [
            str(REPO / "bin/train"),
            *(f"--gin_config=configs/image_transformer/{name}.gin" for name in configs),
            *(f"--gin_param=datasets.image_files.{k}={v}" for k, v in given.items()),
            f"--workdir={tmp_path / 'run'}",
        ],
        cwd=REPO,
        check=True,
        capture_output=True,
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "180 + 20 images" in summary["images"]
    assert np.isfinite(summary["held_out"]["loss"])
