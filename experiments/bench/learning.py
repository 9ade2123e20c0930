"""Learning curves of finished runs side by side, as records.

    python -m experiments.bench.learning RUN RUN [--out=results]

Each RUN is the folder of a `bin/train` run on images, such as those of
configs/image_transformer/natural_crops32.gin and configs/image_transformer/
pixelcnn32.gin.  They must have had the same images, batches and steps.
"""

import argparse
import json
import secrets
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.records import checkpoint, jsonlines, record
from experiments.records.run_dir import utc_now
from experiments.report import learning as report
from experiments.report import page

REPO = Path(__file__).resolve().parents[2]
NAMES = {"image_transformer": "Image Transformer", "pixelcnn": "PixelCNN"}
SHARED = ("images", "source", "num_held_out_images", "steps")  # and seed and batch
TOLD = ("model", "topology", *SHARED)  # by the summary of a run on images


def curve(run_dir: Path, bench_id: str) -> record.Record:
    """One run's curve.

    Raises ValueError for a run that did not end well, was not on images, or has no
    bits/dim of what is held out or of what was trained on.
    """
    told = {
        name: json.loads((run_dir / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("run", "summary", "provenance")
    }
    if told["run"]["status"] != "done":
        raise ValueError(
            f"{run_dir.name}: the run is {told['run']['status']!r}, wanted 'done'"
        )
    events = [event for _, event in jsonlines.read(run_dir / "metrics.jsonl")]
    trained, held_out = (
        [e for e in events if e["kind"] == kind] for kind in ("train", "held_out")
    )
    summary, origin = told["summary"], dict(told["provenance"])
    lacking = [name for name in TOLD if name not in summary]
    if lacking:
        raise ValueError(
            f"{run_dir.name}: its summary has no {lacking}, wanted a run of training "
            "on images"
        )
    for what, found in (("trained on", trained), ("held out", held_out)):
        if not found or any("bits_per_dim" not in event for event in found):
            raise ValueError(
                f"{run_dir.name}: no bits/dim of what was {what}, wanted some in "
                "metrics.jsonl; num_held_out and LoopSettings of the run say of what "
                "and when"
            )
    seconds = [e["step_seconds"] for e in trained if "step_seconds" in e]
    if not seconds:
        raise ValueError(
            f"{run_dir.name}: no step was timed, wanted a run of several steps"
        )
    last = checkpoint.newest(run_dir / "checkpoints")
    if last is None:
        raise ValueError(
            f"{run_dir.name}: no checkpoint, wanted the last one's weights"
        )
    kept = checkpoint.load(last, about={"model": summary["model"]})
    hardware = origin.pop("hardware")
    return record.Record(
        experiment="image_transformer_learning",
        system=NAMES.get(summary["model"].partition("(")[0], summary["model"]),
        round=1,
        problem={
            "name": summary["images"],
            "model": summary["model"],
            "batch_size": kept.about["batch_size"],
            **{name: summary[name] for name in SHARED},
        },
        hardware=hardware | {"device": "cpu"},
        settings={
            "seed": told["run"]["seed"],
            "topology": summary["topology"],
            "averaged": any(name.startswith("ema/") for name in kept.arrays),
        },
        status="ok",
        seconds={},
        work={
            "parameters": sum(
                int(array.size)
                for name, array in kept.arrays.items()
                if name.startswith("weights/")
            ),
            "step_seconds": statistics.median(seconds),
            "train_steps": [e["step"] for e in trained],
            "train_bits_per_dim": [e["bits_per_dim"] for e in trained],
            "held_out_steps": [e["step"] for e in held_out],
            "held_out_bits_per_dim": [e["bits_per_dim"] for e in held_out],
        },
        check={"passed": True},
        provenance=origin | {"bench_id": bench_id},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Appends the curves and renders them; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(
        prog="learning", description="Learning curves of runs, side by side."
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=REPO / "results")
    given = parser.parse_args(argv)
    bench_id = f"{utc_now()}-{secrets.token_hex(3)}"
    try:
        curves = [curve(run, bench_id) for run in given.runs]
        _check_alike(curves)
        report.newest(curves)  # what cannot be rendered is not kept
        path = given.out / "records" / "image_transformer_learning.jsonl"
        for made in curves:
            record.append(path, made)
        page.render_learning(records_path=path, out_dir=given.out)
    except (OSError, ValueError, checkpoint.CheckpointError) as error:
        print(f"learning: {error}", file=sys.stderr)
        return 2
    print(f"learning: wrote {path}, tables and plots beside it")
    return 0


def _check_alike(curves: Sequence[record.Record]) -> None:
    def shared(made: record.Record) -> dict[str, Any]:
        told = {name: made.problem[name] for name in (*SHARED, "batch_size")}
        return told | {"seed": made.settings["seed"]}

    wanted = shared(curves[0])
    for made in curves[1:]:
        for name, value in shared(made).items():
            if value != wanted[name]:
                raise ValueError(
                    f"{made.system}: {name} {value!r}, wanted that of the first run, "
                    f"{wanted[name]!r}"
                )


if __name__ == "__main__":
    sys.exit(main())
