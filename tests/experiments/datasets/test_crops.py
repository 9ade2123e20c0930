"""Crops of the photographs that packages ship, against the photographs themselves."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import datasets
from experiments.datasets import crops
from experiments.datasets.files import CorruptFileError
from experiments.datasets.images import held_out_batches, training_batches


def photograph(which):
    package = Path(importlib.util.find_spec(which.package).origin).parent
    with Image.open(package / which.file) as image:
        return np.asarray(image.convert("RGB"))


def squares(pixels, size, scale):
    """Every square of scale * size in a photograph, made smaller: in float64."""
    side = size * scale
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), (0, 1))
    boxes = windows.reshape(*windows.shape[:3], size, scale, size, scale)
    return np.moveaxis(boxes.mean((4, 6), dtype=np.float64), 2, -1)


@pytest.fixture(scope="module")
def images():
    return datasets.natural_image_crops(size=2, scales=(1, 4))


@pytest.mark.parametrize("which", ["training", "held_out"])
def test_every_crop_is_a_square_of_one_of_its_splits_photographs(images, which):
    split, photographs = {
        "training": (images.training, crops.TRAINING),
        "held_out": (images.held_out, crops.HELD_OUT),
    }[which]
    wanted = [split.example(n, np.random.default_rng(n)) for n in range(12)]
    found = np.zeros((len(photographs), 2, len(wanted)), bool)
    for i, one in enumerate(photographs):
        for j, scale in enumerate((1, 4)):
            for rows in np.array_split(photograph(one), 8):  # less memory at a time
                made = np.floor(squares(rows, 2, scale) + 0.5)
                for k, crop in enumerate(wanted):
                    found[i, j, k] |= (made == crop).all((2, 3, 4)).any()
    # A crop across the border of two of the eight pieces is in neither: few are.
    assert found.any((0, 1)).sum() >= 9
    assert found.any((0, 2)).all() and found.any((1, 2)).sum() >= 2


def test_no_photograph_is_both_trained_on_and_held_out():
    training, held_out = (
        {photograph(one).tobytes() for one in split}
        for split in (crops.TRAINING, crops.HELD_OUT)
    )
    assert len(training) == 5 and len(held_out) == 2 and not training & held_out


def test_crops_are_made_of_their_number_and_the_seed(images):
    one, again, other = (
        training_batches(images, seed=seed, batch_size=8)(5)["image"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any((1, 2, 3)).all()
    held_out = held_out_batches(images, batch_size=8)
    np.testing.assert_array_equal(held_out(3)["image"], held_out(3)["image"])


def test_crops_trained_on_are_turned_where_wanted_and_those_held_out_never():
    upright, turned = (
        datasets.natural_image_crops(size=4, rotate=rotate) for rotate in (False, True)
    )
    assert turned.name == "natural-image crops(size=4, scales=(1, 2, 4, 8), turned)"
    found = np.zeros(4, int)
    for number in range(40):
        as_is, other = (
            one.training.example(number, np.random.default_rng(number))
            for one in (upright, turned)
        )
        same = [(np.rot90(as_is, turns) == other).all() for turns in range(4)]
        assert any(same)
        found += np.array(same) * (sum(same) == 1)
        given = [
            one.held_out.example(number, np.random.default_rng(number))
            for one in (upright, turned)
        ]
        np.testing.assert_array_equal(*given)
    assert found.min() >= 3, found


def test_the_source_names_packages_photographs_and_what_they_are():
    images = datasets.natural_image_crops(size=32)
    assert images.name == "natural-image crops(size=32, scales=(1, 2, 4, 8))"
    assert images.source.startswith("natural-image crops, of photographs in scikit")
    for one in (*crops.TRAINING, *crops.HELD_OUT):
        assert one.name in images.source


def test_scales_too_large_for_every_photograph_are_left_out():
    images = datasets.natural_image_crops(size=256, scales=(1, 2, 4))
    assert images.name.endswith("scales=(1, 2))")  # 512 pixels: the astronaut's
    batch = held_out_batches(images, batch_size=2)(0)["image"]
    assert batch.shape == (2, 256, 256, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"size": 301},
            r"size: given 301 .* at most the 300 x 451 pixels of .*chelsea.png",
        ),
        (
            {"size": 200, "scales": (2,)},
            "at most the 300 x 451 pixels of .*chelsea.png",
        ),
        ({"size": 0}, "size: given 0"),
        ({"size": 8, "scales": ()}, "scales: given"),
        ({"size": 8, "scales": (1.5,)}, "scales: given"),
        ({"size": 8, "scales": (0, 1)}, "scales: given"),
    ],
)
def test_sizes_and_scales_that_there_cannot_be_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        datasets.natural_image_crops(**given)


def test_a_photograph_that_is_missing_or_damaged_is_named(tmp_path, monkeypatch):
    lost = crops.TRAINING[0]._replace(file="data/lost.png")
    monkeypatch.setattr(crops, "TRAINING", (lost,))
    with pytest.raises(FileNotFoundError, match="lost.png: scikit-learn does not hold"):
        datasets.natural_image_crops(size=8)
    held = Path(importlib.util.find_spec("skimage").origin).parent / "data/coffee.png"
    damaged = tmp_path / "coffee.png"
    damaged.write_bytes(held.read_bytes()[:5000])
    # An absolute path wins over the package's folder that it is joined to.
    monkeypatch.setattr(crops, "TRAINING", (lost._replace(file=str(damaged)),))
    with pytest.raises(CorruptFileError, match="coffee.png: damaged"):
        datasets.natural_image_crops(size=8)
