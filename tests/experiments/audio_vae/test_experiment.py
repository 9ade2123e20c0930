"""bin/train on the audio VAE, as a person runs it, and what it is to give."""

import functools
import json
import wave

import numpy as np
import pytest

from experiments import audio_vae, datasets
from experiments.bench import learning_curves
from experiments.records import checkpoint, metrics
from experiments.report import learning as report
from experiments.training import optimizers
from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings
from tests.experiments.audio_vae.small_audio import SMALL
from tests.programs import ran, train_command


def command(config, folder, *more):
    return train_command(
        f"audio_vae/{config}", "audio_vae/tiny", workdir=folder, more=more
    )


def events(folder, kind):
    return [e for e in metrics.read(folder / "metrics.jsonl") if e["kind"] == kind]


def final(folder, step):
    path = folder / "checkpoints" / f"step-{step:06d}"
    return checkpoint.load(path, metadata={}).arrays


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """The folder of a tiny run of a config, and what it said; each is run once."""

    @functools.cache
    def run(config):
        folder = tmp_path_factory.mktemp(config) / "run"
        done = ran(command(config, folder))
        assert done.returncode == 0, done.stderr
        return folder, done.stdout

    return run


@pytest.mark.slow
def test_the_tiny_config_trains_judges_and_is_heard(run_of):
    folder, said = run_of("tones")
    assert [e["step"] for e in events(folder, "train")] == [2, 4, 6]
    held_out = events(folder, "held_out")
    assert [e["step"] for e in held_out] == [3, 6]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["held_out"]["bits_per_dim"] == held_out[-1]["bits_per_dim"]
    assert 4 < summary["held_out"]["bits_per_dim"] < 16
    assert summary["source"].startswith("synthetic plucked tones")
    assert "made by this project" in said
    for name in ("sample0", "original0", "reconstruction0"):
        with wave.open(str(folder / held_out[-1][name])) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            assert form == (1, 2, 8000) and file.getnframes() == 128
            heard = np.frombuffer(file.readframes(128), "<i2")
        assert len(np.unique(heard)) > 20
    shown = next((folder / "tensorboard").iterdir()).read_bytes()
    assert b"held_out/sample0" in shown and b"held_out/spectrograms0" in shown


@pytest.mark.slow
def test_its_curve_can_be_kept_beside_what_flac_takes(run_of):
    folder, _ = run_of("tones")
    kept = learning_curves.curve(folder, "a bench")
    assert kept.problem["name"].startswith("synthetic plucked tones")
    assert kept.experiment == "audio_learning" and kept.settings["bound"]
    assert kept.work["held_out_steps"] == [3, 6]
    assert kept.problem["reference_bits"]["FLAC"] > 0
    text = report.markdown([kept])
    assert "Bits/sample of 4 whole held-out clips, an upper bound" in text


# In this process.


def given(**more):
    return {
        "seed": 1,
        "sizes": SMALL,
        "audio": datasets.synthetic_tones(length=64),
        "optimizer": optimizers.adam(optimizers.constant_schedule(0.01)),
        "loop": LoopSettings(num_steps=60, evaluate_every=15, measure_peak=False),
        "step": StepSettings(clip_norm=1000.0),
        "batch_size": 8,
        "num_held_out": 16,
        "num_samples": 0,
    } | more


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The folder of a run of 60 steps."""
    folder = tmp_path_factory.mktemp("learned")
    audio_vae.train(run_dir=folder, **given())
    return folder


@pytest.mark.slow  # ten seconds, most of them to trace the step
def test_it_learns(learned):
    curve = [event["bits_per_dim"] for event in events(learned, "held_out")]
    assert len(curve) == 4 and curve[-1] < curve[0] - 0.2
    assert "sample0" not in events(learned, "held_out")[-1]


@pytest.mark.slow
def test_a_run_gone_on_with_ends_as_one_that_never_stopped(learned, tmp_path):
    shorter = LoopSettings(num_steps=45, measure_peak=False)
    audio_vae.train(run_dir=tmp_path, **given(loop=shorter))
    summary = audio_vae.train(run_dir=tmp_path, resume=True, **given())
    assert summary["resumed_from"] == 45
    one, two = final(learned, 60), final(tmp_path, 60)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], strict=True)
    last = [events(folder, "held_out")[-1]["loss"] for folder in (learned, tmp_path)]
    assert last[0] == last[1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"audio": datasets.synthetic_tones(length=128)},
            "a model of 64 samples, wanted the 128 of synthetic plucked tones",
        ),
        ({"sizes": SMALL._replace(num_flows=3)}, "num_flows: given 3"),
        ({"num_held_out": None}, "num_held_out: given None, wanted a number"),
        ({"num_held_out": -1}, "num_held_out: given -1 clips"),
        ({"num_held_out": 12}, "given 12 clips, wanted a multiple of the 8"),
        ({"num_samples": -1}, "num_samples: given -1"),
        ({"mesh": "batch:3"}, "given 8, wanted a multiple of 3: mesh batch:3"),
        ({"mesh": "core:17"}, "wanted 'core' of 3 \\(1 x 2 and one that aggregates"),
        ({"device_type": "TPU"}, "wanted 1 of kind TPU, this machine has 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path, wrong, said
):
    with pytest.raises(ValueError, match=said):
        audio_vae.train(run_dir=tmp_path, **given(**wrong))
    assert not list(tmp_path.iterdir())
