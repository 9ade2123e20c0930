"""An exported folder: its manifest, and the check that its files are those written."""

import hashlib
import json
from pathlib import Path
from typing import Any

FORMAT = 1  # of the manifest and the files that it names
MANIFEST = "manifest.json"


def check_new(out: Path) -> None:
    """Raises ValueError for what is no folder, and for one that has files."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: given {out}, a file, wanted a new folder")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out: given {out}, which has files, wanted a new folder")


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest, with the sha256 of every other file in the folder."""
    files = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    whole = {"format": FORMAT, **manifest, "files": files}
    text = json.dumps(whole, indent=1, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n")


def read_manifest(folder: Path, *, kind: str) -> dict[str, Any]:
    """The manifest of a folder whose files are all there and unchanged.

    kind: what the folder must hold: "nuts" for a sampler.

    Raises ValueError, naming the file, for one that is missing or changed, for a
    manifest of a newer format, and for a folder of another kind.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        number = int(manifest["format"])
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder}: no {MANIFEST}, wanted one of bin/export"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no manifest of bin/export: {error}") from error
    if number > FORMAT:
        raise ValueError(
            f"{path}: given format {number}, wanted at most {FORMAT}: a newer "
            "bin/export wrote it, wanted the run_exported.py beside it"
        )
    if manifest["kind"] != kind:
        raise ValueError(f"{path}: holds {manifest['kind']!r}, wanted {kind!r}")
    for name, wanted in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file}: missing, wanted the file that was exported")
        if sha256(file) != wanted:
            raise ValueError(
                f"{file}: changed since the export, wanted sha256 {wanted}"
            )
    return dict(manifest)


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
