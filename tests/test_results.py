"""The committed tables are those that the committed records render."""

import functools
from pathlib import Path

import pytest

from experiments.report import page

RESULTS = Path(__file__).parents[1] / "results"
RENDERED = {  # by the file of records: how to render it, its tables, its plots
    "nuts": (
        functools.partial(page.render_nuts, paper_path=RESULTS / "paper.json"),
        ("nuts_speedup.md", "nuts_speedup.csv"),
        ("nuts_speedup.png",),
    ),
    "scaling": (
        functools.partial(
            page.render_scaling, paper_path=RESULTS / "paper_scaling.json"
        ),
        ("scaling.md", "scaling.csv"),
        ("scaling_image_transformer.png", "scaling_vq_vae.png"),
    ),
    "step_cost": (page.render_step_cost, ("step_cost.md",), ()),
    "image_transformer": (
        page.render_image_transformer,
        ("image_transformer.md", "image_transformer.csv"),
        (),
    ),
    "vector_quantized_learning": (
        page.render_learning,
        ("vector_quantized_learning.md",),
        ("vector_quantized_learning.png",),
    ),
    "vae": (page.render_vae, ("vae.md", "vae.csv"), ()),
    "audio_learning": (
        page.render_learning,
        ("audio_learning.md",),
        ("audio_learning.png",),
    ),
    "image_transformer_learning": (
        page.render_learning,
        ("image_transformer_learning.md",),
        ("image_transformer_learning.png",),
    ),
}


@pytest.fixture(scope="module", params=RENDERED)
def rendered(request, tmp_path_factory):
    """The tables and plots of a file of records, and the folder of new ones."""
    render, tables, plots = RENDERED[request.param]
    out_dir = tmp_path_factory.mktemp(request.param)
    records_path = RESULTS / "records" / f"{request.param}.jsonl"
    render(records_path=records_path, out_dir=out_dir)
    return tables, plots, out_dir


def test_committed_tables_equal_those_rendered_again(rendered):
    tables, _, out_dir = rendered
    for table in tables:
        committed = (RESULTS / "tables" / table).read_bytes()
        assert (out_dir / "tables" / table).read_bytes() == committed


def test_committed_plots_exist_and_can_be_drawn_again(rendered):
    _, plots, out_dir = rendered
    for name in plots:
        for folder in (out_dir, RESULTS):
            plot = folder / "plots" / name
            assert plot.read_bytes().startswith(b"\x89PNG")
