"""Looks at every file before training, and remembers what it found."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.datasets import files

VERSION = 1  # of what the readers find: a change of a reader's rules raises it
LEAST_REMEMBERED = 1000  # files: fewer are read again in a second or so
PROGRESS_DELAY_SECONDS = 2.0
LINE_SECONDS = 5.0  # between lines of progress where there is no terminal


def examine(
    encoded: files.Encoded | None,
    look: Callable[[int], Any],
    numbers: Sequence[int],
    *,
    rules: str,
    num_threads: int,
) -> list[Any]:
    """`look` of each of the numbers, in order: values that JSON can hold.

    What was found of a file is kept in the user's cache folder and found again as long
    as the file's name, size and time of change stay.  Progress is shown on standard
    error if it takes more than two seconds.  The first error of `look` ends it.

    encoded: the files; None: nothing is remembered.
    rules: identifies `look` with its settings.
    """
    version = encoded.version if encoded else None
    place = None
    if encoded and version and encoded.num >= LEAST_REMEMBERED:
        place = _place(encoded.origin, rules)
    known = _read(place) if place else {}
    found: dict[int, Any] = {}
    left = []
    for number in numbers:
        key = version(number) if place and version else None
        if key in known:
            found[number] = known[key]
        else:
            left.append(number)
    bar = tqdm(
        total=len(left),
        desc="checking files",
        unit=" files",
        delay=PROGRESS_DELAY_SECONDS,
        mininterval=0.1 if sys.stderr.isatty() else LINE_SECONDS,
    )
    try:
        with bar:
            results = files.on_threads(look, left, num_threads)
            for number, result in zip(left, results, strict=True):
                found[number] = result
                bar.update()
    finally:
        if place and version and left:
            new = {version(number): result for number, result in found.items()}
            _write(place, known | new)
    return [found[number] for number in numbers]


def _place(origin: str, rules: str) -> Path:
    """Where results of the files of one folder or zip are kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    text = f"{VERSION}\n{origin}\n{rules}"
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return root / "accelerated_ppl" / "examined" / f"{digest[:32]}.json"


def _read(place: Path) -> dict[str, Any]:
    try:
        return json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):  # there is none yet, or it was cut short
        return {}


def _write(place: Path, results: dict[str, Any]) -> None:
    """Replaces the file in one step, since processes of a run write it together."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=place.parent, delete=False, encoding="utf-8"
        ) as stream:
            json.dump(results, stream)
        os.replace(stream.name, place)
    except OSError:  # a home that cannot be written: the files are read again
        return
