"""The NUTS plot is drawn whatever the rows contain; its looks are for the eye."""

import dataclasses

import matplotlib.image
import pytest

from experiments.report import nuts_device, nuts_plot, nuts_rows, plotting


def drawn(records, paper, tmp_path):
    path = tmp_path / "plot.png"
    nuts_plot.draw(nuts_rows.compare(records), paper, path)
    return matplotlib.image.imread(path)  # [height, width, 4]


def has(image, color):
    rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return bool((abs(image[..., :3] - rgb) < 1 / 512).all(axis=-1).any())


def test_measured_and_published_are_drawn_in_colors_of_their_own(
    bench, paper, tmp_path
):
    image = drawn(bench, paper, tmp_path)
    for color in (plotting.OURS, plotting.OTHER, plotting.LOOP, plotting.PUBLISHED):
        assert has(image, color), color


def test_published_times_are_not_drawn_beside_a_smaller_problem(
    record, paper, tmp_path
):
    problem = dict(name="covertype", source="UCI", rows=20000, dim=55)
    image = drawn([record("ppl_core", problem=problem)], paper, tmp_path)
    assert has(image, plotting.OURS)
    assert not has(image, plotting.PUBLISHED)


def test_a_wrong_posterior_has_no_dot(record, paper, tmp_path):
    wrong = record("stan_glm", check=dict(passed=False))
    image = drawn([record("ppl_core"), wrong], paper, tmp_path)
    assert has(image, plotting.OURS)
    assert not has(image, plotting.OTHER)


@pytest.mark.parametrize("rows", [581012, 20000])
def test_it_is_drawn_when_every_system_failed(record, paper, tmp_path, rows):
    problem = dict(name="covertype", source="UCI", rows=rows)
    failed = dict(status="failed", reason="$x_ is not set, $\\frac\n" * 20)
    records = [record("ppl_core", problem=problem, **failed)]
    records += [record("ppl_core_64_chains", problem=problem, **failed)]
    image = drawn(records, paper, tmp_path)
    assert not has(image, plotting.OURS)
    assert image.shape[1] == round(plotting.WIDTH * plotting.DPI)


def test_logical_devices_are_not_drawn_beside_the_papers(record, paper, tmp_path):
    records = [record("ppl_core")]
    without = drawn(records, paper, tmp_path)
    beside = drawn([*records, record("ppl_core_2_devices")], paper, tmp_path)
    assert without.shape == beside.shape and (without == beside).all()


def test_panels_have_one_scale_and_sorted_rows(bench, paper, tmp_path, figures):
    nuts_plot.draw(nuts_rows.compare(bench), paper, tmp_path / "plot.png")
    (figure,) = figures
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    for axes in figure.axes:
        medians = [
            line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"
        ]
        assert len(medians) > 2 and medians == sorted(medians, reverse=True)
    texts = [text.get_text() for text in figure.texts]
    assert "Measured here: one chain" in texts
    assert "Published, on the paper's hardware" in texts


def test_an_accelerator_has_a_panel_of_its_own(bench, paper, tmp_path, figures):
    record = bench[0]
    found = [
        nuts_device.Row(
            dataclasses.replace(record, system=name), name, chains, ms, 1.0, 2.0, ""
        )
        for name, chains, ms in [
            ("ours_dense", 1, 0.2),
            ("ours_dense", 64, 3.0),
            ("numpyro", 1, 0.5),
        ]
    ]
    page = nuts_device.Page("NVIDIA V9", True, 3000.0, tuple(found))
    nuts_plot.draw(nuts_rows.compare(bench), paper, tmp_path / "plot.png", [page])
    (figure,) = figures
    titles = [text.get_text() for text in figure.texts]
    place = titles.index("Measured on NVIDIA V9: one chain")
    assert titles[place + 1] == "Published, on the paper's hardware"
    panel = figure.axes[-2]
    dots = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
    assert dots == [0.5, 0.2]
    assert [label.get_text() for label in panel.get_yticklabels()] == [
        "numpyro",
        "ours_dense",
    ]
