"""The scaling benchmark on a tiny model: real processes, meshes, records and files."""

import json
import os
import statistics

import pytest
import tensorflow as tf

from experiments.bench import (
    counting,
    harness,
    models,
    projection,
    scaling,
    scaling_worker,
)
from experiments.records import record
from experiments.records.run_dir import CheckFailed

OPTIONS = {
    "vocabulary": 16,
    "length": 8,
    "hidden": 16,
    "heads": 2,
    "filter_size": 32,
    "layers": 1,
    "dropout": 0.1,
}
SUBJECT = {
    "options": OPTIONS,
    "batch_per_device": 2,
    "counted_batch_per_shard": 1,
    "counted_topologies": ["batch:2,model:2"],
}
IMAGE_SUBJECT = SUBJECT | {
    "options": {
        "height": 8,
        "width": 8,
        "layers": 1,
        "heads": 2,
        "hidden": 16,
        "key_size": 8,
        "value_size": 8,
        "filter_size": 32,
        "block": 16,
        "likelihood": "dmol",
        "dropout": 0.1,
    },
}
SUBJECTS = {"transformer": SUBJECT, "image_transformer": IMAGE_SUBJECT}
each_subject = pytest.mark.parametrize("subject", SUBJECTS)
CORES = min(2, len(os.sched_getaffinity(0)))


def run(folder, **changes):
    run_dir = folder / "run"
    run_dir.mkdir()
    (run_dir / "provenance.json").write_text(json.dumps({"commit": None}))
    options = {
        "models": {"transformer": SUBJECT},
        "num_rounds": 1,
        "min_seconds": 0.05,
        "device_counts": [1, 2][:CORES],
        "timeout_seconds": 240.0,
    }
    scaling.measure_scaling(
        run_dir=run_dir, seed=3, out=str(folder), **(options | changes)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling")
    run(folder, models=SUBJECTS)
    return folder


@pytest.fixture(scope="module")
def records(folder):
    return record.read(folder / "records" / "scaling.jsonl")


def of(records, **wanted):
    return [
        made
        for made in records
        if all(made.settings.get(name) == value for name, value in wanted.items())
    ]


def test_losses_are_held_against_one_device_or_nothing_is_said_of_them():
    results = [{"losses": [1.0, 2.0]}, {"losses": [1.0, 2.2]}]
    off = scaling.check_losses(results, [1.0, 2.0])
    assert not off["passed"] and off["loss_error"] == pytest.approx(0.1)
    unknown = scaling.check_losses(results, None)
    assert unknown["passed"] and "loss_error" not in unknown
    assert unknown["reason"] == "one device was not given this batch"


@pytest.mark.slow
def test_every_turn_runs_and_passes_its_check(records):
    told = {(r.system, r.status, r.check["passed"], r.reason) for r in records}
    assert all(status == "ok" and passed for _, status, passed, _ in told), told
    assert {r.settings["kind"] for r in records} == set(scaling.PHASES)


@pytest.mark.slow
@each_subject
@pytest.mark.skipif(CORES < 2, reason="a device is a core here, and there is one")
def test_every_case_trains_as_one_device_does_dropout_and_all(records, subject):
    cases = of(records, kind="measured", subject=subject)
    assert [r.settings["case"] for r in cases] == [
        "one_device",
        "one_device",
        "one_process",
        "processes",
        "independent",
    ]
    for made in cases:
        assert made.check["loss_error"] <= 1e-5
        assert len(made.work["examples"]) == len(made.seconds["calls"]) >= 3
        assert min(made.seconds["calls"]) > 0
    engines = {r.settings["case"]: r.settings["engine"] for r in cases}
    assert engines["one_process"] != engines["one_device"]


@pytest.mark.slow
@each_subject
def test_bytes_on_a_mesh_are_counted_and_those_between_its_devices(records, subject):
    whole, cut = of(records, kind="counted", subject=subject)
    assert whole.work["held_bytes"] > cut.work["held_bytes"] > 0
    # Weights, and two slots of Adam as large; and the step.
    for made in (whole, cut):
        slots = made.work["held_bytes"] - 3 * made.work["parameter_bytes"]
        assert 0 < slots <= 16
    assert whole.work["num_collectives"] == 0 and whole.work["sent_bytes"] == 0
    assert cut.work["num_collectives"] > 0
    assert cut.work["sent_bytes"] >= cut.work["parameter_bytes"]  # (2 - 1) / 2, twice
    assert whole.work["flops"] == 2 * cut.work["flops"] > 0  # of twice the batch
    assert cut.work["activation_bytes"] is None  # of a shard that is on two devices


@pytest.mark.slow
def test_the_page_is_rendered_beside_the_records(folder):
    text = (folder / "tables" / "scaling.md").read_text()
    assert "toy model" in text and "## Counted" in text
    assert "Image Transformer, 8x8 pixels: trained on natural-image crops" in text
    for name in ("scaling_image_transformer.png", "scaling_vq_vae.png"):
        assert (folder / "plots" / name).stat().st_size > 10_000


@pytest.mark.slow
@each_subject
def test_a_projection_begins_with_the_step_that_was_measured(records, subject):
    (core,) = (
        r
        for r in of(records, against="measured", subject=subject)
        if "cores" in r.settings["on"]
    )
    seconds = core.settings["calibration"]["step_seconds"]
    one_device = dict(kind="measured", case="one_device", batch=2)
    measured = of(records, subject=subject, **one_device)[0]
    calls = sorted(measured.seconds["calls"])
    assert calls[0] <= seconds <= calls[-1]
    assert core.work["examples_per_second"][0] == pytest.approx(2 / seconds)
    assert core.work["devices"] == list(projection.DEVICES)


def test_turns_that_take_too_long_are_failed_records_and_fail_the_run(tmp_path):
    with pytest.raises(CheckFailed, match="transformer/one_device, round 1"):
        run(tmp_path, timeout_seconds=0.2)
    records = record.read(tmp_path / "records" / "scaling.jsonl")
    turns = of(records, kind="measured") + of(records, kind="counted")
    assert turns and all("stopped after 0 s" in made.reason for made in turns)
    skipped = of(records, kind="projected", against="measured")
    assert skipped and all(made.status == "skipped" for made in skipped)
    assert "failed: stopped" in (tmp_path / "tables" / "scaling.md").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {"transformr": SUBJECT}}, "transformr"),
        ({"phases": ["guessed"]}, "guessed"),
        ({"device_counts": [1, 4096]}, "cores of this machine"),
        ({"device_counts": [2]}, "wanted 1 and others"),
        ({"device_counts": ["1"]}, "device_counts: given '1', wanted a whole number"),
        ({"models": 5}, "models: given 5, wanted a dict"),
        (
            {"num_rounds": 1.5},
            "num_rounds: given 1.5, wanted a whole number of at least 1",
        ),
        (
            {"min_seconds": float("nan")},
            "min_seconds: given nan, wanted a finite number above 0",
        ),
        (
            {"timeout_seconds": -1},
            "timeout_seconds: given -1, wanted a finite number above 0",
        ),
        (
            {"models": {"transformer": SUBJECT | {"options": OPTIONS | {"wide": 1}}}},
            "transformer: .*wide",
        ),
        (
            {"models": {"transformer": SUBJECT | {"counted_topologies": ["batch"]}}},
            "transformer: mesh: given 'batch', wanted",
        ),
        (
            {"models": {"transformer": SUBJECT | {"batch_per_devise": 2}}},
            r"transformer: given unknown \['batch_per_devise'\]",
        ),
        (
            {"models": {"transformer": {"options": OPTIONS, "batch_per_device": 2}}},
            r"given no \['counted_topologies', 'counted_batch_per_shard'\]",
        ),
    ],
)
def test_bad_arguments_are_errors_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        run(tmp_path, **changes)
    assert not (tmp_path / "records").exists()


def test_strong_scaling_divides_the_largest_batch_and_shares_its_turns():
    found = scaling.make_cases([1, 2, 4], 3)
    told = {(c.case, c.devices, c.batch): c.scaling for c in found}
    assert len(told) == len(found)
    assert told["one_device", 1, 3] == ("weak",)
    assert told["one_device", 1, 12] == ("strong",)
    assert told["processes", 2, 6] == ("weak",)
    assert told["processes", 2, 12] == ("strong",)
    assert told["one_process", 4, 12] == ("weak", "strong")
    assert {c.case for c in scaling.make_cases([1], 3)} == {"one_device"}


def test_losses_that_differ_are_told_with_their_error():
    check = scaling.check_losses([{"losses": [1.0, 2.0]}], [1.0, 2.1])
    assert not check["passed"] and "4.8e-02" in check["reason"]
    assert scaling.check_losses([{"losses": [1.0]}] * 2, [1.0])["passed"]


def test_rates_of_independent_processes_add_up_and_others_wait_for_the_slowest():
    seconds = [
        dict(build=1, first=2, calls=[0.1, 0.2]),
        dict(build=3, first=1, calls=[0.3, 0.2]),
    ]
    results = [{"status": "ok", "seconds": each} for each in seconds]
    together = harness.merge_results(results, max)["seconds"]
    assert together["calls"] == [0.3, 0.2]
    apart = harness.merge_results(results, statistics.harmonic_mean)["seconds"]
    assert 2 / apart["calls"][0] == pytest.approx(1 / 0.1 + 1 / 0.3)
    assert apart["build"] == 3 and apart["first"] == 2


def flops_of(function, *shapes):
    specs = [tf.TensorSpec(shape) for shape in shapes]
    graph = tf.function(function).get_concrete_function(*specs).graph
    return counting.graph_flops(graph)


@pytest.mark.parametrize(
    ("function", "shapes", "wanted"),
    [
        (lambda a, b: a @ b, ([3, 5], [5, 7]), 2 * 3 * 5 * 7),
        (
            lambda a, b: tf.matmul(a, b, transpose_a=True),
            ([5, 3], [5, 7]),
            2 * 3 * 5 * 7,
        ),
        (lambda a, b: a @ b, ([2, 3, 5], [2, 5, 7]), 2 * 2 * 3 * 5 * 7),
        (
            lambda a, b: tf.einsum("bph,hnd->bnpd", a, b),
            ([2, 3, 5], [5, 7, 11]),
            2 * 2 * 3 * 5 * 7 * 11,
        ),
        (
            lambda a, b: tf.nn.conv2d(a, b, 2, "SAME"),
            ([2, 8, 8, 3], [4, 4, 3, 5]),
            2 * 2 * 4 * 4 * 5 * 4 * 4 * 3,
        ),
        (
            lambda a, b: tf.nn.conv2d_transpose(a, b, (2, 8, 8, 3), 2),
            ([2, 4, 4, 5], [4, 4, 3, 5]),
            2 * 2 * 4 * 4 * 5 * 4 * 4 * 3,
        ),
        (lambda a, b: tf.nn.relu(a + b), ([3, 5], [3, 5]), 0),
    ],
)
def test_operations_are_those_of_the_arithmetic(function, shapes, wanted):
    assert flops_of(function, *shapes) == wanted


def task_of(subject, options):
    return {
        "subject": subject,
        "options": options,
        "seed": 0,
        "topology": "batch:1",
        "batch": 2,
        "process": 0,
        "processes": 1,
    }


def test_a_step_of_the_transformer_has_the_operations_of_its_formula():
    counts = scaling_worker.count_graph(task_of("transformer", OPTIONS))
    model = models.SUBJECTS["transformer"].make(OPTIONS)
    # The formula leaves out the product that looks embeddings up, and its gradient.
    looked_up = 2 * 2 * OPTIONS["length"] * OPTIONS["vocabulary"] * OPTIONS["hidden"]
    assert counts["flops"] == 2 * (model.flops_per_example + looked_up)
    assert counts["activation_bytes"] > 0


def test_a_step_of_the_image_transformer_has_the_operations_of_its_formula():
    options = IMAGE_SUBJECT["options"]
    counts = scaling_worker.count_graph(task_of("image_transformer", options))
    model = models.SUBJECTS["image_transformer"].make(options)
    formula = 2 * model.flops_per_example
    # The formula leaves out the merging of channels, what marks a key as not to be
    # seen and a query's mean, each a coordinate more, and the means of normalisation.
    assert formula < counts["flops"] < 1.2 * formula


VQ_OPTIONS = {
    "size": 8,
    "channels": 4,
    "strides": (2, 1),
    "residual_layers": (0, 1),
    "codes_per_position": 2,
    "num_mixtures": 2,
    "prior_layers": 1,
    "prior_heads": 2,
    "prior_hidden": 8,
    "prior_filter_size": 8,
    "prior_block": 8,
    "num_codes": 8,
    "code_dim": 4,
}


def test_a_step_of_the_vq_vae_has_the_operations_of_its_formula_and_its_codebooks():
    model, batches = scaling_worker.make_training(task_of("vq_vae", VQ_OPTIONS))
    assert batches[0]["image"].shape == (2, 8, 8, 3)
    counts = scaling_worker.count_graph(task_of("vq_vae", VQ_OPTIONS))
    assert model.state["codes"].shape == (8, 4)
    # A pixel has no gradient, and the formula counts one of the first convolution's.
    to_pixels = 2 * (2 * 4 * 4 * 25 * 3 * 4)
    formula = 2 * model.flops_per_example - to_pixels
    assert formula < counts["flops"] < 1.2 * formula


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code": 8}, r"options: given unknown \['code'\]"),
        ({"code_dim": 0}, "code_dim: given 0"),
    ],
)
def test_options_that_the_vq_vae_has_not_are_errors(changes, said):
    with pytest.raises(ValueError, match=said):
        models.SUBJECTS["vq_vae"].make(VQ_OPTIONS | changes)
    with pytest.raises(ValueError, match=r"no \['size', 'channels'\]"):
        models.SUBJECTS["vq_vae"].make({"num_codes": 8})


def test_a_loop_is_not_counted_as_if_it_turned_once():
    def loop(x):
        return tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x @ x), (0, x))

    with pytest.raises(ValueError, match="a loop"):
        flops_of(loop, [3, 3])


def test_a_collective_that_is_not_known_is_an_error():
    class Collective:
        device, num_devices, num_bytes = "CPU:0", 4, 100

    Collective.op = "CollectiveReduceV2"
    assert counting.ring_bytes(Collective) == 150
    Collective.op = "CollectiveReduceScatterV2"
    assert counting.ring_bytes(Collective) == 300
    Collective.op = "CollectiveWhisperV2"
    with pytest.raises(ValueError, match="Whisper"):
        counting.ring_bytes(Collective)
