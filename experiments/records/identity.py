"""What a run's draws are of, beside them: another posterior's are never added."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.records import jsonlines

IDENTITY = "identity.json"


def write(folder: Path, identity: Mapping[str, Any]) -> None:
    """Makes the folder of draws; `identity` says of which posterior and sampler."""
    folder.mkdir(parents=True, exist_ok=True)
    jsonlines.write_text(folder / IDENTITY, jsonlines.dumps(identity, indent=2) + "\n")


def check(folder: Path, identity: Mapping[str, Any], *, has_draws: bool) -> None:
    """Raises ValueError, with the differences, for the draws of something else.

    has_draws: whether the folder holds any.
    """
    path = folder / IDENTITY
    place = f"{folder.parent.name}/{folder.name}"
    try:
        before = json.loads(path.read_text())
    except FileNotFoundError:
        if has_draws:
            raise ValueError(
                f"resume: {place}/{IDENTITY} is gone: of what are the draws?"
            ) from None
        return
    except ValueError as error:
        raise ValueError(f"resume: {place}/{IDENTITY} is damaged: {error}") from error
    now = json.loads(jsonlines.dumps(identity))
    differences = [
        f"{name} is {now.get(name)!r}, was {before.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differences:
        raise ValueError(
            f"resume: {place} holds draws of another posterior or sampler: "
            + "; ".join(differences)
        )
