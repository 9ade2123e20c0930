"""The committed tables are those that the committed records render."""

from pathlib import Path

import pytest

from experiments.records import record
from experiments.report import __main__ as command
from experiments.report import programs

RESULTS = Path(__file__).parents[1] / "results"
RENDERED = {  # by the file of records: its tables and plots
    "nuts": (("nuts_speedup.md", "nuts_speedup.csv"), ("nuts_speedup.png",)),
    "device": (("nuts_device.md", "nuts_device.csv"), ()),
    "posteriors": (
        ("posteriors.md", "posteriors.csv"),
        ("posteriors.png", "posteriors_profiles.png"),
    ),
    "scaling": (
        ("scaling.md", "scaling.csv"),
        ("scaling_image_transformer.png", "scaling_vq_vae.png"),
    ),
    "step_cost": (("step_cost.md",), ()),
    "readers": (("readers.md",), ()),
    "image_transformer": (("image_transformer.md", "image_transformer.csv"), ()),
    "vae": (("vae.md", "vae.csv"), ()),
    "programs": (("programs.md", "programs.csv"), ()),
    **{
        f"{name}_learning": ((f"{name}_learning.md",), (f"{name}_learning.png",))
        for name in ("vector_quantized", "audio", "image_transformer")
    },
}


WRITTEN = {path.stem for path in (RESULTS / "records").glob("*.jsonl")}


@pytest.fixture(scope="module", params=[name for name in RENDERED if name in WRITTEN])
def rendered(request, tmp_path_factory):
    """The tables and plots of a file of records, and the folder of new ones."""
    tables, plots = RENDERED[request.param]
    out_dir = tmp_path_factory.mktemp(request.param)
    records_path = RESULTS / "records" / f"{request.param}.jsonl"
    command.RENDERERS[request.param](records_path=records_path, out_dir=out_dir)
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


def test_every_file_of_records_is_rendered():
    assert WRITTEN <= set(RENDERED) == set(command.RENDERERS)
    # Of `make bench-posteriors` and `make bench-readers` no whole run is committed yet,
    # and for `make bench-device` there was no device.
    assert set(RENDERED) - WRITTEN <= {"posteriors", "readers", "device"}


def test_every_program_has_its_page_with_the_recorded_claims_and_its_picture():
    path = RESULTS / "records" / "programs.jsonl"
    if not path.exists():
        pytest.skip("`make programs` has not run yet")
    runs = programs.newest(record.read(path))
    docs = RESULTS.parent / "docs" / "programs"
    for name, one in runs.items():
        text = (docs / f"{name}.md").read_text("utf-8")
        assert programs.fill(text, "claims", programs.block(one)) == text, name
        assert f"](../../results/plots/programs/{name}.png)" in text
        if one.status == "ok":  # one that was stopped has drawn none
            picture = RESULTS / "plots" / "programs" / f"{name}.png"
            assert picture.read_bytes().startswith(b"\x89PNG")
    text = (docs / "README.md").read_text("utf-8")
    assert programs.fill(text, "programs", programs.index(list(runs.values()))) == text
