"""The code in the documentation runs, and prints what the pages say."""

import csv
import os
import re
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr

REPO = Path(__file__).resolve().parents[1]


PAGES = sorted(REPO.glob("docs/*.md"))


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def case(page):
    """Some compile several samplers; the README's program is like the first of one."""
    slow = page.name in ("your_model.md", "variational_inference.md")
    return pytest.param(page, marks=pytest.mark.slow if slow else (), id=page.name)


@pytest.mark.parametrize("page", [case(page) for page in PAGES])
def test_a_pages_code_runs_and_prints_what_it_says(page, capsys, tmp_path, monkeypatch):
    """The blocks of a page run in order; `print(...)  # text` must print the text."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    code = "".join(python_blocks(page))
    exec(compile(code, page.name, "exec"), {"__name__": page.stem})
    printed = capsys.readouterr().out.splitlines()
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert [line for line in printed if line in expected] == expected


@pytest.mark.slow
def test_the_users_own_experiment_runs_under_bin_train(tmp_path):
    """The first and last Python blocks of your_model.md and its config, from files."""
    page = REPO / "docs/your_model.md"
    model, *_, experiment = python_blocks(page)
    (config,) = re.findall(r"```gin\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (tmp_path / "schools.py").write_text(model + experiment)
    (tmp_path / "schools.gin").write_text(config)
    np.savetxt(tmp_path / "schools.csv", [[28, 15], [8, 10]] * 4, delimiter=",")
    process = subprocess.run(
        [
            REPO / "bin/train",
            "--gin_config=schools.gin",
            "--gin_param=schools.sample.num_draws=5",
            "--workdir=run",
        ],
        cwd=tmp_path,
        env={key: text for key, text in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert "ess_bulk" in process.stdout
    with xr.open_datatree(tmp_path / "run/draws.nc", engine="h5netcdf") as draws:
        assert draws["posterior/theta"].shape == (4, 5, 8)


def committed(path):
    """A file as committed: `make bench-nuts` makes another table, of this machine."""
    shown = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=REPO, capture_output=True, text=True
    )
    if shown.returncode:
        pytest.skip(f"no commit to compare with: {shown.stderr.strip()}")
    return shown.stdout


def committed_rows():
    text = committed("results/tables/nuts_speedup.csv")
    return list(csv.DictReader(text.splitlines()))


def test_the_readmes_program_runs_and_samples_eight_schools(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    text = (REPO / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "4 chains of 1000 draws: 0 divergences" in capsys.readouterr().out
    tau = names["draws"]["posterior/tau"].values
    assert names["draws"]["posterior/eta"].shape == (4, 1000, 8) and np.all(tau > 0)
    # The posterior mean of tau is 3.6 (long runs of Stan); the error here is 0.1.
    assert 3.1 < tau.mean() < 4.1
    assert (tmp_path / "trace.png").stat().st_size > 10_000


def test_the_readme_is_short_and_its_links_exist():
    text = (REPO / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert links and all((REPO / link).exists() for link in links)


@pytest.mark.parametrize(
    ("page", "num_rows"), [("README.md", 3), ("docs/results/nuts.md", 11)]
)
def test_a_pages_nuts_table_is_the_committed_one(page, num_rows):
    text = committed(page)
    measured = {row["label"]: row for row in committed_rows()}
    lines = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \| (.+?) \|$", text, re.M)
    assert len(lines) >= num_rows
    for label, ms, speedup, paper_ms in lines:
        row = measured[label.replace("`", "").replace("**", "")]
        assert ms == f"{float(row['ms']):.1f}", label
        expected = f"{float(row['speedup']):.3g}" if row["speedup"] else "1"
        assert speedup == expected, label
        expected = f"{float(row['paper_ms']):.1f}" if row["paper_ms"] else "-"
        assert paper_ms == expected, label


def test_the_speedups_of_many_chains_are_the_committed_ones():
    text = committed("docs/results/nuts.md")
    rows = {row["system"]: row for row in committed_rows()}
    figures = re.search(
        r"a gradient takes ([\d.]+) ms of the whole machine: (\d+) times less than "
        r"Stan's and (\d+) times less than PyMC's",
        " ".join(text.split()),
    )
    assert figures[1] == f"{float(rows['ppl_core_64_chains']['ms']):.2f}"
    for shown, name in ((figures[2], "stan_glm"), (figures[3], "pymc_float64")):
        assert shown == f"{float(rows[f'{name}_all_cores']['speedup']):.0f}"


RESULT_PAGES = sorted(REPO.glob("docs/results/*.md"))


@pytest.mark.parametrize("page", RESULT_PAGES, ids=lambda page: page.stem)
def test_a_results_pages_links_exist_and_its_tables_have_at_most_five_columns(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert links
    for link in links:
        assert (page.parent / link).exists(), link
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows and all(row.count("|") <= 6 for row in rows)
