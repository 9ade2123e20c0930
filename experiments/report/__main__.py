"""Renders every table and plot: `python -m experiments.report`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.report import learning, page
from experiments.report.page import RESULTS

RENDERERS: dict[str, Callable[..., None]] = {  # by the name of the file of records
    "nuts": page.render_nuts,
    "device": page.render_device,
    "posteriors": page.render_posteriors,
    "scaling": page.render_scaling,
    "image_transformer": page.render_image_transformer,
    **{name: page.render_learning for name in learning.EXPERIMENTS},
    "vae": page.render_vae,
    "programs": page.render_programs,
    "step_cost": page.render_step_cost,
    "readers": page.render_readers,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Renders all records of one folder; returns 0, or 2 after an error."""
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
        for name, render in RENDERERS.items():
            path = results / "records" / f"{name}.jsonl"
            if path.exists() or name == "nuts":  # the one that must be there
                render(records_path=path, out_dir=results)
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"report: wrote {results / 'tables'} and {results / 'plots'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
