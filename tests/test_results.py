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


def test_the_committed_plot_is_there_and_can_be_drawn_again(rendered):
    for folder in (rendered, RESULTS):
        plot = folder / "plots" / "nuts_speedup.png"
        assert plot.read_bytes().startswith(b"\x89PNG")
