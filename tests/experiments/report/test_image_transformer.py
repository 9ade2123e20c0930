"""The Image Transformer's page from invented records: rows, ratios and targets."""

import csv
import io

import pytest

from experiments.records import record as record_file
from experiments.records.record import Record
from experiments.report import __main__ as command
from experiments.report import image_transformer as report
from experiments.report import learning, selection

SECONDS = {
    "ours": 1.0,
    "handwritten_tf": 1.25,
    "handwritten_tf_kernels": 0.9,
    "keras": 0.8,
    "flax": 2.0,
}
PEAK, FLOPS = 1e11, 6e10


def make(system, mode, number=1, *, bench="b1", **changes):
    fields = dict(
        experiment="image_transformer",
        system=system,
        round=number,
        problem=dict(name="crops32", batch=4, model="a model", source="crops"),
        hardware=dict(cpu="Some CPU", cores=2, threads=2),
        settings=dict(mode=mode),
        status="ok",
        seconds={},
        work={},
        check=dict(passed=True, bits_per_dim=[8.0, 7.5, 7.0]),
        provenance=dict(
            bench_id=bench, started_at="2025-03-04T05:06:07Z", load_average=1.0
        ),
    )
    return Record(**(fields | changes))


def a_round(number, slower=1.0, **changes):
    peak = dict(matmul_flops_per_second=PEAK)
    records = [make("probe", "probe", number, work=peak, **changes)]
    for system, seconds in SECONDS.items():
        records.append(
            make(
                f"crops32/{system}",
                "train",
                number,
                seconds=dict(build=1.0, first=2.0, calls=[slower * seconds, 9.0, 0.0]),
                work=dict(
                    examples=[4] * 3,
                    flops=FLOPS,
                    parameters=12,
                    max_rss_bytes=number * 10**9,
                ),
                **changes,
            )
        )
    for problem, sampler, ms, positions in (
        ("crops64", "cached", 2.0, 4096),
        ("crops64", "naive", 400.0, 4096),
        ("paper256", "cached", 2.1, 65536),
    ):
        calls = 2 if sampler == "cached" else 1
        records.append(
            make(
                f"{problem}/{sampler}_1",
                "naive" if sampler == "naive" else "sample",
                number,
                seconds=dict(first=3.0, calls=[slower * ms / 1000 * calls] * 4),
                work=dict(positions=[calls] * 4, positions_of_image=positions),
                **changes,
            )
        )
    return records


def outcomes(page):
    return {outcome.claim: outcome for outcome in report.outcomes(page)}


def csv_lines(page):
    lines = csv.DictReader(io.StringIO(report.csv(page)))
    return {f"{line['problem']}/{line['system']}": line for line in lines}


def test_ratios_are_of_medians_within_a_round_and_ranges_over_them():
    page = report.read_page([*a_round(1), *a_round(2, slower=1.1)])
    results = outcomes(page)
    by_hand = results["step, crops32: ours / hand-written TensorFlow"]
    assert by_hand.measured == pytest.approx([0.8] * 3) and by_hand.reached
    alike = results[f"step, crops32: ours / {report.SYSTEMS[report.WITH_KERNELS]}"]
    assert alike.measured == pytest.approx([1 / 0.9] * 3) and not alike.reached
    peers = results["step, crops32: ours / Keras 3 (the fastest of Keras 3 and Flax)"]
    assert peers.measured == pytest.approx([1.25] * 3) and not peers.reached
    mfu = results["MFU, crops32, ours"]
    assert mfu.measured == pytest.approx([0.6 / 1.1, (0.6 + 0.6 / 1.1) / 2, 0.6])
    assert mfu.reached
    naive = results["sampling 1 of crops64: naive, extrapolated / ours"]
    assert naive.measured == pytest.approx([200.0] * 3) and naive.reached
    grown = results["a position of 1 images: paper256 / crops64"]
    assert grown.measured == pytest.approx([1.05] * 3) and grown.reached


def test_a_row_has_the_most_memory_of_its_rounds_where_recorded():
    page = report.read_page([*a_round(1), *a_round(2)])
    (line,) = [t for t in report.markdown(page).splitlines() if "**ours**" in t]
    assert line.split("|")[5].strip() == "2.00"
    for r in page.records:
        r.work.pop("max_rss_bytes", None)
    (line,) = [t for t in report.markdown(page).splitlines() if "**ours**" in t]
    assert line.split("|")[5].strip() == "-"


def test_a_page_of_two_benchmarks_names_both_origins():
    old = [r for r in a_round(1, bench="old") if r.settings["mode"] != "train"]
    new = [r for r in a_round(1, bench="new") if r.settings["mode"] == "train"]
    for commit, records in (("aaa", old), ("bbb", new)):
        for r in records:
            r.provenance["commit"] = commit
    text = report.markdown(report.read_page([*old, *new]))
    trained, drawn = text.split("Sampling is from another benchmark than training:")
    assert "Commit: bbb." in trained and "Commit: aaa." in drawn
    assert "aaa" not in trained and "another benchmark" not in report.markdown(
        report.read_page(a_round(1))
    )


def test_the_mfu_of_a_disturbed_round_is_of_the_highest_peak():
    low = make("probe", "probe", 2, work=dict(matmul_flops_per_second=PEAK / 3))
    calm = [r for r in a_round(2) if r.settings["mode"] != "probe"]
    page = report.read_page([*a_round(1), *calm, low])
    assert outcomes(page)["MFU, crops32, ours"].measured == pytest.approx([0.6] * 3)
    assert page.peaks == {1: PEAK, 2: PEAK / 3}
    line = (
        "Disturbed: round 2. Its peak of matrix products, 33.3 GFLOP/s, is 33% of the "
        "best round's (below 80%)."
    )
    assert line in report.markdown(page)


def test_disturbed_rounds_are_named_by_their_kind():
    assert selection.disturbed({1: 1.0, 2: 0.81, 3: 0.79}) == {3: 0.79}
    assert "Disturbed" not in report.markdown(report.read_page(a_round(1)))
    slow = dict(matmul_flops_per_second=PEAK / 2)
    old = [*a_round(1, bench="old"), make("probe", "probe", 2, bench="old", work=slow)]
    new = [r for r in a_round(1, bench="new") if r.settings["mode"] == "train"]
    page = report.read_page([*old, *new])
    assert page.peaks == {} and page.sampling_peaks == {1: PEAK, 2: PEAK / 2}
    assert "Disturbed: round 2 of sampling. Its" in report.markdown(page)


def test_the_page_says_what_a_ratio_is_of():
    text = report.markdown(report.read_page(a_round(1)))
    assert "Attention and layer normalisation have hand-written gradients" in text
    assert "is what the language and the training loop cost" in text


def test_the_page_has_times_ratios_and_what_is_extrapolated():
    page = report.read_page([*a_round(1), *a_round(2, slower=1.1)])
    text = report.markdown(page)
    assert "| **ours** | 1,050 (1,000-1,100) |" in text
    assert "57.3 % (54.5-60.0)" in text and "0.800x" in text
    line = csv_lines(page)["crops32/ours"]
    bits = line["bits_per_dim_first"], line["bits_per_dim_last"]
    assert bits == ("8", "7") and line["build_seconds"] == "1"
    # 4,096 positions of 0.4 s, the median round's 5 % more.
    assert "| 1,720 |" in text and "extrapolated" in text
    assert "Images: crops" in text and "Some CPU, 2 cores, 2 threads" in text
    assert text.count("**not reached**") == 2  # Keras, and ours' kernels by hand


def test_a_system_that_is_not_installed_takes_up_its_row():
    records = [
        make(
            r.system,
            "train",
            status="skipped",
            reason="not installed: pip install flax (make peers)",
            check=dict(passed=False),
        )
        if r.system == "crops32/flax"
        else r
        for r in a_round(1)
    ]
    page = report.read_page(records)
    assert "not installed: pip install flax (make peers)" in report.markdown(page)
    (claim,) = (c for c in outcomes(page) if "Keras" in c)
    assert claim.endswith("Keras 3 (the fastest; without JAX and Flax)")
    # The fastest of those that ran may not be the fastest: no result, though a ratio.
    outcome = outcomes(page)[claim]
    assert not outcome.reached and outcome.measured == pytest.approx([1.25] * 3)
    (line,) = (x for x in report.markdown(page).splitlines() if claim in x)
    assert line.endswith("| 1.250x | not measured (without JAX and Flax) |")
    flax = csv_lines(page)["crops32/flax"]
    assert flax["status"] == "skipped" and flax["seconds"] == ""


def test_peers_of_which_none_ran_are_not_measured():
    records = [
        r for r in a_round(1) if r.system not in ("crops32/keras", "crops32/flax")
    ]
    page = report.read_page(records)
    claim = "step, crops32: ours / the fastest of Keras 3 and Flax"
    assert outcomes(page)[claim].measured is None
    line = f"{claim} | at most 1x | - | not measured (without Keras 3, JAX and Flax) |"
    assert line in report.markdown(page)
    # Either program of Keras stands for it, and one of them that failed is missed.
    for status, without in (
        ("ok", "without JAX and Flax"),
        ("failed", "without Keras 3, jit_compile, JAX and Flax"),
    ):
        xla = make(
            "crops32/keras_xla",
            "train",
            status=status,
            reason="" if status == "ok" else "out of memory",
            seconds=dict(build=1.0, first=2.0, calls=[0.5]),
            work=dict(examples=[4], flops=FLOPS, parameters=12),
        )
        (outcome,) = (
            v
            for c, v in outcomes(report.read_page([*records, xla])).items()
            if "Keras" in c
        )
        assert outcome.reason == without


def test_a_wrong_loss_in_one_round_leaves_no_number():
    records = a_round(1)
    wrong = dict(passed=False, reason="its bits/dim are off", bits_per_dim=[9.0] * 3)
    other = [
        make(r.system, "train", 2, seconds=r.seconds, work=r.work, check=wrong)
        for r in records
        if r.system == "crops32/handwritten_tf"
    ]
    page = report.read_page([*records, *other])
    outcome = outcomes(page)["step, crops32: ours / hand-written TensorFlow"]
    assert outcome.measured is None and "off" in outcome.reason
    assert "its bits/dim are off (in round 2)" in report.markdown(page)


def test_only_the_newest_benchmark_of_each_kind_is_shown():
    old, new = a_round(1, slower=3.0, bench="old"), a_round(1, bench="new")
    new = [r for r in new if r.settings["mode"] in ("probe", "train")]
    page = report.read_page([*old, *new])
    (ours,) = (row for row in page.trained if row.system == "ours")
    assert ours.seconds == {1: 1.0}
    assert {row.records[0].provenance["bench_id"] for row in page.sampled} == {"old"}
    assert page.peaks == {1: PEAK}


@pytest.mark.parametrize("records", [[], [make("probe", "probe")]])
def test_records_without_a_run_are_an_error(records):
    with pytest.raises(ValueError, match="records: given"):
        report.read_page(records)


def curve(system, bits, bench="b1", **changes):
    steps = [10, 20, 30][: len(bits)]
    fields = dict(
        problem=dict(
            name="crops",
            model=f"{system}()",
            source="crops of photographs",
            num_held_out_images=64,
            batch_size=16,
        ),
        work=dict(
            parameters=5,
            step_seconds=0.5,
            train_steps=steps,
            train_bits_per_dim=bits,
            held_out_steps=steps,
            held_out_bits_per_dim=bits,
        ),
        provenance=dict(
            bench_id=bench, argv=["bin/train", "--seed=0"], commit="abc", dirty=False
        ),
    )
    return make(system, "", bench=bench, **(fields | changes))


def test_the_command_renders_pages_whose_records_exist(tmp_path, record):
    record_file.append(tmp_path / "records" / "nuts.jsonl", record("ppl_core"))
    for line in a_round(1):
        record_file.append(tmp_path / "records" / "image_transformer.jsonl", line)
    path = tmp_path / "records" / "image_transformer_learning.jsonl"
    old = [curve("A", [9.0, 8.0], "old"), curve("B", [9.0, 8.0], "old")]
    for line in [*old, curve("A", [7.0, 6.0, 5.0]), curve("B", [7.5, 6.5])]:
        record_file.append(path, line)
    assert command.main([f"--results={tmp_path}"]) == 0
    text = (tmp_path / "tables" / "image_transformer_learning.md").read_text()
    # At the steps at which both were judged, and those made together last.
    assert "| 20 | 6.0000 | 6.5000 |" in text and "5.0000" not in text
    assert "9.0000" not in text
    assert "crops of photographs" in text and "`bin/train --seed=0`" in text
    plot = tmp_path / "plots" / "image_transformer_learning.png"
    assert plot.stat().st_size > 10_000
    assert (tmp_path / "tables" / "image_transformer.csv").exists()


def test_the_page_of_curves_says_what_their_records_say():
    names = ("A", "B", "C", "D")
    for num, text in ((1, "16 images."), (4, "16 images, the same for every model.")):
        raw = dict(settings=dict(averaged=False))
        page = learning.markdown([curve(n, [7.0], **raw) for n in names[:num]])
        assert f"Each step trains on {text}" in page and "EMA" not in page
    unknown = "the record does not say whether EMA weights were evaluated; 0.50 s"
    assert unknown in learning.markdown([curve("A", [7.0])])
    averaged = curve("A", [7.0], settings=dict(averaged=True))
    page = learning.markdown([averaged])
    assert "A(); evaluated with EMA weights; 0.50 s" in page
    finding = "A: 6.50 bits/dim at step 20, lowest 6.50 at step 20."
    assert finding in learning.markdown([curve("A", [7.0, 6.5])])


def test_a_table_of_curves_has_at_most_five_columns():
    page = learning.markdown([curve(str(number), [7.0]) for number in range(6)])
    heads = [line for line in page.splitlines() if line.startswith("| step |")]
    assert [head.count("|") for head in heads] == [6, 4]


def test_every_curve_is_drawn_in_a_style_of_its_own(tmp_path, figures):
    curves = [curve(str(number), [7.0, 6.0 - number]) for number in range(4)]
    curves[1] = curve("1", [7.0, 5.0], settings=dict(averaged=True))
    learning.draw(curves, tmp_path / "plot.png")
    by_step, by_time = figures[0].axes
    lines = [x for x in by_step.lines if "held out" in x.get_label()]
    assert len({(x.get_color(), x.get_linestyle()) for x in lines}) == 4
    labels = [x.get_label() for x in lines]
    assert labels[:2] == ["0: held out", "1: held out, EMA weights"]
    (first,) = (x for x in by_time.lines if x.get_label() == "0: held out")
    assert list(first.get_xdata()) == pytest.approx([10 * 0.5 / 60, 20 * 0.5 / 60])
    assert by_step.get_ylim() == by_time.get_ylim()


def test_ema_and_raw_weights_are_both_drawn_where_records_have_them(tmp_path, figures):
    averaged = curve("A", [7.0, 6.0], settings=dict(averaged=True))
    averaged.work["held_out_bits_per_dim_raw"] = [7.5, 5.5]
    averaged.problem["yardsticks"] = {"PNG": 7.2, "histogram": 8.6}
    learning.draw([averaged], tmp_path / "plot.png")
    axes = figures[0].axes[0]
    labels = {x.get_label(): list(x.get_ydata()) for x in axes.lines}
    assert labels["A: held out, EMA weights"] == [7.0, 6.0]
    assert labels["A: held out, raw weights"] == [7.5, 5.5]
    low, high = axes.get_ylim()  # of all records-out points and near baselines
    assert low < 5.5 and 7.5 < high < 8.0
    assert [7.2, 7.2] in labels.values() and [8.6, 8.6] not in labels.values()


def test_an_old_record_has_ema_and_raw_weights_drawn(tmp_path, figures):
    old = curve("A", [7.0, 6.0], settings={})
    old.work["train_bits_per_dim"] = [4.0, 3.0]
    old.provenance["commit"] = learning.AVERAGED_COMMITS[0]
    assert "A(); evaluated with EMA weights; 0.50 s" in learning.markdown([old])
    learning.draw([old], tmp_path / "plot.png")
    (figure,) = figures
    labels = {x.get_label(): list(x.get_ydata()) for x in figure.axes[0].lines}
    assert labels["A: held out, EMA weights"] == [7.0, 6.0]
    assert labels["A: training, raw weights"] == [4.0, 3.0]
    low, high = figure.axes[0].get_ylim()
    assert low < 3.0 and 7.0 < high
    caption = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "Raw weights were evaluated on training batches alone." in caption
    old.work["held_out_bits_per_dim_raw"] = [7.5, 5.5]
    learning.draw([old], tmp_path / "plot.png")
    assert not any("alone" in text.get_text() for text in figures[1].texts)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dict(settings=dict(seed=1)), "records: B: given .*'seed': 1"),
        (dict(work=dict(held_out_steps=[5])), r"no step at which all of \['A', 'B'\]"),
    ],
)
def test_curves_that_do_not_compare_are_an_error(other, message):
    with pytest.raises(ValueError, match=message):
        learning.newest_curves([curve("A", [7.0]), curve("B", [7.0], **other)])
    with pytest.raises(ValueError, match="given 10 curves, wanted at most the 9"):
        learning.newest_curves([curve("A", [7.0])] * 10)


def test_no_curves_are_an_error():
    with pytest.raises(ValueError, match="given none"):
        learning.newest_curves([])
