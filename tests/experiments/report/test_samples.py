"""The enlarged images and the sounds of a finished run."""

import numpy as np
import pytest
from PIL import Image

from experiments.records import media, metrics
from experiments.report import samples


def pixels(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def run_dir(tmp_path):
    sound = media.Audio(np.linspace(-1, 1, 50), 8000)
    with metrics.metric_writer(tmp_path, tensorboard=False) as write:
        write("held_out", 1, samples=media.Image(pixels(8, 8)))
        write(
            "held_out",
            2,
            reconstructions=media.Image(pixels(18, 28)),
            sample0=sound,
            sample1=sound,
            spectrograms0=media.Image(pixels(20, 40)),
        )
        write("train", 3, loss=1.0)
    return tmp_path


def test_the_last_evaluation_is_written_enlarged_beside_its_sounds(run_dir, capsys):
    out = run_dir / "out"
    samples.main([str(run_dir), "--out", str(out), "--name", "crops"])
    names = ["reconstructions.png", "sample.wav", "spectrograms.png"]
    assert sorted(p.name for p in out.iterdir()) == [f"crops_{n}" for n in names]
    assert len(capsys.readouterr().out.splitlines()) == 3
    with Image.open(out / "crops_reconstructions.png") as image:
        enlarged = np.asarray(image)
    scale = enlarged.shape[0] // 18
    assert scale >= 4 and enlarged.shape[0] == 18 * scale
    images = enlarged[::scale, -28 * scale :: scale]
    np.testing.assert_array_equal(images, pixels(18, 28))
    margin = enlarged[:, : -28 * scale]
    for rows in (margin[: 8 * scale], margin[-8 * scale :]):  # a label for each
        assert (rows < 128).any()


def test_an_image_without_its_rows_is_refused():
    image = Image.fromarray(pixels(9, 9))
    with pytest.raises(ValueError, match="given 9 pixels of height, wanted 2 rows"):
        samples.enlarge(image, ("original", "reconstruction"))


def test_a_run_without_media_is_refused(tmp_path):
    with metrics.metric_writer(tmp_path, tensorboard=False) as write:
        write("held_out", 1, loss=1.0)
    with pytest.raises(ValueError, match="no media in the last evaluation"):
        samples.write_samples(tmp_path, tmp_path / "out", "run")
