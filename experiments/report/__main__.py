"""Renders every table and plot again: `python -m experiments.report`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.report import learning, page

RESULTS = Path(__file__).resolve().parents[2] / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Renders all that one folder's records give; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(
        prog="report", description="Renders every table and plot from the records."
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="folder with records/, where tables/ and plots/ are written",
    )
    results = parser.parse_args(argv).results
    try:
        page.render_nuts(
            records_path=results / "records" / "nuts.jsonl",
            paper_path=RESULTS / "paper.json",
            out_dir=results,
        )
        scaling_records = results / "records" / "scaling.jsonl"
        if scaling_records.exists():
            page.render_scaling(
                records_path=scaling_records,
                paper_path=RESULTS / "paper_scaling.json",
                out_dir=results,
            )
        for name, render in (
            ("image_transformer", page.render_image_transformer),
            *((name, page.render_learning) for name in learning.EXPERIMENTS),
            ("vae", page.render_vae),
            ("step_cost", page.render_step_cost),
        ):
            path = results / "records" / f"{name}.jsonl"
            if path.exists():
                render(records_path=path, out_dir=results)
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"report: wrote {results / 'tables'} and {results / 'plots'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
