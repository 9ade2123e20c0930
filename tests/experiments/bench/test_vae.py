"""The autoencoders' benchmark on a tiny model: processes, records, a page."""

import dataclasses
import json

import pytest

from experiments.bench import harness, step_timing, training
from experiments.records import record
from experiments.records.run_dir import CheckFailed

IMAGES = {
    "crops64": {
        "sizes": {
            "size": 8,
            "channels": 4,
            "strides": (2, 1),
            "residual_layers": (0, 1),
            "kernel_size": 3,
            "codes_per_position": 2,
            "num_mixtures": 2,
            "prior_layers": 1,
            "prior_heads": 2,
            "prior_hidden": 8,
            "prior_filter_size": 8,
            "prior_block": 12,
        },
        "codebook": {"num_codes": 8, "code_dim": 4, "num_samples": 3},
        "batch_size": 2,
        "systems": ["ours", "handwritten_tf"],
        "min_seconds": 0.0,
        "min_calls": 2,
    }
}
AUDIO = {
    "audio": {
        "sizes": {
            "length": 64,
            "num_flows": 2,
            "num_splits": 2,
            "block_size": 4,
            "context_blocks": 2,
            "refit_every": 16,
        },
        "batch_size": 2,
        "systems": ["ours", "ours_cores", "handwritten_tf"],
        "min_seconds": 0.0,
        "min_calls": 2,
    }
}


def run(folder, **changes):
    run_dir = folder / "run"
    run_dir.mkdir()
    (run_dir / "provenance.json").write_text(json.dumps({"commit": None}))
    options = {"images": IMAGES, "audio": {}, "num_rounds": 1, "timeout_seconds": 240.0}
    training.measure_vae(
        run_dir=run_dir, seed=3, out=str(folder), **(options | changes)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    run(folder)
    return folder


@pytest.mark.slow
def test_a_system_trains_as_ours_does_and_the_page_stands_beside_the_records(folder):
    records = {r.system: r for r in record.read(folder / "records" / "vae.jsonl")}
    assert records["probe"].work["matmul_flops_per_second"] > 1e9
    ours, theirs = records["crops64/ours"], records["crops64/handwritten_tf"]
    bits = ours.check["bits_per_dim"]
    assert len(bits) == step_timing.COMPARED_STEPS and len(set(bits)) == len(bits)
    for made in (ours, theirs):
        assert (made.status, made.reason) == ("ok", "")
        assert made.check["passed"], made.check
        assert made.check["bits_error"] <= 1e-5 and made.check["later_error"] <= 1e-4
        assert len(made.seconds["calls"]) >= 2 and min(made.seconds["calls"]) > 0
        assert made.problem["source"].startswith("natural-image crops")
    assert ours.work["flops"] == theirs.work["flops"] > 0
    text = (folder / "tables" / "vae.md").read_text()
    for part in ("**ours, one device**", "hand-written TensorFlow", "MFU, crops64"):
        assert part in text
    assert len((folder / "tables" / "vae.csv").read_text().splitlines()) == 3


def test_a_turn_that_takes_too_long_is_a_failed_record_and_fails_the_run(tmp_path):
    with pytest.raises(CheckFailed, match="audio/ours, round 1"):
        run(tmp_path, timeout_seconds=0.1, images={}, audio=AUDIO)
    text = (tmp_path / "tables" / "vae.md").read_text()
    assert "failed: stopped after 0 s" in text and "not measured" in text


def changed(problems, **changes):
    return {name: given | changes for name, given in problems.items()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_rounds": 0}, "num_rounds: given 0, wanted a whole number of at least 1"),
        ({"images": {}}, r"images, audio: given \[\], wanted one or more"),
        ({"audio": {"crops64": AUDIO["audio"]}}, "wanted one or more, none twice"),
        (
            {"images": changed(IMAGES, systems=["ours", "ours_cores"])},
            r"images, crops64: systems: given \['ours', 'ours_cores'\], wanted some of",
        ),
        ({"audio": changed(AUDIO, systems=["ours", "flax"])}, "audio, audio: systems"),
        ({"images": changed(IMAGES, systems=["flax"])}, "wanted 'ours' first"),
        (
            {"images": changed(IMAGES, min_secs=1)},
            r"images, crops64: given unknown \['min_secs'\]",
        ),
        ({"audio": changed(AUDIO, codebook={})}, r"given unknown \['codebook'\]"),
        (
            {"images": changed(IMAGES, batch_size=0)},
            "crops64: batch_size: given 0, wanted a whole number",
        ),
        (
            {"images": changed(IMAGES, codebook={"code": 8})},
            r"images, crops64: options: given unknown \['code'\]",
        ),
        (
            {"images": changed(IMAGES, codebook={"num_codes": 1})},
            "images, crops64: num_codes: given 1, wanted a whole number of at least 2",
        ),
        (
            {"audio": changed(AUDIO, sizes={"length": 65})},
            "audio, audio: length: given 65, wanted a multiple of",
        ),
    ],
)
def test_bad_arguments_are_errors_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        run(tmp_path, **changes)
    assert not (tmp_path / "records").exists()


@pytest.mark.slow
def test_a_turn_tells_its_median_and_what_is_wrong(folder):
    (ours,) = (
        r
        for r in record.read(folder / "records" / "vae.jsonl")
        if r.system == "crops64/ours"
    )
    made = dataclasses.replace(
        ours,
        seconds={"calls": [1.0, 9.0, 2.0]},
        check={"passed": False, "reason": "its bits/dim are off"},
    )
    assert "ms per example  WRONG: its bits/dim are off" in harness.outcome(made)
