"""Renders each file of records into tables/ and plots/ of a folder.

Only the newest benchmark's records are rendered, or the newest ones of each part that
may run by itself.  Every function raises FileNotFoundError when there is no file of
records, ValueError when it is empty, of another schema, or does not make one table.
"""

from pathlib import Path

from experiments.records import record
from experiments.report import (
    image_transformer,
    learning,
    nuts,
    nuts_device,
    nuts_plot,
    nuts_rows,
    posteriors,
    posteriors_plot,
    posteriors_rows,
    programs,
    readers,
    scaling,
    scaling_plots,
    scaling_rows,
    step_cost,
    vae,
)

RESULTS = Path(__file__).resolve().parents[2] / "results"
PAPER, PAPER_SCALING = RESULTS / "paper.json", RESULTS / "paper_scaling.json"


def render_nuts(*, records_path: Path, out_dir: Path, paper_path: Path = PAPER) -> None:
    """Writes tables/nuts_speedup.{md,csv} and plots/nuts_speedup.png.

    Accelerators in device.jsonl beside the records, of as many rows of data, have
    sections and panels of their own.
    """
    records = _records(records_path)
    rows = nuts_rows.compare(nuts_rows.newest(records))
    paper = nuts_rows.read_paper(paper_path)
    devices = records_path.with_name("device.jsonl")
    pages = nuts_device.read_pages(_records(devices)) if devices.is_file() else []
    pages = nuts_device.beside(pages, nuts_rows.any_record(rows).problem["rows"])
    text = nuts.markdown(rows, paper, nuts_rows.by_size(records), pages)
    plots = _write(out_dir, "nuts_speedup", text, nuts.csv(rows, paper))
    nuts_plot.draw(rows, paper, plots / "nuts_speedup.png", pages)


def render_device(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/nuts_device.{md,csv}, and the NUTS page where its records are."""
    pages = nuts_device.read_pages(_records(records_path))
    _write(out_dir, "nuts_device", nuts_device.markdown(pages), nuts_device.csv(pages))
    samplers = records_path.with_name("nuts.jsonl")
    if samplers.is_file() and any(page.is_accelerator for page in pages):
        render_nuts(records_path=samplers, out_dir=out_dir)


def render_posteriors(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/posteriors.{md,csv} and plots/posteriors{,_profiles}.png."""
    cells = posteriors_rows.cells(_records(records_path))
    text, csv = posteriors.markdown(cells), posteriors.csv(cells)
    plots = _write(out_dir, "posteriors", text, csv)
    posteriors_plot.draw_ratios(cells, plots / "posteriors.png")
    posteriors_plot.draw_profiles(cells, plots / "posteriors_profiles.png")


def render_scaling(
    *, records_path: Path, out_dir: Path, paper_path: Path = PAPER_SCALING
) -> None:
    """Writes tables/scaling.{md,csv} and plots/scaling_*.png."""
    content = scaling_rows.read_page(_records(records_path), paper_path)
    text, csv = scaling.markdown(content), scaling.csv(content)
    scaling_plots.draw(content, _write(out_dir, "scaling", text, csv))


def render_image_transformer(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/image_transformer.{md,csv}."""
    content = image_transformer.read_page(_records(records_path))
    text = image_transformer.markdown(content)
    _write(out_dir, "image_transformer", text, image_transformer.csv(content))


def render_vae(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/vae.{md,csv}."""
    content = vae.read_page(_records(records_path))
    _write(out_dir, "vae", vae.markdown(content), vae.csv(content))


def render_learning(*, records_path: Path, out_dir: Path) -> None:
    """Writes the table and the plot of learning curves, named after their records."""
    command = "`python -m experiments.bench.learning_curves`"
    curves = learning.newest_curves(_records(records_path, command))
    plots = _write(out_dir, records_path.stem, learning.markdown(curves))
    learning.draw(curves, plots / f"{records_path.stem}.png")


def render_step_cost(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/step_cost.md."""
    _write(out_dir, "step_cost", step_cost.markdown(_records(records_path)))


def render_readers(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/readers.md."""
    _write(out_dir, "readers", readers.markdown(_records(records_path)))


def render_programs(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/programs.{md,csv}, and the blocks of claims in docs/programs.

    docs/ lies beside `out_dir`; where it does not, nothing is written to it.
    """
    records = _records(records_path)
    _write(out_dir, "programs", programs.markdown(records), programs.csv(records))
    blocks = {
        f"{name}.md": ("claims", programs.block(one))
        for name, one in programs.newest(records).items()
    }
    blocks["README.md"] = ("programs", programs.index(records))
    for name, (mark, content) in blocks.items():
        path = out_dir.parent / "docs" / "programs" / name
        if not path.exists():
            continue
        try:
            text = programs.fill(path.read_text("utf-8"), mark, content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        path.write_text(text, encoding="utf-8", newline="\n")


def _records(path: Path, writer: str = "a benchmark") -> list[record.Record]:
    if not path.is_file():
        raise FileNotFoundError(
            f"records: no file {path}, wanted one that {writer} wrote"
        )
    return record.read(path)


def _write(out_dir: Path, name: str, markdown: str, csv: str = "") -> Path:
    """Writes tables/NAME.md and, where there is one, NAME.csv; returns plots/."""
    tables, plots = out_dir / "tables", out_dir / "plots"
    for ending, text in (("md", markdown), ("csv", csv)):
        if text:
            tables.mkdir(parents=True, exist_ok=True)
            path = tables / f"{name}.{ending}"
            path.write_text(text, encoding="utf-8", newline="\n")
    plots.mkdir(parents=True, exist_ok=True)
    return plots
