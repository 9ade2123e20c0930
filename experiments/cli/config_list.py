"""The list of all configs: what `bin/train --list` prints and docs/configs.md holds."""

import re
from pathlib import Path
from typing import NamedTuple

from experiments.cli.messages import REPO

INTRODUCTION = """\
# Configs

A run is `bin/train --gin_config=FILE` (for `configs/bench`, `bin/bench`). A config can
include another; several are read in order, and later ones win. `--gin_param=NAME=VALUE`
changes one value, and `--dry_run` prints the result. A `tiny.gin` comes after another
config and shrinks it. Times were measured on two CPU cores.

This page is generated: `make configs`.
"""


class Config(NamedTuple):
    """One config, by what the comment at its head says."""

    name: str  # "configs/nuts/covertype.gin"
    summary: str  # its first sentence
    time: str  # "23 min", "needs a data set", or empty for one that others include


def configs() -> list[Config]:
    """Every config below configs/, by folder and name."""
    return [_read(path) for path in sorted(REPO.glob("configs/**/*.gin"))]


def _read(path: Path) -> Config:
    head = path.read_text().partition("from __gin__")[0]
    lines = [line.removeprefix("#").strip() for line in head.splitlines()]
    first = " ".join(" ".join(lines).split("  ")[0].split())
    summary = re.split(r"\. (?=[A-Z0-9])|\.$", first)[0]
    time = next((line for line in lines if line.startswith("Time: ")), "")
    return Config(str(path.relative_to(REPO)), summary, time.removeprefix("Time: "))


def text() -> str:
    """Two lines a config: its name and time, and what it is."""
    return "\n".join(
        f"{c.name}{f'  ({c.time})' if c.time else ''}\n    {c.summary}"
        for c in configs()
    )


def markdown() -> str:
    """docs/configs.md: one table per folder."""
    pages, folder = [INTRODUCTION], None
    for config in configs():
        path = Path(config.name)
        if path.parent != folder:
            folder = path.parent
            pages.append(f"\n## {folder}\n\n| config | what | time |\n|---|---|---|\n")
        pages.append(f"| `{path.name}` | {config.summary} | {config.time} |\n")
    return "".join(pages).rstrip("\n")
