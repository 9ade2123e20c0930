"""The scaling page from invented records: rows, ratios, errors and plots."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import matplotlib.image
import pytest

from experiments.bench import projection
from experiments.records import record as record_file
from experiments.records.record import Record
from experiments.report import __main__ as command
from experiments.report import page, scaling, scaling_plots, scaling_rows

PAPER = Path(__file__).parents[3] / "results" / "paper_scaling.json"
CASES = (  # case, devices, processes, batch, what it is a point of, seconds a step
    ("one_device", 1, 1, 4, ["weak"], 0.100),
    ("one_device", 1, 1, 8, ["strong"], 0.200),
    ("one_process", 2, 1, 8, ["weak", "strong"], 0.105),
    ("processes", 2, 2, 8, ["weak", "strong"], 0.125),
    ("independent", 2, 2, 8, ["weak"], 0.100),
)


def make(kind, number=1, *, bench="b1", **changes):
    fields = dict(
        experiment="scaling",
        system=f"transformer/{kind}",
        round=number,
        problem=dict(
            name="transformer", label="transformer (stand-in)", source="made data"
        ),
        hardware=dict(cpu="Some CPU", cores=2),
        settings=dict(kind=kind, subject="image_transformer"),
        status="ok",
        seconds={},
        work={},
        check=dict(passed=True),
        provenance=dict(bench_id=bench, started_at="2025-03-04T05:06:07Z"),
    )
    changes["settings"] = fields["settings"] | changes.get("settings", {})
    return Record(**(fields | changes))


def measured(number, slower=1.0, **changes):
    records = []
    for case, devices, processes, batch, points, seconds in CASES:
        calls = [slower * seconds] * 3
        settings = dict(
            case=case,
            devices=devices,
            processes=processes,
            batch=batch,
            scaling=points,
            engine="a.b.Engine",
        )
        fields = dict(
            settings=settings,
            seconds=dict(build=1.0, first=1.0, calls=calls),
            work=dict(examples=[batch] * 3),
            check=dict(passed=True, loss_error=1e-6),
        )
        records.append(make("measured", number, **(fields | changes.get(case, {}))))
    return records


def counted(topology, devices, **work):
    counts = dict(
        parameters=1000,
        parameter_bytes=4000,
        held_bytes=12008,
        activation_bytes=5000,
        flops=10**6,
        batch_per_shard=4,
        sent_bytes=0,
        num_collectives=0,
        stepped_on=topology,
    )
    settings = dict(topology=topology, devices=devices, batch=4 * devices)
    return make("counted", settings=settings, work=counts | work)


def projected():
    devices = [1, 2, 4]
    settings = dict(
        on="TPUv2",
        source="a source",
        batch_per_device=4,
        calibration=dict(step_seconds=0.1, roofline_share=0.5, gradient_bytes=4000),
    )
    work = dict(
        devices=devices,
        examples_per_second=[100.0, 198.0, 380.0],
        compute_seconds=[0.04] * 3,
        collective_seconds=[0.0, 0.0004, 0.002],
    )
    return make("projected", settings=settings, work=work)


def from_paper():
    """What the benchmark records of the paper's own models."""
    paper = json.loads(PAPER.read_text())
    return [
        make(
            "projected",
            problem=dict(name=model["label"]),
            settings=dict(
                subject=None, model=model["id"], variant=variant, on=paper["hardware"]
            ),
            work=projection.from_paper(paper, model, variant),
        )
        for model in paper["models"]
        for variant in projection.VARIANTS
    ]


@pytest.fixture
def bench():
    """Three rounds, the machine 10% slower in each; and all the rest."""
    rounds = [one for i in range(3) for one in measured(i, 1.1**i)]
    shards = [
        counted("batch:1", 1),
        counted("batch:64,model:8", 512, activation_bytes=None, sent_bytes=None),
    ]
    return [*shards, *rounds, projected(), *from_paper()]


def read(bench):
    return scaling_rows.read_page(bench, PAPER)


def row(content, case, points):
    (one,) = (r for r in content.measured if (r.case, r.scaling) == (case, points))
    return one


def test_a_machine_that_slows_down_does_not_change_efficiency(bench):
    content = read(bench)
    for case, wanted in (("one_process", 1 / 1.05), ("processes", 0.8)):
        weak = row(content, case, "weak")
        assert weak.efficiency == pytest.approx((wanted,) * 3)
        assert weak.rate.low < weak.rate.median < weak.rate.high
    assert row(content, "one_process", "strong").efficiency.median == pytest.approx(
        0.2 / 2 / 0.105
    )
    assert row(content, "one_device", "weak").efficiency is None


def test_communication_is_the_time_beyond_independent_processes(bench):
    content = read(bench)
    assert row(content, "processes", "weak").communication.median == pytest.approx(0.2)
    assert row(content, "independent", "weak").communication is None
    assert row(content, "processes", "strong").communication is None  # has no ceiling


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dict(status="failed", reason="it broke"), "failed: it broke"),
        (dict(check=dict(passed=False, reason="losses differ")), "losses differ"),
    ],
)
def test_what_failed_or_was_wrong_takes_its_cell_and_has_no_ratio(changes, reason):
    content = read([*measured(0), *measured(1, processes=changes)])
    wrong = row(content, "processes", "weak")
    assert reason in wrong.failure and wrong.rate is None and wrong.efficiency is None
    assert reason in scaling.markdown(content)
    assert row(content, "one_process", "weak").rate is not None


def tables(text):
    """Of each heading the lines of its tables, without head and rule."""
    lines_of = {}
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("| ")]
        lines_of[title] = lines[2:]
    return lines_of


def test_no_row_of_the_page_is_of_two_kinds(bench):
    content = read(bench)
    text = scaling.markdown(content)
    for name, lines in tables(text).items():
        cases = {line.split(" | ")[1] for line in lines}
        if name.endswith(" scaling"):
            assert lines and cases <= set(scaling_rows.CASES.values())
        else:
            assert not cases & set(scaling_rows.CASES.values())
    lines = list(csv.DictReader(io.StringIO(scaling.csv(content))))
    of_kind = {
        "measured": {"rounds", "efficiency_low", "communication", "case"},
        "counted": {"topology", "held_bytes", "flops"},
        "projected": {"on", "collective_seconds"},
    }
    assert {line["kind"] for line in lines} == set(of_kind)
    for line in lines:
        for kind, names in of_kind.items():
            if kind != line["kind"]:
                assert not any(line[name] for name in names), line


def test_what_cannot_be_counted_is_a_dash_and_not_a_zero(bench):
    lines = tables(scaling.markdown(read(bench)))["Counted on logical devices"]
    (whole,) = (line for line in lines if "| batch:1 |" in line)
    (cut,) = (line for line in lines if "batch:64,model:8" in line)
    assert "| 5,000 |" in whole and whole.endswith("| 0 |")
    assert cut.count("| - ") == 2


def test_every_table_has_at_most_five_columns(bench):
    rows = [
        line for part in tables(scaling.markdown(read(bench))).values() for line in part
    ]
    assert rows and all(row.count("|") <= 6 for row in rows)


def test_every_published_point_has_its_error(bench):
    content = read(bench)
    lines = list(csv.DictReader(io.StringIO(scaling.csv(content))))
    points = [
        line
        for line in lines
        if line["published_examples_per_second"] and line["variant"] == "links"
    ]
    assert len(points) == 12
    for line in points:
        ratio = float(line["examples_per_second"]) / float(
            line["published_examples_per_second"]
        )
        assert float(line["error"]) == pytest.approx(ratio - 1, abs=1e-9)


def test_the_points_beyond_the_bound_are_named_and_no_others(bench):
    text = scaling.markdown(read(bench))
    assert "9 of 12 points are within 15%" in text
    for chips in (16, 64, 256):
        assert f"CelebA-HQ on {chips} chips +" in text
    assert "CelebA-HQ on 128 chips +" not in text and "ImageNet on" not in text


def test_only_the_newest_benchmark_of_each_kind_is_read(bench):
    older = [
        make("measured", 7, bench="b0", settings=m.settings, work=m.work)
        for m in measured(0)
    ]
    assert scaling.markdown(read([*older, *bench])) == scaling.markdown(read(bench))
    newer = make(
        "counted",
        bench="b2",
        settings=dict(topology="batch:2", devices=2, batch=8),
        work=bench[0].work,
    )
    content = read([*bench, newer])
    assert [r.settings["topology"] for r in content.counted] == ["batch:2"]
    assert len(content.measured) == 7  # those of before are still the newest of theirs


def test_a_kind_that_is_not_known_and_no_record_at_all_are_errors():
    with pytest.raises(ValueError, match="given 'guessed', wanted one of"):
        read([make("guessed")])
    with pytest.raises(ValueError, match="given none"):
        read([])


def test_runs_without_losses_of_one_device_are_not_counted_as_checked(bench):
    text = scaling.markdown(read(bench))
    assert (
        "Check: the first losses of every case agree with those of one device" in text
    )
    (at, *_) = (n for n, r in enumerate(bench) if "loss_error" in r.check)
    changed = [dataclasses.replace(bench[at], check={"passed": True})]
    num = sum("loss_error" in r.check for r in bench)
    text = scaling.markdown(read([*bench[:at], *changed, *bench[at + 1 :]]))
    assert f"of {num - 1} of {num} runs agree with those of one device" in text


def test_the_slopes_of_the_papers_titles_come_out_of_its_points():
    content = read(from_paper())
    for model in content.paper["models"]:
        slope = scaling_rows.slope(scaling_rows.points(model))
        assert slope == pytest.approx(model["slope"], abs=0.01)


def has(image, color):
    rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return bool((abs(image[..., :3] - rgb) < 1 / 512).all(axis=-1).any())


def test_published_measured_and_projected_have_colors_of_their_own(bench, tmp_path):
    content = read(bench)
    scaling_plots.draw(content, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        scaling_plots.figure_names(content)
    )
    image = matplotlib.image.imread(tmp_path / "scaling_image_transformer.png")
    colors = (scaling_plots.PUBLISHED, scaling_plots.PROJECTED, scaling_plots.SUPPOSED)
    for color in (*colors, *scaling_plots.CASES.values()):
        assert has(image, color), color
    assert len({*colors, *scaling_plots.CASES.values()}) == 6
    other = matplotlib.image.imread(tmp_path / "scaling_vq_vae.png")
    assert has(other, scaling_plots.PUBLISHED)
    assert not has(other, scaling_plots.CASES["processes"])  # no stand-in measured


def test_every_panel_has_one_scale_of_efficiency_that_holds_its_values(
    bench, tmp_path, figures
):
    scaling_plots.draw(read(bench), tmp_path)
    slow = read([*bench, *(measured(3, processes=dict(seconds=dict(calls=[0.9] * 3))))])
    assert row(slow, "processes", "weak").efficiency.low < 0.2
    scaling_plots.draw(slow, tmp_path)
    transformer = [f for f in figures if "Image Transformer" in f.texts[0].get_text()]
    for figure, low in zip(transformer, (0.6, 0.0), strict=True):
        dots, *lines = figure.axes
        limits = {dots.get_xlim(), *(axes.get_ylim() for axes in lines)}
        ((least, most),) = limits
        assert low < least + 1e-9 <= low + 0.2 and most >= 1.08
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert [t.split(":")[0] for t in titles] == [
            *("Measured here", "Published, Figure 15", "Projected")
        ]
        assert "made data" in titles[0] and "CelebA-HQ" in titles[1]


def test_the_command_renders_the_page_and_twice_alike(bench, tmp_path, record):
    for line in bench:
        record_file.append(tmp_path / "records" / "scaling.jsonl", line)
    record_file.append(tmp_path / "records" / "nuts.jsonl", record("ppl_core"))
    assert command.main([f"--results={tmp_path}"]) == 0
    names = ["tables/scaling.md", "tables/scaling.csv", "plots/scaling_vq_vae.png"]
    first = [(tmp_path / name).read_bytes() for name in names]
    page.render_scaling(
        records_path=tmp_path / "records" / "scaling.jsonl",
        paper_path=PAPER,
        out_dir=tmp_path,
    )
    assert [(tmp_path / name).read_bytes() for name in names] == first
