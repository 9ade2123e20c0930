"""bin/export refuses, in one line, what it cannot export."""

import pytest

from experiments.export import command


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "the following arguments are required: --out"),
        (
            ["--out=x"],
            "wanted either a program, FILE.py:FUNCTION, or",
        ),
        (["a.py:b", "--gin_config=c.gin", "--out=x"], "wanted either a program"),
        (
            ["a.py:b", "--out=x", "--chains=16,none"],
            "--chains: given '16,none'",
        ),
        (["--gin_config=nowhere.gin", "--out=x"], "there is no file nowhere.gin"),
        (
            ["a.py:b", "--out=x", "--chain=3"],
            "unknown argument '--chain=3'",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(argv, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main(argv) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert text in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["a file", "which has files"])
def test_an_old_folder_is_refused_before_anything_is_imported(text, capsys, tmp_path):
    (tmp_path / "old").write_text("")
    out = tmp_path / "old" if text == "a file" else tmp_path
    assert command.main(["a.py:b", f"--out={out}"]) == 2
    assert f"--out: given {out}, {text}, wanted a new folder" in capsys.readouterr().err
