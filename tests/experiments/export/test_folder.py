"""A folder is read as it was written, or refused in a line that names the file."""

import json

import pytest

from experiments.export.folder import FORMAT, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs/one.mlir").write_bytes(b"module")
    write_manifest(tmp_path, {"kind": "nuts", "name": "schools"})
    return tmp_path


def changed(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_folder_is_read_as_it_was_written(folder):
    manifest = read_manifest(folder, kind="nuts")
    assert (manifest["format"], manifest["name"]) == (FORMAT, "schools")
    assert [*manifest["files"]] == ["programs/one.mlir"]


def test_a_changed_and_a_missing_file_are_named(folder):
    file = folder / "programs/one.mlir"
    file.write_bytes(b"Module")
    with pytest.raises(ValueError, match=r"one.mlir: changed since the export, wanted"):
        read_manifest(folder, kind="nuts")
    file.unlink()
    with pytest.raises(ValueError, match=r"one.mlir: missing, wanted"):
        read_manifest(folder, kind="nuts")


def test_a_newer_format_another_kind_and_no_manifest_are_refused(folder):
    with pytest.raises(ValueError, match="holds 'nuts', wanted 'training'"):
        read_manifest(folder, kind="training")
    changed(folder, format=FORMAT + 1)
    with pytest.raises(ValueError, match=f"given format {FORMAT + 1}, wanted at most"):
        read_manifest(folder, kind="nuts")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="no manifest of bin/export"):
        read_manifest(folder, kind="nuts")
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match="no manifest.json, wanted"):
        read_manifest(folder, kind="nuts")
