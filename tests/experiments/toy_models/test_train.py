"""bin/train on the toy models, as a person runs it: real processes, real signals."""

import json
import random
import signal
import subprocess
import time

import numpy as np
import pytest

from experiments import toy_models
from experiments.records import checkpoint, metrics
from experiments.training import optimizers
from experiments.training.engine import StepSettings
from experiments.training.loop import LoopSettings
from tests.programs import REPO, ran, train_command

STEPS, LONGER = 100, 400  # of a run that ends; of one to be stopped on the way


def command(model, folder, *more):
    configs = (f"toy_models/{model}", "toy_models/tiny")
    return train_command(*configs, workdir=folder, more=more)


def steps(num):
    return f"--gin_param=training.LoopSettings.num_steps={num}"


RARELY = "--gin_param=training.LoopSettings.checkpoint_every=1000"


def told(folder):
    return json.loads((folder / "run.json").read_text())


def events(folder, kind):
    return [e for e in metrics.read(folder / "metrics.jsonl") if e["kind"] == kind]


def final(folder, step):
    path = folder / "checkpoints" / f"step-{step:06d}"
    return checkpoint.load(path, metadata={}).arrays


def test_the_tiny_autoencoder_leaves_curves_pictures_and_a_summary(tmp_path):
    folder = tmp_path / "run"
    done = ran(command("vector_quantized", folder, steps(STEPS), RARELY))
    assert done.returncode == 0, done.stderr
    assert told(folder)["status"] == "done"
    assert "steps: 100 of 100" in done.stderr and "left 0:00:00" in done.stderr
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == STEPS and "bits_per_dim" in summary["held_out"]
    first, last = events(folder, "held_out")[0], events(folder, "held_out")[-1]
    assert last["loss"] < first["loss"]
    assert (folder / last["pictures"]).read_bytes().startswith(b"\x89PNG")
    assert len(events(folder, "train")) == STEPS / 2
    assert len({e["traces"] for e in events(folder, "train")[2:]}) == 1


@pytest.mark.slow
def test_a_run_stopped_and_resumed_ends_as_the_uninterrupted_one(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    done = ran(command("vector_quantized", whole, steps(LONGER), RARELY))
    assert done.returncode == 0, done.stderr
    arguments = command("vector_quantized", folder, steps(LONGER), RARELY)
    with subprocess.Popen(
        arguments, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        path = folder / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not (path.exists() and '"train"' in path.read_text()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(random.random())
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert (code, told(folder)["status"]) == (75, "interrupted")
    saved = checkpoint.latest(folder / "checkpoints")
    stopped = int(saved.name.removeprefix("step-"))
    assert events(folder, "train")[-1]["step"] == stopped < LONGER

    done = ran([*arguments, "--resume"])
    assert done.returncode == 0, done.stderr
    assert told(folder)["status"] == "done"
    assert told(folder / "attempts" / "001")["status"] == "interrupted"
    one, two = final(whole, LONGER), final(folder, LONGER)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], strict=True)
    losses = [events(f, "held_out")[-1]["loss"] for f in (whole, folder)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_the_tiny_transformer_runs_on_two_devices(tmp_path):
    folder = tmp_path / "run"
    mesh = "--gin_param=toy_models.train.mesh='batch:2'"
    done = ran(command("transformer", folder, mesh))
    assert done.returncode == 0, done.stderr
    assert [e["step"] for e in events(folder, "train")] == [2, 4, 6]
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["step-000002", "step-000004", "step-000006"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mesh": "batch:3"}, "given 4, wanted a multiple of 3: mesh batch:3"),
        (
            {"step": StepSettings(num_microbatches=8)},
            "multiple of 8: mesh batch:1, 8 microbatches",
        ),
        ({"batch_size": 0}, "batch_size: given 0, wanted a whole number of at least 1"),
        ({"mesh": "batch=2"}, "mesh: given 'batch=2'"),
        (
            {"mesh": "batch:1,rows:2"},
            r"mesh: given \['rows'\] in .* transformer.* over",
        ),
        ({"device_type": "TPU"}, "wanted 1 of kind TPU, this machine has 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path, wrong, said
):
    given = dict(
        model=toy_models.transformer(
            vocabulary=4, length=4, hidden=8, heads=2, filter_size=8, layers=1
        ),
        examples=toy_models.token_lines(length=4, vocabulary=4),
        optimizer=optimizers.adam(optimizers.constant_schedule(0.01)),
        loop=LoopSettings(num_steps=1),
        step=StepSettings(),
        batch_size=4,
        num_held_out=4,
    )
    with pytest.raises(ValueError, match=said):
        toy_models.train(run_dir=tmp_path, seed=0, **(given | wrong))
    assert not list(tmp_path.iterdir())
