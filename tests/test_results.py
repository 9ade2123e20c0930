"""The committed tables are what the committed records say."""

from pathlib import Path

import pytest

from experiments.report import page

RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("results")
    page.render_nuts(
        records_path=RESULTS / "records" / "nuts.jsonl",
        paper_path=RESULTS / "paper.json",
        out_dir=out_dir,
    )
    return out_dir


@pytest.mark.parametrize("name", ["nuts_speedup.md", "nuts_speedup.csv"])
def test_the_committed_table_is_what_its_records_say(rendered, name):
    committed = (RESULTS / "tables" / name).read_bytes()
    assert (rendered / "tables" / name).read_bytes() == committed


def test_the_committed_cost_of_a_step_is_what_its_records_say(tmp_path):
    page.render_step_cost(
        records_path=RESULTS / "records" / "step_cost.jsonl", out_dir=tmp_path
    )
    committed = (RESULTS / "tables" / "step_cost.md").read_bytes()
    assert (tmp_path / "tables" / "step_cost.md").read_bytes() == committed


def test_the_committed_plot_is_there_and_can_be_drawn_again(rendered):
    for folder in (rendered, RESULTS):
        plot = folder / "plots" / "nuts_speedup.png"
        assert plot.read_bytes().startswith(b"\x89PNG")


OTHERS = {  # what renders a file of records, once it is committed, and into what
    "image_transformer": (
        page.render_image_transformer,
        ("image_transformer.md", "image_transformer.csv"),
    ),
    "image_transformer_learning": (
        page.render_learning,
        ("image_transformer_learning.md",),
    ),
}


@pytest.mark.parametrize(
    "name", [n for n in OTHERS if (RESULTS / "records" / f"{n}.jsonl").exists()]
)
def test_the_image_transformers_tables_are_what_its_records_say(name, tmp_path):
    render, tables = OTHERS[name]
    render(records_path=RESULTS / "records" / f"{name}.jsonl", out_dir=tmp_path)
    for table in tables:
        committed = (RESULTS / "tables" / table).read_bytes()
        assert (tmp_path / "tables" / table).read_bytes() == committed


@pytest.fixture(scope="module")
def scaling(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("scaling")
    page.render_scaling(
        records_path=RESULTS / "records" / "scaling.jsonl",
        paper_path=RESULTS / "paper_scaling.json",
        out_dir=out_dir,
    )
    return out_dir


@pytest.mark.parametrize("name", ["scaling.md", "scaling.csv"])
def test_the_committed_scaling_table_is_what_its_records_say(scaling, name):
    committed = (RESULTS / "tables" / name).read_bytes()
    assert (scaling / "tables" / name).read_bytes() == committed
