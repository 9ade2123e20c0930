"""From a file of records to the files that people look at."""

from collections.abc import Mapping
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
    vae,
)


def render_nuts(*, records_path: Path, paper_path: Path, out_dir: Path) -> None:
    """Writes tables/nuts_speedup.{md,csv} and plots/nuts_speedup.png under `out_dir`.

    Of the records, only those of the newest benchmark are rendered.  Raises
    FileNotFoundError when there is no file of records, ValueError when it is empty, of
    another schema, or does not make one table.
    """
    rows = speedup.compare(speedup.newest_bench(_records(records_path)))
    paper = speedup.read_paper(paper_path)
    made = {
        "nuts_speedup.md": tables.markdown(rows, paper),
        "nuts_speedup.csv": tables.csv_text(rows, paper),
    }
    _write_tables(out_dir, made)
    plots.nuts_speedup(rows, paper, _folder(out_dir, "plots") / "nuts_speedup.png")


def render_scaling(*, records_path: Path, paper_path: Path, out_dir: Path) -> None:
    """Writes tables/scaling.{md,csv} and plots/scaling_*.png under `out_dir`.

    Of the records, only the newest benchmark of each kind is rendered.  Raises as
    `render_nuts` does.
    """
    found = scaling.read_page(_records(records_path), paper_path)
    made = {
        "scaling.md": scaling.markdown(found),
        "scaling.csv": scaling.csv_text(found),
    }
    _write_tables(out_dir, made)
    scaling_plots.draw(found, _folder(out_dir, "plots"))


def render_image_transformer(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/image_transformer.{md,csv} under `out_dir`.

    Of the records, only the newest benchmark of training and that of sampling are
    rendered.  Raises as `render_nuts` does.
    """
    found = image_transformer.read_page(_records(records_path))
    made = {
        "image_transformer.md": image_transformer.markdown(found),
        "image_transformer.csv": image_transformer.csv_text(found),
    }
    _write_tables(out_dir, made)


def render_vae(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/vae.{md,csv} under `out_dir`, of the newest benchmark's records.

    Raises as `render_nuts` does.
    """
    found = vae.read_page(_records(records_path))
    _write_tables(
        out_dir, {"vae.md": vae.markdown(found), "vae.csv": vae.csv_text(found)}
    )


def render_learning(*, records_path: Path, out_dir: Path) -> None:
    """Writes the table and the plot of the records' name, of learning curves.

    Of the records, only the curves made together last are rendered.  Raises as
    `render_nuts` does.
    """
    command = "`python -m experiments.bench.learning_curves`"
    curves = learning.newest(_records(records_path, command))
    _write_tables(out_dir, {f"{records_path.stem}.md": learning.markdown(curves)})
    learning.draw(curves, _folder(out_dir, "plots") / f"{records_path.stem}.png")


def render_step_cost(*, records_path: Path, out_dir: Path) -> None:
    """Writes tables/step_cost.md under `out_dir`, of the newest benchmark's records.

    Raises as `render_nuts` does.
    """
    text = step_cost.markdown(_records(records_path))
    _write_tables(out_dir, {"step_cost.md": text})


def _records(path: Path, maker: str = "a benchmark") -> list[record.Record]:
    if not path.is_file():
        raise FileNotFoundError(
            f"records: no file {path}, wanted one that {maker} wrote"
        )
    return record.read(path)


def _folder(out_dir: Path, name: str) -> Path:
    folder = out_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_tables(out_dir: Path, texts: Mapping[str, str]) -> None:
    folder = _folder(out_dir, "tables")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
