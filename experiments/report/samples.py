"""Images and sounds of a finished run, enlarged and labelled for reading.

    python -m experiments.report.samples RUN_DIR --name natural_crops64

writes the media of the run's last evaluation to results/samples/.
"""

import argparse
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from experiments.records import metrics

MEDIA = {  # by the name of the metric: the labels of an image's rows, if it is enlarged
    "samples": ("samples",),
    "reconstructions": ("original", "reconstruction"),
    "completions": ("original", "prompt", "completion"),
    **dict.fromkeys(("sample0", "original0", "reconstruction0", "spectrograms0"), ()),
}
GAP = 2  # white pixels between images
LEAST_SCALE, LEAST_WIDTH = 4, 800
FONT_SIZE = 1 / 36  # of the image's width


def enlarge(image: Image.Image, labels: Sequence[str]) -> Image.Image:
    """The image at least four times as large, each row's label to its left.

    Pixels are repeated, not smoothed.  Rows have equal heights and GAP pixels between.

    Raises ValueError where the height does not divide into the rows.
    """
    row_height, rest = divmod(image.height + GAP, len(labels))
    if rest:
        raise ValueError(
            f"image: given {image.height} pixels of height, wanted {len(labels)} rows"
        )
    scale = max(LEAST_SCALE, math.ceil(LEAST_WIDTH / image.width))
    size = (scale * image.width, scale * image.height)
    enlarged = image.convert("RGB").resize(size, Image.Resampling.NEAREST)
    font_size = max(16, round(FONT_SIZE * enlarged.width))
    font = ImageFont.load_default(font_size)
    margin = round(max(map(font.getlength, labels)) + font_size)
    page = Image.new("RGB", (margin + enlarged.width, enlarged.height), "white")
    page.paste(enlarged, (margin, 0))
    draw = ImageDraw.Draw(page)
    for number, label in enumerate(labels):
        middle = scale * (number * row_height + (row_height - GAP) / 2)
        place = (margin - font_size / 2, middle)
        draw.text(place, label, fill="black", font=font, anchor="rm")
    return page


def write_samples(run_dir: Path, out: Path, name: str) -> list[Path]:
    """Writes the media of the run's last evaluation to `out`; returns the new files.

    Images are enlarged and labelled.  Of sounds, the first of each kind is copied, with
    its spectrogram.  A file is called after `name` and its metric.

    Raises ValueError for a run whose last evaluation has no media.
    """
    events = metrics.read(run_dir / "metrics.jsonl")
    held_out = [event for event in events if event["kind"] == "held_out"]
    last = held_out[-1] if held_out else {}
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for metric in MEDIA.keys() & last.keys():
        source, labels = run_dir / last[metric], MEDIA[metric]
        path = out / f"{name}_{metric.removesuffix('0')}{source.suffix}"
        if labels:
            with Image.open(source) as image:
                enlarge(image, labels).save(path, optimize=True)
        else:
            shutil.copyfile(source, path)
        written.append(path)
    if not written:
        raise ValueError(f"run_dir: no media in the last evaluation of {run_dir}")
    return sorted(written)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the samples of the run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument(
        "--name", help="start of the files' names, by default the run's"
    )
    parser.add_argument("--out", type=Path, default=Path("results/samples"))
    parsed = parser.parse_args(arguments)
    name = parsed.name or parsed.run_dir.resolve().name
    for path in write_samples(parsed.run_dir, parsed.out, name):
        print(path)


if __name__ == "__main__":
    main()
