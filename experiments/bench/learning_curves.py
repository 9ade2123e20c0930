"""Learning curves of finished runs side by side, as records.

    python -m experiments.bench.learning_curves RUN RUN [--out=results]

Each RUN is the folder of a `bin/train` run on images or sounds, such as those of
configs/image_transformer/natural_crops32.gin and configs/image_transformer/
pixelcnn32.gin.  They must be of one experiment, and have had the same data, batches and
steps.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench.subprocesses import REPO
from experiments.records import checkpoint, jsonlines, record
from experiments.records.run_dir import ATTEMPTS
from experiments.report import learning as report
from experiments.report import page

IMAGES = ("images", "source", "num_held_out_images", "steps")
SOUNDS = ("audio", "source", "num_held_out_clips", "steps")


class Kind(NamedTuple):
    """What a model is called, and where its curves belong."""

    system: str
    experiment: str  # the name of their records, table and plot
    shared: tuple[str, ...]  # fields of a summary that curves side by side share
    is_bound: bool = False  # whether its bits are one, and not exact


KINDS = {  # by the beginning of a model's name
    "image_transformer": Kind("Image Transformer", report.IMAGE_TRANSFORMER, IMAGES),
    "pixelcnn": Kind("PixelCNN", report.IMAGE_TRANSFORMER, IMAGES),
    "vector_quantized": Kind("VQ-VAE", report.VECTOR_QUANTIZED, IMAGES, is_bound=True),
    "audio_vae": Kind("audio VAE", report.AUDIO, SOUNDS, is_bound=True),
}
REFERENCE_BITS = {  # names in a summary: what other codecs need for the same data
    "png_bits_per_dim": "PNG",
    "png_data_bits_per_dim": "PNG's compressed pixels alone",
    "histogram_bits_per_dim": "histogram of each channel",
    "flac_bits_per_sample": "FLAC",
}


def curve(run_dir: Path, bench_id: str) -> record.Record:
    """One run's curve.

    Raises ValueError for a run that did not end well, was resumed with other settings
    than it began with, was of no known model, or has no bits/dim of what is held out or
    of what was trained on.
    """

    def check(fits: Any, given: str) -> None:
        if not fits:
            raise ValueError(f"{run_dir.name}: {given}")

    files = {
        name: json.loads((run_dir / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("run", "summary", "provenance")
    }
    status, summary = files["run"]["status"], files["summary"]
    check(status == "done", f"the run is {status!r}, wanted 'done'")
    settings = _settings(run_dir)
    for earlier in sorted((run_dir / ATTEMPTS).glob("*/config.gin")):
        changed = sorted(settings ^ _settings(earlier.parent))
        check(
            not changed,
            f"resumed with settings changed, {changed[:4]}; wanted a run of one "
            "config, but for its LoopSettings",
        )
    beginning = str(summary.get("model")).partition("(")[0]
    known = beginning in KINDS
    check(known, f"of the model {beginning!r}, wanted one of {list(KINDS)}")
    kind = KINDS[beginning]
    lacking = [name for name in ("topology", *kind.shared) if name not in summary]
    check(
        not lacking,
        f"its summary has no {lacking}, wanted a run of training on images or sounds",
    )
    events = [event for _, event in jsonlines.read(run_dir / "metrics.jsonl")]
    trained, held_out = (
        [e for e in events if e["kind"] == kind] for kind in ("train", "held_out")
    )
    for what, found in (("trained on", trained), ("held out", held_out)):
        check(
            found and all("bits_per_dim" in event for event in found),
            f"no bits/dim of what was {what}, wanted some in metrics.jsonl; "
            "num_held_out and LoopSettings of the run say of what and when",
        )
    seconds = [e["step_seconds"] for e in trained if "step_seconds" in e]
    check(seconds, "no step was timed, wanted a run of several steps")
    last = checkpoint.latest(run_dir / "checkpoints")
    check(last, "no checkpoint, wanted the last one's weights")
    kept = checkpoint.load(last, metadata={"model": summary["model"]})
    weights = [a for name, a in kept.arrays.items() if name.startswith("weights/")]
    waits = [e["data_seconds"] for e in trained if "data_seconds" in e]
    origin = dict(files["provenance"])
    hardware = origin.pop("hardware")
    return record.Record(
        experiment=kind.experiment,
        system=kind.system,
        round=1,
        problem={
            "name": summary[kind.shared[0]],  # of the data
            "model": summary["model"],
            "batch_size": kept.metadata["batch_size"],
            **{name: summary[name] for name in kind.shared},
            "reference_bits": {
                REFERENCE_BITS[n]: summary[n] for n in REFERENCE_BITS if n in summary
            },
        },
        hardware=hardware | {"device": "cpu"},
        settings={
            "seed": files["run"]["seed"],
            "topology": summary["topology"],
            "averaged": any(name.startswith("ema/") for name in kept.arrays),
            "bound": kind.is_bound,
        },
        status="ok",
        seconds={},
        work={
            "parameters": sum(weight.size for weight in weights),
            "step_seconds": statistics.median(seconds),
            "data_seconds": statistics.median(waits),
            "train_steps": [e["step"] for e in trained],
            "train_bits_per_dim": [e["bits_per_dim"] for e in trained],
            "held_out_steps": [e["step"] for e in held_out],
            "held_out_bits_per_dim": [e["bits_per_dim"] for e in held_out],
        },
        check={"passed": True},
        provenance=origin | {"bench_id": bench_id},
    )


def _settings(folder: Path) -> set[str]:
    """What a run's config says, line by line, but for how long it is to go on."""
    lines = (folder / "config.gin").read_text(encoding="utf-8").splitlines()
    return {one for one in lines if "LoopSettings." not in one}


def main(argv: Sequence[str] | None = None) -> int:
    """Appends the curves and renders them; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(
        prog="learning", description="Learning curves of runs, side by side."
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=REPO / "results")
    given = parser.parse_args(argv)
    bench_id = record.new_bench_id()
    try:
        curves = [curve(run, bench_id) for run in given.runs]
        _check_alike(curves)
        report.newest_curves(curves)  # what cannot be rendered is not kept
        path = given.out / "records" / f"{curves[0].experiment}.jsonl"
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
        apart = ("name", "model")
        problem = {k: value for k, value in made.problem.items() if k not in apart}
        return problem | {"experiment": made.experiment, "seed": made.settings["seed"]}

    wanted = shared(curves[0])
    for made in curves[1:]:
        for name, value in shared(made).items():
            if value != wanted.get(name):
                raise ValueError(
                    f"{made.system}: {name} {value!r}, wanted that of the first run, "
                    f"{wanted.get(name)!r}"
                )


if __name__ == "__main__":
    sys.exit(main())
