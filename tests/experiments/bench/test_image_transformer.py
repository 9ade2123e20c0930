"""The Image Transformer's benchmark on a tiny model: processes, records, a page."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.bench import (
    harness,
    learning_curves,
    step_timing,
    training,
    worker,
)
from experiments.records import checkpoint, jsonlines, record
from experiments.records.run_dir import CheckFailed
from experiments.report import image_transformer as report

SIZES = {
    "height": 4,
    "width": 4,
    "layers": 1,
    "heads": 2,
    "hidden": 8,
    "key_size": 4,
    "value_size": 4,
    "filter_size": 8,
    "block": 4,
    "likelihood": "dmol",
    "num_mixtures": 2,
}
SYSTEMS = ["ours", "handwritten_tf", "handwritten_tf_kernels", "keras", "flax"]
TRAINING = {
    "crops32": {
        "sizes": SIZES,
        "batch_size": 2,
        "systems": SYSTEMS,
        "min_seconds": 0.0,
        "min_calls": 2,
    }
}
SAMPLING = {
    "crops64": {
        "sizes": SIZES,
        "batch_sizes": [2],
        "min_seconds": 0.0,
        "min_calls": 2,
        "positions_per_call": 4,
        "naive_positions": 2,
    }
}


def run(folder, **changes):
    run_dir = folder / "run"
    run_dir.mkdir()
    (run_dir / "provenance.json").write_text(json.dumps({"commit": None}))
    options = {
        "training": TRAINING,
        "sampling": SAMPLING,
        "num_rounds": 1,
        "timeout_seconds": 240.0,
    }
    training.measure_image_transformer(
        **({"run_dir": run_dir, "seed": 3, "out": str(folder)} | options | changes)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image_transformer")
    run(folder)
    return folder


@pytest.fixture(scope="module")
def records(folder):
    made = record.read(folder / "records" / "image_transformer.jsonl")
    return {r.system: r for r in made}


@pytest.mark.slow
def test_every_system_trains_as_ours_does_or_says_why_not(records):
    ours = records["crops32/ours"].check["bits_per_dim"]
    assert len(ours) == step_timing.COMPARED_STEPS
    assert 7 < ours[0] < 10 and len(set(ours)) == len(ours)
    for system in SYSTEMS:
        made = records[f"crops32/{system}"]
        if made.status == "skipped":
            assert system == "flax" and "make peers" in made.reason
            continue
        assert (made.status, made.reason) == ("ok", "")
        assert made.check["passed"], made.check
        assert made.check["bits_error"] <= 1e-5
        assert len(made.seconds["calls"]) >= 2 and min(made.seconds["calls"]) > 0
        assert made.work["flops"] == records["crops32/ours"].work["flops"] > 0
        assert made.problem["source"].startswith("natural-image crops")


@pytest.mark.slow
def test_samplers_say_how_many_positions_they_timed(records):
    cached, naive = records["crops64/cached_2"], records["crops64/naive_2"]
    # The first call is apart, and then come as many as were asked for.
    assert cached.work["positions"] == [4, 4] and len(cached.seconds["calls"]) == 2
    assert naive.work["positions"] == [1, 1] and len(naive.seconds["calls"]) == 2
    for made in (cached, naive):
        assert made.work["positions_of_image"] == 16
        assert made.seconds["first"] > 0


@pytest.mark.slow
def test_the_page_is_rendered_beside_the_records(folder, records):
    text = (folder / "tables" / "image_transformer.md").read_text()
    for part in ("**ours**", "hand-written TensorFlow", "extrapolated", "MFU"):
        assert part in text
    assert "peak memory, GB" in text
    assert records["crops32/ours"].work["max_rss_bytes"] > 1e8
    lines = (folder / "tables" / "image_transformer.csv").read_text().splitlines()
    assert len(lines) == len(records)  # the probe has no line, and the head is one


def test_a_turn_that_takes_too_long_is_a_failed_record_and_fails_the_run(tmp_path):
    with pytest.raises(CheckFailed, match="crops32/ours, round 1"):
        run(tmp_path, timeout_seconds=0.2, phases=["training"])
    text = (tmp_path / "tables" / "image_transformer.md").read_text()
    assert "failed: stopped after 0 s" in text and "not measured" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phases": ["guessing"]}, "guessing"),
        ({"num_rounds": 0}, "num_rounds: given 0, wanted a whole number of at least 1"),
        (
            {"training": {"a": TRAINING["crops32"] | {"systems": ["ours", "theano"]}}},
            "theano",
        ),
        (
            {"training": {"a": TRAINING["crops32"] | {"systems": ["keras"]}}},
            r"systems: given \['keras'\], wanted 'ours' first",
        ),
        (
            {"training": {"a": TRAINING["crops32"] | {"systems": []}}},
            r"training, a: systems: given \[\], wanted some of",
        ),
        ({"training": None}, "training: given None, wanted a dict"),
        ({"out": None}, "out: given None, wanted the path of a folder"),
        (
            {"training": {"a": TRAINING["crops32"] | {"min_secs": 1}}},
            r"training, a: given unknown \['min_secs'\]",
        ),
        (
            {"training": {"a": {"sizes": SIZES, "systems": SYSTEMS}}},
            r"given no \['batch_size', 'min_seconds', 'min_calls'\]",
        ),
        (
            {"training": {"a": TRAINING["crops32"] | {"min_calls": 0}}},
            "training, a: min_calls: given 0, wanted a whole number of at least 1",
        ),
        (
            {"sampling": {"b": SAMPLING["crops64"] | {"sizes": SIZES | {"head": 1}}}},
            r"sampling, b: options: given unknown \['head'\]",
        ),
        (
            {"sampling": {"b": SAMPLING["crops64"] | {"sizes": SIZES | {"heads": 3}}}},
            "sampling, b: key_size: given 4, wanted a multiple of the 3 heads",
        ),
        (
            {"sampling": {"b": SAMPLING["crops64"] | {"batch_sizes": [0]}}},
            "sampling, b: batch_sizes: given 0, wanted a whole number",
        ),
        (
            {"sampling": {"b": SAMPLING["crops64"] | {"positions_per_call": 0}}},
            "sampling, b: positions_per_call: given 0, wanted a whole number",
        ),
        (
            {"sampling": {"b": SAMPLING["crops64"] | {"positions_per_call": 16}}},
            "positions_per_call: given 16, wanted fewer than the 16 of an image",
        ),
    ],
)
def test_bad_arguments_are_errors_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        run(tmp_path, **changes)
    assert not (tmp_path / "records").exists()


@pytest.mark.slow
def test_losses_that_are_not_ours_fail_the_check_and_get_no_ratio(records):
    check = training.compare_bits([8.0, 7.0], [8.0002, 7.0])
    assert not check["passed"] and "2.0e-04" in check["reason"]
    check = training.compare_bits([8.0, 7.0], [8.0, 7.1])
    assert not check["passed"] and "1.4e-02" in check["reason"]
    assert training.compare_bits([8.0, 7.0], [8.00009, 7.0])["passed"]
    assert not training.compare_bits([8.0], [])["passed"]

    wrong = dict(records)
    theirs = wrong["crops32/handwritten_tf"]
    theirs.check.update(passed=False, reason="its bits/dim are off")
    page = report.read_page(list(wrong.values()))
    (row,) = (r for r in page.trained if r.system == "handwritten_tf")
    assert not row.seconds and "off" in row.failure
    claims = {v.claim: v for v in report.outcomes(page)}
    verdict = claims["step, crops32: ours / hand-written TensorFlow"]
    assert verdict.measured is None and not verdict.reached


def test_a_turn_reads_a_block_of_two_dimensions_from_its_file():
    sizes = SIZES | {"attention": "local_2d", "block": (2, 2), "flange": (1, 1)}
    task = {"options": sizes, "seed": 1, "batch": 1, "num_positions": 2}
    task = json.loads(json.dumps(task | {"mode": "naive"}))
    made = worker.run("experiments.bench.training_worker", task)
    assert made["status"] == "ok", made
    assert made["work"] == {"positions": [1, 1], "positions_of_image": 16}


@pytest.mark.slow
def test_a_turn_tells_its_mean(records):
    made = dataclasses.replace(
        records["crops32/ours"],
        seconds={"calls": [1.0, 9.0, 2.0]},
        work={"examples": [2, 2, 2]},
    )
    assert "2000.000 ms per example" in harness.outcome(made)


BEGUN = "a.rate = 0.1\nloop.LoopSettings.num_steps = 2\n"
GONE_ON = "a.rate = 0.1\nloop.LoopSettings.num_steps = 4\n"
RESUMED = {"attempts/001": BEGUN, ".": GONE_ON}


def made_run(
    folder,
    model,
    *,
    steps=4,
    status="done",
    lacks=(),
    kinds=2,
    configs=RESUMED,
):
    """What bin/train leaves of a run, as far as a curve is made of it.

    lacks: what its summary does not say.  kinds: 1 where nothing held out is judged.
    configs: of the attempts, by folder.
    """
    folder.mkdir()
    images = "natural-image crops(size=8)"
    for name, told in {
        "run": {"status": status, "seed": 0},
        "summary": {
            "model": model,
            "images": images,
            "source": "natural-image crops, of photographs",
            "num_held_out_images": 4,
            "topology": "batch:1",
            "steps": steps,
        },
        "provenance": {
            "commit": "abc",
            "dirty": False,
            "argv": ["bin/train"],
            "started_at": "2026-01-01T00:00:00Z",
            "hardware": {"cpu": "a CPU", "cores": 2},
        },
    }.items():
        told = {key: value for key, value in told.items() if key not in lacks}
        (folder / f"{name}.json").write_text(json.dumps(told))
    for attempt, config in configs.items():
        (folder / attempt).mkdir(parents=True, exist_ok=True)
        (folder / attempt / "config.gin").write_text(config)
    for step in range(1, steps + 1):
        for kind in ("train", "held_out")[: 1 if step % 2 else kinds]:
            event = {"kind": kind, "step": step, "bits_per_dim": 8 - step / 10}
            if kind == "train":
                event |= {"step_seconds": 0.5, "data_seconds": step / 1000}
            jsonlines.append(folder / "metrics.jsonl", event)
    checkpoint.save(
        folder / "checkpoints",
        steps,
        {
            "weights/a": np.zeros((3, 4)),
            "slots/a/mean": np.zeros((3, 4)),
            "ema/a": np.zeros((3, 4)),
        },
        metadata={"model": model, "data": images, "seed": 0, "batch_size": 2},
        keep_last=1,
    )
    return str(folder)


def test_two_runs_become_curves_a_table_and_a_plot(tmp_path, capsys):
    runs = [
        made_run(tmp_path / n, f"{n}(8x8)") for n in ("image_transformer", "pixelcnn")
    ]
    assert learning_curves.main([*runs, f"--out={tmp_path}"]) == 0
    curves = record.read(tmp_path / "records" / "image_transformer_learning.jsonl")
    assert [c.system for c in curves] == ["Image Transformer", "PixelCNN"]
    for made in curves:
        assert made.work["held_out_steps"] == [2, 4]
        assert made.work["held_out_bits_per_dim"] == [7.8, 7.6]
        assert made.work["train_steps"] == [1, 2, 3, 4]
        assert made.work["parameters"] == 12
        assert made.settings["averaged"]
        assert made.work["data_seconds"] == 0.0025
    text = (tmp_path / "tables" / "image_transformer_learning.md").read_text()
    assert "| 4 | 7.6000 | 7.6000 |" in text and "PixelCNN, 12 weights" in text
    assert "0.50 s per step (median), 2.5 ms of it loading data" in text
    plot = tmp_path / "plots" / "image_transformer_learning.png"
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 6}, "steps 6, wanted"),
        ({"status": "failed"}, "wanted 'done'"),
        (
            {"configs": {"attempts/001": BEGUN, ".": "a.rate = 0.2\n"}},
            "two: resumed with settings changed, ['a.rate = 0.1', 'a.rate = 0.2']",
        ),
        ({"kinds": 1}, "two: no bits/dim of what was held out, wanted some"),
        (
            {"lacks": ("num_held_out_images",)},
            "two: its summary has no ['num_held_out_images'], wanted a run of training",
        ),
    ],
)
def test_runs_that_do_not_compare_make_no_curves(tmp_path, capsys, changes, said):
    runs = [
        made_run(tmp_path / "one", "image_transformer(8x8)"),
        made_run(tmp_path / "two", "pixelcnn(8x8)", **changes),
    ]
    assert learning_curves.main([*runs, f"--out={tmp_path}"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "records").exists()
