"""From a file of records to the files that people look at."""

from pathlib import Path

from experiments.records import record
from experiments.report import (
    image_transformer,
    learning,
    plots,
    scaling,
    scaling_plots,
    speedup,
    step_cost,
    tables,
)


def render_nuts(*, records_path: Path, paper_path: Path, out_dir: Path) -> None:
    """Writes tables/nuts_speedup.{md,csv} and plots/nuts_speedup.png under `out_dir`.

    Of the records, only those of the newest benchmark are rendered.  Raises
    FileNotFoundError when there is no file of records, ValueError when it is empty, of
    another schema, or does not make one table.
    """
    if not records_path.is_file():
        raise FileNotFoundError(
            f"records: no file {records_path}, wanted one that a benchmark wrote"
        )
    rows = speedup.compare(speedup.newest_bench(record.read(records_path)))
    paper = speedup.read_paper(paper_path)
    for name, text in (
        ("nuts_speedup.md", tables.markdown(rows, paper)),
        ("nuts_speedup.csv", tables.csv_text(rows, paper)),
    ):
        path = out_dir / "tables" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    path = out_dir / "plots" / "nuts_speedup.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.nuts_speedup(rows, paper, path)


def render_scaling(*, records_path: Path, paper_path: Path, out_dir: Path) -> None:
    """Writes tables/scaling.{md,csv} and plots/scaling_*.png under `out_dir`.

    Of the records, only the newest benchmark of each kind is rendered.  Raises as
    `render_nuts` does.
    """
    if not records_path.is_file():
        raise FileNotFoundError(
            f"records: no file {records_path}, wanted one that a benchmark wrote"
        )
    found = scaling.read_page(record.read(records_path), paper_path)
    for folder in ("tables", "plots"):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("scaling.md", scaling.markdown(found)),
        ("scaling.csv", scaling.csv_text(found)),
    ):
        path = out_dir / "tables" / name
        path.write_text(text, encoding="utf-8", newline="\n")
    scaling_plots.draw(found, out_dir / "plots")


def render_image_transformer(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/image_transformer.{md,csv} under `out_dir`.

    Of the records, only the newest benchmark of training and that of sampling are
    rendered.  Raises as `render_nuts` does.
    """
    if not records_path.is_file():
        raise FileNotFoundError(
            f"records: no file {records_path}, wanted one that a benchmark wrote"
        )
    found = image_transformer.read_page(record.read(records_path))
    (out_dir / "tables").mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("image_transformer.md", image_transformer.markdown(found)),
        ("image_transformer.csv", image_transformer.csv_text(found)),
    ):
        path = out_dir / "tables" / name
        path.write_text(text, encoding="utf-8", newline="\n")


def render_learning(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/image_transformer_learning.md and the plot of that name.

    Of the records, only the curves made together last are rendered.  Raises as
    `render_nuts` does.
    """
    if not records_path.is_file():
        raise FileNotFoundError(
            f"records: no file {records_path}, wanted one that "
            "`python -m experiments.bench.learning` wrote"
        )
    curves = learning.newest(record.read(records_path))
    for folder in ("tables", "plots"):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    path = out_dir / "tables" / "image_transformer_learning.md"
    path.write_text(learning.markdown(curves), encoding="utf-8", newline="\n")
    learning.draw(curves, out_dir / "plots" / "image_transformer_learning.png")


def render_step_cost(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/step_cost.md under `out_dir`, of the newest benchmark's records.

    Raises as `render_nuts` does.
    """
    if not records_path.is_file():
        raise FileNotFoundError(
            f"records: no file {records_path}, wanted one that a benchmark wrote"
        )
    path = out_dir / "tables" / "step_cost.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = step_cost.markdown(record.read(records_path))
    path.write_text(text, encoding="utf-8", newline="\n")
